"""Every way of scoring a customer gives the segment that a job gives."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from support.fitted_outputs import CASES, fitted, job_labels, kept_rows

import gpuseg
from gpuseg.numerics.distance_metrics import Metric
from gpuseg.preprocessing.params import PreprocessingParams


def _values_of(section: str, key: str) -> set[Any]:
    """Return the values of a key in all cases; those of a table are its items' values."""
    used: set[Any] = set()
    for case in CASES.values():
        value = getattr(case, section).get(key)
        values = value.values() if isinstance(value, dict) else [value]
        used |= {"list" if isinstance(one, list) else one for one in values}
    return used


def test_cases_use_every_preparation() -> None:
    fields = PreprocessingParams.model_fields
    for key in ("missing", "scale"):
        named = set(get_args(fields[key].annotation))
        used = _values_of("prepare", key) | {fields[key].default}
        assert used >= named, key
    assert _values_of("prepare", "transform") >= {"log1p", "yeo-johnson"}
    assert _values_of("prepare", "categorical") >= {"onehot", "frequency", "list"}
    assert all(_values_of("prepare", key) - {None} for key in fields)
    assert _values_of("segment", "metric") >= set(get_args(Metric)) - {"euclidean"}


@pytest.mark.parametrize("name", CASES)
def test_a_loaded_model_gives_the_labels_of_the_job(name: str) -> None:
    labels = job_labels(name)
    model = gpuseg.load_model(fitted(name))
    segment, distance = model.predict(kept_rows(name), return_distance=True)
    np.testing.assert_array_equal(segment, labels.segment)
    np.testing.assert_array_equal(distance, labels.distance)
