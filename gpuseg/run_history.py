"""The history of the segments: an entry for each run, from the manifests of outputs."""

from typing import Literal

from gpuseg.drift_record import Drift
from gpuseg.manifest import Manifest, ScoresManifest
from gpuseg.refresh_record import HistoryEntry, Refresh


def history_of(manifest: Manifest | ScoresManifest) -> tuple[HistoryEntry, ...]:
    """Return the runs that an output carries, the oldest first, and its run at the end.

    Parameters
    ----------
    manifest : Manifest or ScoresManifest
        Of an output of any version; one without lineage is the first run.
    """
    return (*manifest.history, entry_of(manifest))


def entry_of(manifest: Manifest | ScoresManifest) -> HistoryEntry:
    """Return the entry of the run that has made an output."""
    refresh, drift = manifest.refresh, manifest.drift
    if isinstance(manifest, Manifest):
        rows, fit = manifest.n_customers, None
        sizes = {segment.segment: segment.size for segment in manifest.segments}
    else:
        rows, fit = manifest.input.rows, manifest.scored_with.run_id
        sizes = {segment.segment: segment.rows for segment in manifest.segments}
    names = {segment.segment: segment.name for segment in manifest.segments}
    first_mode: Literal["run", "score"] = "run" if isinstance(manifest, Manifest) else "score"
    return HistoryEntry(
        run_id=manifest.run_id,
        started=manifest.started,
        mode=first_mode if refresh is None else refresh.mode,
        from_run_id=fit if refresh is None else refresh.from_run_id,
        rows=rows,
        sizes={str(segment): size for segment, size in sizes.items()},
        names={str(segment): name for segment, name in names.items() if name is not None},
        inertia=_inertia(manifest),
        feature_psi=largest_psi(drift),
        segment_psi=None if drift is None else drift.segment_psi,
        changed=None if refresh is None else changed_share(refresh),
        moved=None if refresh is None else moved_share(refresh),
    )


def largest_psi(drift: Drift | None) -> float | None:
    """Return the largest PSI of a feature or a column of categories; None without any."""
    if drift is None:
        return None
    features = [feature.psi for feature in drift.features]
    return max([*features, *(column.psi for column in drift.categories)], default=None)


def changed_share(refresh: Refresh) -> float | None:
    """Return the share of rows with another segment by the new definition, at the finest level.

    None where no row was compared; 0 where the older model has scored the rows.
    """
    rows = sum(cell.rows for each in refresh.definitions[:1] for cell in each.overlap)
    if not rows:
        return 0.0 if refresh.mode == "score" else None
    return changed_rows(refresh) / rows


def changed_rows(refresh: Refresh) -> int:
    """Return the rows with another segment by the new definition, at the finest level."""
    return refresh.definitions[0].changed if refresh.definitions else 0


def moved_share(refresh: Refresh) -> float | None:
    """Return the share of the customers of both outputs that moved; None where not known."""
    if refresh.migration is None:
        return None
    both = refresh.migration.stayed + refresh.migration.moved
    return refresh.migration.moved / both if both else None


def _inertia(manifest: Manifest | ScoresManifest) -> float | None:
    """Return the mean squared distance of the rows to their segments in this output.

    Where a model has scored them, drift has measured it. Of a fit drift knows the distances to the
    older segments only. k-means reports the sum to its own; where rows have weights, the number of
    rows does not divide it.
    """
    if not isinstance(manifest, Manifest):
        return None if manifest.drift is None else manifest.drift.inertia_now
    if manifest.input.weight is not None:
        return None
    total, rows = manifest.result.facts.get("inertia"), manifest.n_customers
    if not isinstance(total, int | float) or isinstance(total, bool) or not rows:
        return None
    return total / rows
