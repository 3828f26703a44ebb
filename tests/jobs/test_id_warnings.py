"""Warnings of a run about its ids: none are named, or they are e-mail addresses or numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.helpers import FEATURES, customers

import gpuseg
from gpuseg.io.privacy.pii import contact

ROWS = 60
KEYS = [f"k{i}" for i in range(ROWS)]
EMAILS = [f"a{i}@example.org" for i in range(ROWS)]
PHONES = [f"+49 30 12345{i:03d}" for i in range(ROWS)]


def frame(**columns: Any) -> pd.DataFrame:
    """Return the features of some customers, with further columns."""
    return customers(ROWS).drop_columns("customer").to_pandas().assign(**columns)


def warnings_of(path: Path, table: pd.DataFrame, **keys: Any) -> list[str]:
    """Run a job over a table, and return the warnings in its manifest."""
    table.to_parquet(path / "in.parquet")
    result = gpuseg.run({
        "input": {"path": str(path / "in.parquet"), **keys},
        "segment": {"n_clusters": 2}, "output": {"path": str(path / "out")},
    })  # fmt: skip
    return [text for text in result.manifest["warnings"] if "not used for" not in text]


@pytest.mark.parametrize(
    ("change", "keys", "candidate"),
    [
        (lambda table: table.set_axis(KEYS), {}, "__index_level_0__"),
        (lambda table: table.set_axis(pd.Index(KEYS, name="who")), {}, "who"),
        (lambda table: table.assign(who=KEYS), {}, "who"),
        (lambda table: table.assign(who=KEYS, shop_id=KEYS), {}, "shop_id"),
        (lambda table: table.assign(n=np.arange(ROWS)), {"features": list(FEATURES)}, "n"),
        (lambda table: table.assign(who=KEYS, mail=EMAILS), {}, "who"),
        (lambda table: table.assign(who=KEYS)[::2], {}, "who"),
    ],
    ids=["index", "named index", "text", "named like an id", "integers", "mail", "filtered"],
)
def test_a_likely_id_is_named(
    tmp_path: Path,
    change: Callable[[pd.DataFrame], pd.DataFrame],
    keys: dict[str, Any],
    candidate: str,
) -> None:
    (warning,) = warnings_of(tmp_path, change(frame()), **keys)
    assert f"input.id = '{candidate}'" in warning


@pytest.mark.parametrize(
    "columns",
    [{}, {"a": KEYS, "b": KEYS}, {"country": ["DE", "FR", "IT"] * 20}],
    ids=["none", "two", "values that repeat"],
)
def test_without_a_likely_id_none_is_named(tmp_path: Path, columns: dict[str, Any]) -> None:
    (warning,) = warnings_of(tmp_path, frame(**columns))
    assert "input.id" in warning and "input.id =" not in warning


def test_no_id_on_purpose_gives_no_warning(tmp_path: Path) -> None:
    assert warnings_of(tmp_path, frame(who=KEYS), id=None) == []


def test_a_feature_that_is_named_like_an_id_gives_one_warning(tmp_path: Path) -> None:
    (warning,) = warnings_of(tmp_path, frame(user_id=np.arange(ROWS), who=KEYS))
    assert "'user_id'" in warning


@pytest.mark.parametrize(
    ("name", "values", "has_warning"),
    [
        ("who", EMAILS, True),
        ("who", pd.Categorical(PHONES), True),
        ("phone", 49_301_230_000 + np.arange(ROWS), True),
        ("phone", [f"030{i:07d}" for i in range(ROWS)], True),
        ("phone", np.arange(ROWS), False),
        ("email_hashed", KEYS, False),
        ("account", [f"{i:010d}" for i in range(ROWS)], False),
        ("who", KEYS, False),
        ("who", np.arange(ROWS), False),
        ("name", KEYS, False),
    ],
)
@pytest.mark.parametrize("is_hashed", [False, True])
def test_ids_that_reach_a_person_give_a_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    values: Any,
    has_warning: bool,
    is_hashed: bool,
) -> None:
    monkeypatch.setenv("ID_KEY", "secret" * 8)
    keys = {"id_hash_key_env": "ID_KEY"} if is_hashed else {}
    warnings = warnings_of(
        tmp_path, frame(**{name: values}), id=name, features=list(FEATURES), **keys
    )
    assert ["id_hash_key_env" in text for text in warnings] == [True] * (
        has_warning and not is_hashed
    )


def test_times_that_python_cannot_have_are_no_telephone_numbers() -> None:
    assert contact("phone", pa.array([2**62], pa.timestamp("us"))) is None


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("name", "values", "has_warning"),
    [("email", EMAILS, True), ("who", EMAILS, True), ("email", KEYS, False)],
)
def test_customers_that_are_addresses_give_a_warning(
    tmp_path: Path, suffix: str, name: str, values: list[str], has_warning: bool
) -> None:
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(0, 300, ROWS), "D")
    lines = pd.DataFrame({name: values, "at": days, "paid": rng.uniform(1, 9, ROWS)})
    path = tmp_path / f"lines.{suffix}"
    lines.to_csv(path, index=False) if suffix == "csv" else lines.to_parquet(path, index=False)
    roles = {"path": str(path), "customer": name, "time": "at", "amount": "paid"}
    manifest = gpuseg.run({
        "transactions": roles, "segment": {"n_clusters": 2},
        "output": {"path": str(tmp_path / "out")},
    }).manifest  # fmt: skip
    assert any("id_hash_key_env" in text for text in manifest["warnings"]) == has_warning
    assert not any("input.id" in text for text in manifest["warnings"])
