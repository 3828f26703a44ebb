"""The output that a refresh continues: its model, its manifest and its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import DataError, parameter_names
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.jobs.score.model_files import ModelFiles, load_model_files
from gpuseg.lineage.labeled_parts import LabeledParts
from gpuseg.manifest import Manifest, ScoresManifest, read_any_manifest
from gpuseg.models.base import SegmentModel
from gpuseg.redaction import redacted
from gpuseg.refresh_record import HistoryEntry, Lineage
from gpuseg.run_history import history_of


@dataclass(frozen=True)
class OlderOutput:
    """An output that is continued.

    Attributes
    ----------
    files : ModelFiles
        Its model, and the versions of its files.
    manifest : Manifest or ScoresManifest
        Of the output itself.
    fit : Manifest
        Of the run that fitted the model; the same where that run wrote the output.
    parts : LabeledParts
        The segments of its customers.
    """

    files: ModelFiles
    manifest: Manifest | ScoresManifest
    fit: Manifest
    parts: LabeledParts

    @property
    def model(self) -> SegmentModel:
        """The model of the segments."""
        return self.files.saved.model

    @property
    def run_id(self) -> str:
        """Identifier of the run that wrote the output."""
        return self.manifest.run_id

    @property
    def shown_path(self) -> str:
        """Its path or URL, without secrets."""
        return redacted(self.files.saved.url)

    @property
    def segment_names(self) -> Mapping[int, str]:
        """The names of the segments that have one."""
        return self.files.saved.segment_names

    def weight(self) -> NDArray[np.float64]:
        """Return the weight of the rows that each center is the mean of, by `segment_ids`.

        Raises
        ------
        DataError
            If the older output does not say it.
        """
        extra = self.fit.result.model_extra or {}
        if (weight := extra.get("weight")) is not None:
            return np.array(weight, np.float64)
        reference = self.model.reference
        if reference is None or self.fit.input.weight is not None:
            raise DataError(
                "refresh.no_weight",
                f"{self.shown_path} does not say how much its segments weigh",
                rule="rows are appended to segments without weights, of this version of gpuseg",
                hint="use mode = 'warm' with all rows, the older ones too",
            )
        return reference.sizes[1:].astype(np.float64)

    @property
    def lineage(self) -> tuple[Lineage, ...]:
        """The lineage of the segments; empty in outputs of older versions."""
        return self.manifest.lineage or self.model.identity.lineage

    @property
    def history(self) -> tuple[HistoryEntry, ...]:
        """The runs up to this one, the oldest first."""
        runs = history_of(self.manifest)
        if self.manifest.refresh is None and self.manifest.run_id != self.fit.run_id:
            return (*history_of(self.fit), *runs)  # gpuseg score carries none
        return runs


def load_older_output(path: str, storage_options: Mapping[str, Any] | None) -> OlderOutput:
    """Load an output that is to be continued.

    Raises
    ------
    ConfigError, DataError, ResourceError
        As `load_output`, and where there is a model without the output around it.
    """
    with parameter_names({"model_path": "from", "path": "from"}):
        files = load_model_files(path, storage_options, "from")
        saved = files.saved
        if saved.manifest is None:
            raise _no_output(saved.url)
        manifest = read_any_manifest(saved.storage)
        if not _has_part(saved.storage, manifest):
            raise _no_output(saved.url)
        parts = LabeledParts.published(saved.storage, manifest.parts)
        return OlderOutput(files, manifest, saved.manifest, parts)


def _no_output(url: str) -> DataError:
    return DataError(
        "refresh.no_output",
        f"{redacted(url)} has a model, but no customers",
        rule="a refresh compares the new segments with those of the older output",
        hint="give the output folder of a run, not its _model or a version of a registry",
        parameter="path",
    )


def _has_part(storage: Storage, manifest: Manifest | ScoresManifest) -> bool:
    """Return whether the first part is there: a version of a registry has none."""
    with wrap_store_errors("path", storage.url):
        return all(storage.fs.exists(f"{storage.root}/{p.name}") for p in manifest.parts[:1])
