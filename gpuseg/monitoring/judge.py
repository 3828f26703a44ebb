"""Measure how far rows differ from those of the fit, and judge whether that is too much."""

from collections.abc import Mapping

import numpy as np

from gpuseg.drift_record import Drift, DriftThresholds
from gpuseg.monitoring.alarms import Alarms
from gpuseg.monitoring.bin_counts import BinCounts
from gpuseg.monitoring.category_drift import UnseenValues, category_drift
from gpuseg.monitoring.number_drift import NumberDrift, judge_dropped, largest
from gpuseg.monitoring.reference import DriftReference
from gpuseg.monitoring.segment_drift import judge_segments, overall_drift, segment_drift
from gpuseg.monitoring.segment_sums import SegmentSums
from gpuseg.preprocessing.encoding.encoder import Encoder, feature_origins
from gpuseg.preprocessing.pipeline import FeaturePipeline

_MAX_FEATURES = 256
"""Features and columns of categories in the record."""

_MAX_ALARMS = 256

_CATEGORICAL = ("onehot", "frequency", "ordinal")


def measure_drift(
    reference: DriftReference,
    bins: BinCounts,
    sums: SegmentSums,
    unseen: Mapping[str, UnseenValues],
    n_dropped: int,
    pipeline: FeaturePipeline,
    thresholds: DriftThresholds,
    fit_run_id: str | None,
) -> Drift:
    """Return how far rows differ from those of the fit, and the alarms.

    Where nothing has changed, at most about one comparison in `monitoring.alarms.FALSE_ALARMS`
    has an alarm, with any number of rows.

    Parameters
    ----------
    reference : DriftReference
        Of the model that has scored the rows.
    bins : BinCounts
    sums : SegmentSums
    unseen : mapping of str to UnseenValues
        Categories that were not in the data of the fit, by column.
    n_dropped : int
        Rows that were left out because a feature is missing.
    pipeline : FeaturePipeline
        Of the model.
    thresholds : DriftThresholds
    fit_run_id : str or None
        Of the run that fitted the model.
    """
    now = bins.total()
    columns = [e for e in pipeline.used_encoders if e.kind in _CATEGORICAL]
    numbers = _numbers(pipeline, columns)
    alarms = Alarms(thresholds, 2 * len(numbers) + 3 * len(columns) + 3)
    origins = feature_origins(pipeline.encoders, reference.features)
    measured = NumberDrift(
        reference, now, np.zeros(len(reference.features)) if origins is None else origins
    )
    features = [measured.record(f, alarms) for f in numbers]
    categories = [
        category_drift(encoder, reference, now, unseen.get(encoder.column), alarms)
        for encoder in columns
    ]
    n, m = int(reference.sizes.sum()), int(sums.sizes.sum())
    dropped = judge_dropped((int(reference.dropped[0]), n_dropped), (n, m), alarms)
    overall = overall_drift(reference, sums)
    segment_psi, segment_psi_chance = judge_segments(reference, sums, overall, alarms)
    shown = largest([each.psi + each.is_beyond for each in features], _MAX_FEATURES)
    shown_columns = largest([each.psi + each.is_beyond for each in categories], _MAX_FEATURES)
    return Drift(
        fit_run_id=fit_run_id,
        rows_before=n,
        rows_now=m,
        dropped_before=dropped[0],
        dropped_now=dropped[1],
        thresholds=thresholds,
        features=tuple(features[i] for i in shown),
        other_features=len(features) - len(shown),
        categories=tuple(categories[i] for i in shown_columns),
        other_categories=len(categories) - len(shown_columns),
        segment_psi=segment_psi,
        segment_psi_chance=segment_psi_chance,
        mean_distance_before=overall.distance[0],
        mean_distance_now=overall.distance[1],
        inertia_before=overall.square[0],
        inertia_now=overall.square[1],
        far_before=overall.far[0],
        far_now=overall.far[1],
        segments=segment_drift(reference, sums, bins.counts),
        alarms=tuple(alarms.raised[:_MAX_ALARMS]),
        other_alarms=len(alarms.raised[_MAX_ALARMS:]),
    )


def _numbers(pipeline: FeaturePipeline, columns: list[Encoder]) -> list[int]:
    """Return the positions of the features that are numbers.

    A feature that marks the gaps of a number says what the number's own bins say.
    """
    of_columns = {name for encoder in columns for name in encoder.feature_names()}
    used = set(pipeline.features)
    marks = {
        name
        for encoder in pipeline.used_encoders
        if encoder.kind == "is missing" and encoder.column in used
        for name in encoder.feature_names()
    }
    others = of_columns | marks
    return [f for f, name in enumerate(pipeline.features) if name not in others]
