"""How a run continues an older output: what it takes over, and what it says of the change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from gpuseg.drift_record import Drift
from gpuseg.lineage.migration import JoinedOutputs, refuse_other_ids
from gpuseg.output_kind import OutputKind
from gpuseg.preprocessing.keep import KeptPreprocessing
from gpuseg.preprocessing.pca import Components
from gpuseg.refresh_record import (
    Definition,
    HistoryEntry,
    Lineage,
    MatchThresholds,
    Mode,
    Refresh,
)
from gpuseg.segmentation.base import OlderSegments

if TYPE_CHECKING:
    from gpuseg.features.rfm import Borders
    from gpuseg.io.parquet.dataset import Dataset
    from gpuseg.jobs.refresh.older_output import OlderOutput
    from gpuseg.models.base import SegmentModel

REASON = "the reason of the mode"
"""The name of the reason in `Continuation.key`."""


@dataclass(frozen=True)
class SegmentLife:
    """What a manifest says of the life of its segments.

    Attributes
    ----------
    lineage : tuple of Lineage
    drift : Drift or None
    refresh : Refresh or None
    history : tuple of HistoryEntry
    """

    lineage: tuple[Lineage, ...] = ()
    drift: Drift | None = None
    refresh: Refresh | None = None
    history: tuple[HistoryEntry, ...] = ()


@dataclass(frozen=True)
class Continuation:
    """How a run continues an older output.

    Attributes
    ----------
    older : OlderOutput
    requested : str
        The mode that was asked for.
    mode : str
        The mode of this run; "auto" is "score" unless the rows have drifted; "refit" takes the
        better one of "warm" and "fresh".
    reason : str
        Why this mode.
    keeps_preparation : bool
        Whether the statistics of the preparation are those of the older model.
    thresholds : MatchThresholds
    min_improvement : float
        By how much lower the inertia of a fresh fit must be.
    decay : float
        How much the older rows count if rows are appended.
    no_warm_start : str
        Why a fit cannot start from the older segments; empty if it can.
    only_of_fits : tuple of str
        Keys of the job that only a fit heeds.
    warning : str or None
        What the user should know of the job, beside the older output.
    """

    older: OlderOutput
    requested: Literal["auto", "append"] | Mode
    mode: Literal["auto", "refit", "append"] | Mode
    reason: str
    keeps_preparation: bool
    thresholds: MatchThresholds
    min_improvement: float
    decay: float
    no_warm_start: str
    only_of_fits: tuple[str, ...] = ()
    warning: str | None = None

    def refit(self, reason: str) -> Continuation:
        """Return the same with a new fit, from the older segments on if that can be tried."""
        if self.no_warm_start:
            reasons = dict.fromkeys([reason, self.no_warm_start])  # one may stand for both
            return replace(self, mode="fresh", reason="; ".join(reasons))
        return replace(self, mode="refit", reason=reason)

    def key(self) -> dict[str, str]:
        """Return what tells this continuation from others, for a run that is resumed."""
        return {
            "the older output": self.older.manifest.run_id, "the mode": self.mode,
            REASON: self.reason,
        }  # fmt: skip

    def older_segments(self) -> OlderSegments | None:
        """Return the segments that a fit starts from, if it does."""
        if self.mode == "append":
            return OlderSegments(self.model, weight=self.decay * self.older.weight())
        if self.mode not in ("warm", "refit"):
            return None
        return OlderSegments(self.model, self.mode == "refit", self.min_improvement)

    @property
    def replaces(self) -> tuple[OutputKind, ...]:
        """Kinds of outputs that the run may replace, as a refresh may write in place."""
        return OutputKind.SEGMENTS, OutputKind.SCORES

    @property
    def is_update(self) -> bool:
        """Whether the rows are only new ones, which update the older centers."""
        return self.mode == "append"

    @property
    def model(self) -> SegmentModel:
        """The older model."""
        return self.older.model

    @property
    def previous_bytes(self) -> int:
        """Memory of a row for its older segments: `Shard.previous` and `previous_far`."""
        labels = np.dtype(np.int32).itemsize * (1 + len(self.model.level_columns()))
        return labels + np.dtype(np.bool_).itemsize

    def check_ids(self, dataset: Dataset) -> None:
        """Refuse ids that cannot be compared with those of the older output, before any work.

        Raises
        ------
        DataError
        """
        if dataset.id is not None:
            written = dataset.files[0].schema.field(dataset.id).type
            refuse_other_ids(self.older.parts, written if dataset.id_key is None else pa.string())

    @property
    def borders(self) -> Borders | None:
        """The borders of RFM scores at the fit, if these are kept."""
        lines = self.older.fit.transactions
        rfm = None if lines is None or not self.keeps_preparation else lines.rfm
        return None if rfm is None else rfm.to_json()

    def kept_preprocessing(self) -> KeptPreprocessing | None:
        """Return the preprocessing of the older model, if it is kept."""
        if not self.keeps_preparation:
            return None
        transform, pca = self.model.feature_transform, self.older.fit.preparation.pca
        if transform.projection is None:
            return KeptPreprocessing(transform)
        shares = np.array(() if pca is None else pca.explained_variance_ratio)
        return KeptPreprocessing(transform, Components(transform.projection, shares))

    def record(
        self,
        mode: Literal["append"] | Mode,
        reason: str,
        definitions: Sequence[Definition],
        joined: JoinedOutputs,
        previous_names: Mapping[int, str],
    ) -> Refresh:
        """Return the record of the manifest."""
        return Refresh(
            from_path=self.older.shown_path,
            from_run_id=self.older.run_id,
            mode=mode,
            requested=self.requested,
            reason=reason,
            preparation="keep" if self.keeps_preparation else "fit",
            thresholds=self.thresholds,
            definitions=tuple(definitions),
            migration=joined.migration,
            no_migration=joined.no_migration,
            changes=joined.changes,
            previous_names={str(segment): name for segment, name in previous_names.items()},
        )


class NotGoodEnough(Exception):
    """The older model does not suit the rows any more.

    Parameters
    ----------
    reason : str
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
