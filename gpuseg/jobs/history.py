"""The history of segments over the runs of outputs, read from their manifests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpuseg.errors import ConfigError, DataError
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.lineage.history import merged_history
from gpuseg.manifest import Manifest, ScoresManifest, read_any_manifest
from gpuseg.refresh_record import HistoryEntry


def history(
    outputs: str | Path | Sequence[str | Path],
    *,
    storage_options: Mapping[str, Any] | None = None,
) -> tuple[HistoryEntry, ...]:
    """Return the runs in the life of segments, ordered by their start.

    Each output carries the runs that it continues. Runs that several outputs carry are there once.

    Parameters
    ----------
    outputs : str, Path or sequence of them
        Output folders of runs, refreshes or scored tables; local paths or fsspec URLs.
    storage_options : mapping, optional
        Options of the file system.

    Returns
    -------
    tuple of HistoryEntry
        The numbers of segments mean the same only along one line of descent: `from_run_id` of an
        entry is the run that it continues.

    Raises
    ------
    ConfigError
        Without outputs.
    DataError
        Where there is no manifest, or one that has no segments or cannot be understood, and for
        lookalikes, which are not in segments.
    ResourceError
        When a file system cannot be reached.
    """
    paths = [outputs] if isinstance(outputs, str | Path) else list(outputs)
    if not paths:
        raise ConfigError(
            "history.no_outputs", value=paths, rule="must be at least one output folder",
            parameter="outputs",
        )  # fmt: skip
    return merged_history([_manifest(str(path), storage_options or {}) for path in paths])


def _manifest(path: str, options: Mapping[str, Any]) -> Manifest | ScoresManifest:
    storage = Storage.from_url(path, options, "outputs")
    with wrap_store_errors("outputs", storage.url):
        manifest = read_any_manifest(storage)
    if isinstance(manifest, ScoresManifest) and manifest.lookalikes is not None:
        raise DataError(
            "history.of_lookalikes",
            f"{storage.url}: these are only the customers nearest to a segment",
            rule="must be an output with all customers of a table",
            hint="give the output of gpuseg run, gpuseg refresh or gpuseg score without --like",
        )
    return manifest
