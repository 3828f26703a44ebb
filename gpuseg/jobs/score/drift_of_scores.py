"""Drift of rows that a model has scored, of which a run has the counts."""

from gpuseg.drift_record import Drift, DriftThresholds
from gpuseg.formatting import count
from gpuseg.models.loading import SavedOutput
from gpuseg.monitoring.category_drift import UnseenValues
from gpuseg.monitoring.judge import measure_drift
from gpuseg.scoring.counts import ScoreCounts


def drift_of_scores(
    saved: SavedOutput, counts: ScoreCounts, thresholds: DriftThresholds
) -> Drift | None:
    """Return the drift of rows that a model has scored; None without a reference."""
    reference = saved.model.reference
    if reference is None or counts.rows.bins is None:
        return None
    unseen = {
        column: UnseenValues(rows.n_rows, str(rows.value)) for column, rows in counts.unseen.items()
    }
    return measure_drift(
        reference,
        counts.rows.bins,
        counts.rows.sums,
        unseen,
        counts.n_dropped,
        saved.model.pipeline,
        thresholds,
        saved.run_id,
    )


def drift_warning(drift: Drift) -> str:
    """Return the warning of drift that is beyond a threshold."""
    first, *others = drift.alarms
    n_others = len(others) + drift.other_alarms
    more = f"; {count(n_others, 'more measure')} beyond a threshold" if n_others else ""
    return f"the rows differ from those of the fit: {first.sentence}{more}"
