"""Errors have fields, which a front end renders by its own names of the parameters."""

import pickle
from typing import Any

import pytest

from gpuseg.errors import (
    ConfigError,
    DataError,
    GpusegError,
    literal,
    parameter_names,
    set_key,
    set_keys,
)
from gpuseg.jobs.job import job_names
from gpuseg.jobs.job_file import load_job
from gpuseg.validation import nearest_known


def too_many() -> ConfigError:
    return ConfigError(
        "n_clusters.too_many", "more clusters than rows", value=9, parameter="n_clusters",
        rule="must be at most 5", hint="lower `n_clusters`, or see `n_init`",
    )  # fmt: skip


def test_fields_make_a_message() -> None:
    assert str(too_many()) == (
        "n_clusters = 9: more clusters than rows: must be at most 5; "
        "lower `n_clusters`, or see `n_init`"
    )
    assert str(DataError("rows.none", "the data has no rows")) == "the data has no rows"
    assert str(DataError("x.none", "is None", value=None)) == "None: is None"
    assert not DataError("rows.none", "the data has no rows").has_value


def test_front_ends_put_their_names() -> None:
    names = {"n_clusters": "segment.n_clusters"}
    with pytest.raises(ConfigError) as caught, parameter_names(names):
        raise too_many()
    assert str(caught.value).startswith("segment.n_clusters = 9: ")
    assert str(caught.value).endswith("; lower segment.n_clusters, or see `n_init`")
    assert caught.value.parameter == "n_clusters"


def test_backticks_of_data_are_shown_as_they_are() -> None:
    error = DataError(
        "column.wrong", "no column '`weight`' in a`id`.parquet", value="`weight`",
        rule=f"must be {literal('`weight`')}, or change `weight`",
        hint=nearest_known("x", ["`weight`"]),
    )  # fmt: skip
    assert error.rendered({"weight": "input.weight", "id": "input.id"}) == (
        "'`weight`': no column '`weight`' in a`id`.parquet: "
        "must be `weight`, or change input.weight; choose one of `weight`"
    )


JOB = {"input": {"path": "a", "features": ["b"]}, "output": {"path": "c"}}


@pytest.mark.parametrize(
    ("sections", "step"),
    [
        ({}, 'add a section [prepare] with the line missing = "mean"'),
        ({"prepare": {"scale": "none"}}, 'add under [prepare]: missing = "mean"'),
        ({"prepare": {"missing": "zero"}}, 'change under [prepare]: missing = "mean"'),
    ],
)
def test_a_job_has_a_key_under_a_section(sections: dict[str, Any], step: str) -> None:
    error = DataError("x.missing", hint=set_key("missing", "mean"))
    assert error.rendered(job_names(load_job({**JOB, **sections}))) == f"; {step}"
    assert str(error) == '; set missing = "mean"'


def test_a_job_has_each_key_on_a_line() -> None:
    error = DataError("x.format", hint=set_keys('decimal = ","', 'thousands = "."'))
    step = 'write under [input], each on its own line: decimal = "," | thousands = "."'
    assert error.rendered(job_names(load_job(JOB))) == f"; {step}"
    assert str(error) == '; set decimal = "," and thousands = "."'


@pytest.mark.parametrize(
    ("value", "in_job", "in_python"),
    [(True, "true", "True"), (False, "false", "False"), (3, "3", "3"), ('a"`', *['"a\\"`"'] * 2),
     ({"a": "b"}, *['{ "a" = "b" }'] * 2)],
)  # fmt: skip
def test_values_of_keys_are_written_as_they_are_read(
    value: Any, in_job: str, in_python: str
) -> None:
    error = DataError("x.value", hint=set_key("pca", value))
    assert error.rendered(job_names(load_job(JOB))).endswith(f" pca = {in_job}")
    assert str(error).endswith(f" pca = {in_python}")


def test_errors_travel_between_processes() -> None:
    error = too_many()
    error.names = {"n_clusters": "segment.n_clusters"}
    copy: GpusegError = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.code, copy.value, str(copy)) == (
        ConfigError, error.code, 9, str(error),
    )  # fmt: skip
    assert copy.args == error.args == (error.code, error.problem)
    assert not pickle.loads(pickle.dumps(DataError("rows.none", "no rows"))).has_value
