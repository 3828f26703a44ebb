"""Errors have fields, which a front end renders by its own names of the parameters."""

import pickle

import pytest

from gpuseg.errors import ConfigError, DataError, GpusegError, literal, parameter_names
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


def test_errors_travel_between_processes() -> None:
    error = too_many()
    error.names = {"n_clusters": "segment.n_clusters"}
    copy: GpusegError = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.code, copy.value, str(copy)) == (
        ConfigError, error.code, 9, str(error),
    )  # fmt: skip
    assert copy.args == error.args == (error.code, error.problem)
    assert not pickle.loads(pickle.dumps(DataError("rows.none", "no rows"))).has_value
