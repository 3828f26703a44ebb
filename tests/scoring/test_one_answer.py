"""Every way of scoring a customer gives the segment that a job gives."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
from one_answer.doors import IN_PROCESS, Answers, Door, by_files
from support.fitted_outputs import CASES, CHOSEN, fitted, job_labels, kept_rows, new_rows
from support.helpers import THOROUGH, in_turn

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


def expected(name: str) -> Answers:
    """What the job wrote, and for new rows what the loaded model says in this process."""
    labels, model = job_labels(name), gpuseg.load_model(fitted(name))
    segment, distance = model.predict(new_rows(name), return_distance=True)
    return Answers(
        np.concatenate([labels.segment, segment]),
        np.concatenate([labels.distance, distance]),
    )


def rows_of(name: str) -> pa.Table:
    """The rows that the output of a case has, and new ones."""
    return pa.concat_tables([kept_rows(name), new_rows(name)])


ON_WORKERS = ["all_steps", "drop", "hierarchy", "dbscan_of_all"]
if THOROUGH:  # but for the case whose workers need a key in their environment
    ON_WORKERS = [name for name in CASES if name != "hashed_ids"]

OF_DBSCAN = [name for name, case in CASES.items() if case.algorithm == "dbscan"]

TRIED = list(CASES) if THOROUGH else [*CHOSEN, *OF_DBSCAN]

UNSEEN = pytest.mark.filterwarnings("ignore:column .* a category that was not in the data")


def check(name: str, door: Door, folder: Path) -> None:
    """Compare what a door says of the rows of a case."""
    answered, wanted = door(fitted(name), rows_of(name), folder), expected(name)
    np.testing.assert_array_equal(answered.segment, wanted.segment)
    np.testing.assert_array_equal(answered.distance, wanted.distance)


@UNSEEN
@pytest.mark.parametrize(("door", "name"), in_turn(IN_PROCESS, TRIED, step=6))
def test_every_door_gives_the_same_answer(tmp_path: Path, door: str, name: str) -> None:
    check(name, IN_PROCESS[door], tmp_path)


@pytest.mark.slow
@UNSEEN
@pytest.mark.parametrize("name", ON_WORKERS)
def test_two_workers_give_the_same_answer(
    tmp_path: Path, name: str, two_workers: dict[str, Any]
) -> None:
    check(name, partial(by_files, cluster=two_workers["cluster"]), tmp_path)
