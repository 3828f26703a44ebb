"""Drift of the rows of a new fit against the fit of the older model."""

from gpuseg.drift_record import Drift, DriftThresholds
from gpuseg.jobs.refresh.older_output import OlderOutput
from gpuseg.jobs.stages.load_rows import LoadedInput
from gpuseg.jobs.stages.preprocess import PreprocessedRows
from gpuseg.monitoring.judge import measure_drift


def measured_drift(
    older: OlderOutput,
    rows: LoadedInput,
    prepared: PreprocessedRows,
    thresholds: DriftThresholds,
) -> Drift | None:
    """Return the drift; None if the older model has nothing that it is measured against."""
    reference, comparison = older.model.reference, prepared.comparison
    if reference is None or comparison is None or comparison.bins is None:
        return None
    return measure_drift(
        reference, comparison.bins, comparison.sums, rows.unseen, prepared.raw_counts.n_dropped,
        older.model.pipeline, thresholds, older.fit.run_id,
    )  # fmt: skip
