"""Small jobs that together use every preparation, fitted once in each process that asks for them.

Tests compare other ways of scoring a customer with the labels that these jobs have written.
"""

from __future__ import annotations

import atexit
import os
import warnings
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import gpuseg
from gpuseg.runtime.temporary_folder import temporary_folder
from support.helpers import cut, read_parts, write_files
from support.vector_columns import SPARK_VECTOR

ID = "customer"

ID_KEY_VARIABLE, ID_KEY = "GPUSEG_TEST_ID_KEY", "a secret of more than sixteen characters"
"""The key of the case `hashed_ids`; `fitted` sets the variable in this process."""

NUMBERS = ("recency", "orders", "spend")
"""Columns of positive numbers without gaps."""

NUMBERS_WITH_GAPS = ("income", "visits", "age")

ODD_NAMES = ('say "hi"', "order", "it's", "a`b", "größe", "x y", "[0]")
"""Names that languages of queries must quote."""

PLANS = ("basic", "plus", "pro")

CITIES = ("O'Brien", 'say "hi"', "a,b", "São Paulo", "null", "", "back\\slash", "%_", "Köln")
"""Categories that languages of queries must quote, and an empty one."""

_FIRST_NEW_ID = 1_000_000
_N_NEW = 150
_N_BLOBS = 4


@dataclass(frozen=True)
class Case:
    """A job, and what its new rows may have.

    Attributes
    ----------
    features : tuple of str
        Columns of `customers_of_all_types`, without those of `prepare.categorical`.
    prepare, segment, inputs, output : dict
        Keys of the job's sections.
    id : str or None
    n_rows : int
    has_unseen : bool
        Whether new rows have categories that the job has not seen.
    """

    features: tuple[str, ...] = NUMBERS
    prepare: dict[str, Any] = field(default_factory=dict)
    segment: dict[str, Any] = field(default_factory=lambda: {"n_clusters": 4})
    inputs: dict[str, Any] = field(default_factory=dict)
    output: dict[str, Any] = field(default_factory=dict)
    id: str | None = ID
    n_rows: int = 300
    has_unseen: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that the rows of the case have."""
        others = [self.id, *self.features, *self.prepare.get("categorical", ())]
        weight = self.inputs.get("weight")
        return tuple(name for name in (*others, weight) if name is not None)

    @property
    def algorithm(self) -> str:
        """The name of the algorithm."""
        return str(self.segment.get("algorithm", "kmeans"))


_CATEGORIES = {
    "city": "onehot", "country": "frequency", "plan": list(PLANS), "is_member": "onehot",
    "store": "onehot",
}  # fmt: skip

CASES: dict[str, Case] = {
    "plain": Case(output={"confidence": True}),
    "no_id": Case(id=None),
    "text_ids": Case(id="text_id"),
    "hashed_ids": Case(inputs={"id_hash_key_env": ID_KEY_VARIABLE}),
    "unscaled": Case(prepare={"scale": "none"}),
    "types_of_numbers": Case(("small", "unsigned", "single", "decimal", "is_member")),
    "odd_names": Case(ODD_NAMES),
    "one_feature": Case(("spend",)),
    "one_segment": Case(segment={"n_clusters": 1}),
    "mean": Case(
        NUMBERS_WITH_GAPS,
        {"missing": "mean", "missing_indicator": True, "clip": [0.05, 0.95]},
    ),
    "median": Case(
        (*NUMBERS, *NUMBERS_WITH_GAPS),
        {"missing": "median", "transform": "yeo-johnson", "scale": "robust"},
    ),
    "zero": Case(
        ("spend", "visits"), {"missing": "zero", "transform": "log1p", "scale": "minmax"}
    ),
    "drop": Case(NUMBERS_WITH_GAPS, {"missing": "drop", "transform": {"visits": "log1p"}}),
    "clip_log1p": Case(prepare={"clip": [0.01, 0.9], "transform": "log1p"}),
    "yeo_johnson_unscaled": Case(prepare={"transform": "yeo-johnson", "scale": "none"}),
    "large_offsets": Case(("signup", "balance", "spend"), {"scale": "none"}),
    "large_offsets_scaled": Case(("signup", "balance"), {"clip": [0.1, 0.9]}),
    "one_hot_with_other": Case(
        ("spend",), {"categorical": {"city": "onehot"}, "max_categories": 4, "missing": "mean"},
        has_unseen=True,
    ),
    "one_hot_of_all": Case(
        ("spend",), {"categorical": {"country": "onehot", "store": "onehot"}, "scale": "minmax"},
        has_unseen=True,
    ),
    "frequency": Case(
        ("spend",),
        {"categorical": {"city": "frequency", "country": "frequency"}, "missing": "zero",
         "transform": {"city": "log1p"}},
        has_unseen=True,
    ),
    "ordinal": Case(
        ("spend",),
        {"categorical": {"plan_or_none": list(PLANS), "level": [3, 1, 2]}, "missing": "median",
         "missing_indicator": True},
        has_unseen=True,
    ),
    "boolean_categories": Case(
        ("spend",),
        {"categorical": {"is_member": "onehot", "is_known": [False, True]}, "missing": "mean"},
    ),
    "categories_only": Case((), {"categorical": {"country": "onehot", "plan": list(PLANS)}}),
    "pca_share": Case(
        (*NUMBERS, *NUMBERS_WITH_GAPS),
        {"missing": "mean", "pca": 0.8, "transform": {"spend": "log1p"}},
    ),
    "pca_of_categories": Case(
        NUMBERS, {"categorical": dict(_CATEGORIES), "pca": 3, "missing": "mean"}, has_unseen=True
    ),
    "dropped_features": Case(
        (*NUMBERS, "constant", "copy"), {"drop_near_constant": True, "drop_correlated": 0.95}
    ),
    "first_of_duplicates": Case(
        prepare={"duplicates": "first"}, inputs={"weight": "households"}, id="repeated_id"
    ),
    "weights": Case(inputs={"weight": "households"}),
    "vectors": Case(("spend", "embedding"), {"transform": {"spend": "log1p"}}),
    "vectors_with_gaps": Case(
        ("vector_with_gaps", "spark_vector"), {"missing": "mean", "missing_indicator": True}
    ),
    "cosine": Case(("embedding",), {"scale": "none"}, {"n_clusters": 4, "metric": "cosine"}),
    "cosine_standardized": Case(
        NUMBERS_WITH_GAPS, {"missing": "median"}, {"n_clusters": 3, "metric": "cosine"}
    ),
    "selected_n_clusters": Case(segment={"n_clusters": "auto", "max_clusters": 6}),
    "sweep": Case(segment={"n_clusters": [2, 5]}),
    "many_segments": Case(n_rows=900, segment={"n_clusters": 300}),
    "hierarchy": Case(
        segment={"algorithm": "hierarchical", "levels": [3, 5, 9], "micro_segments": 40},
        output={"confidence": True},
    ),
    "hierarchy_of_all_rows": Case(
        ("spend", "city_share"), {"categorical": {"country": "onehot"}},
        {"algorithm": "hierarchical", "n_clusters": 4}, has_unseen=True,
    ),
    "dbscan": Case(segment={"algorithm": "dbscan", "eps": 0.5, "min_samples": 5}),
    "dbscan_of_all": Case(
        (*NUMBERS_WITH_GAPS, "signup"),
        {"missing": "mean", "categorical": {"plan": "onehot"}, "transform": "yeo-johnson"},
        {"algorithm": "dbscan", "eps": 1.5, "min_samples": 4, "metric": "manhattan"},
        has_unseen=True,
    ),
    "dbscan_cosine": Case(
        ("embedding",), {"scale": "none"},
        {"algorithm": "dbscan", "eps": 0.02, "min_samples": 4, "metric": "cosine"},
    ),
    "dbscan_haversine": Case(
        ("latitude", "longitude"), {"scale": "none"},
        {"algorithm": "dbscan", "eps": 0.05, "min_samples": 4, "metric": "haversine"},
    ),
    "dbscan_of_many_core_rows": Case(
        segment={"algorithm": "dbscan", "eps": 0.1, "min_samples": 2, "metric": "chebyshev"},
        n_rows=2000,
    ),
    "all_steps": Case(
        (*NUMBERS, *NUMBERS_WITH_GAPS, "constant", "copy", "embedding", "signup"),
        {"categorical": dict(_CATEGORIES), "max_categories": 4, "missing": "median",
         "missing_indicator": True, "clip": [0.01, 0.99], "transform": "yeo-johnson",
         "drop_near_constant": True, "drop_correlated": 0.95, "scale": "robust", "pca": 0.95},
        {"n_clusters": 5}, {"weight": "households"}, has_unseen=True,
    ),
}  # fmt: skip
"""Cases by name."""

CHOSEN = [
    "types_of_numbers", "odd_names", "mean", "median", "zero", "drop", "large_offsets",
    "one_hot_with_other", "frequency", "ordinal", "boolean_categories", "dropped_features",
    "vectors_with_gaps", "cosine", "hierarchy", "all_steps",
]  # fmt: skip
"""Cases with centers that together have every step, where all would take long."""


class JobLabels(NamedTuple):
    """What a job has written, in the order of its output.

    Attributes
    ----------
    ids : list
        Without an id column the numbers of the rows.
    segment : int32 (n,)
    distance : float32 (n,)
    levels : dict of column to int32 (n,)
        Of a hierarchy or a sweep.
    """

    ids: list[Any]
    segment: npt.NDArray[np.int32]
    distance: npt.NDArray[np.float32]
    levels: dict[str, npt.NDArray[np.int32]]


@cache
def fitted(name: str) -> Path:
    """Return the output of a case's job, which runs at the first call."""
    case, folder = CASES[name], _folder() / name
    os.environ.setdefault(ID_KEY_VARIABLE, ID_KEY)
    source = write_files(folder / "in", cut(input_rows(name), case.n_rows // 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of features that the case has on purpose
        gpuseg.run(job_of(name, source, folder / "out"))
    return folder / "out"


def job_of(name: str, source: Path | str, target: Path | str) -> dict[str, Any]:
    """Return the job of a case, with other paths."""
    case = CASES[name]
    inputs: dict[str, Any] = {"path": str(source), "id": case.id, **case.inputs}
    if case.features:
        inputs["features"] = list(case.features)
    else:
        inputs["features"] = list(case.prepare["categorical"])
    return {
        "input": inputs,
        "prepare": dict(case.prepare),
        "segment": dict(case.segment),
        "output": {"path": str(target), **case.output},
    }


@cache
def input_rows(name: str) -> pa.Table:
    """Return the rows that the job of a case reads, in their order."""
    case = CASES[name]
    return customers_of_all_types(case.n_rows).select(case.columns)


@cache
def new_rows(name: str) -> pa.Table:
    """Return rows that the job has not seen, with gaps where the model fills them.

    Categories are unseen in some rows where the case has `has_unseen`. No row is refused.
    """
    case = CASES[name]
    is_filled = case.prepare.get("missing", "error") not in ("error", "drop")
    table = customers_of_all_types(
        _N_NEW, seed=1, first_id=_FIRST_NEW_ID, has_unseen=case.has_unseen, has_gaps=is_filled
    )
    return table.select(case.columns)


@cache
def job_labels(name: str) -> JobLabels:
    """Return what the job of a case has written."""
    case, parts = CASES[name], read_parts(fitted(name))
    ids = list(range(len(parts))) if case.id is None else parts[case.id].to_pylist()
    named = (case.id, "segment", "distance", "confidence")
    levels = {c: parts[c].to_numpy() for c in parts.column_names if c not in named}
    return JobLabels(ids, parts["segment"].to_numpy(), parts["distance"].to_numpy(), levels)


@cache
def kept_rows(name: str) -> pa.Table:
    """Return the input rows that the output has, in its order."""
    case, rows = CASES[name], input_rows(name)
    if case.prepare.get("missing") == "drop":
        rows = rows.filter(is_complete(rows))
    if case.prepare.get("duplicates") == "first":
        first = dict.fromkeys(rows[ID if case.id is None else case.id].to_pylist())
        ids = rows[case.id].to_pylist()
        rows = rows.take([ids.index(value) for value in first])
    return rows


def customers_of_all_types(
    n: int, *, seed: int = 0, first_id: int = 0, has_unseen: bool = False, has_gaps: bool = True
) -> pa.Table:
    """Return customers around a few places, with columns of every type that a job may read.

    Parameters
    ----------
    n : int
    seed : int
        The places do not depend on it.
    first_id : int
    has_unseen : bool
        Whether columns of categories have values that no other rows have.
    has_gaps : bool
        Whether some columns have missing values.
    """
    rng = np.random.default_rng([seed, 5])
    places = np.random.default_rng(9).uniform(-2.0, 2.0, (_N_BLOBS, 12))
    blob = rng.integers(_N_BLOBS, size=n)
    z = places[blob] + 0.3 * rng.normal(size=(n, 12))
    numbers = np.arange(first_id, first_id + n)

    def gaps(values: Any, share: float = 0.1) -> pa.Array:
        return pa.array(values, mask=(rng.random(n) < share) & has_gaps)

    def categories(known: Any, unseen: Any, shift: int) -> list[Any]:
        others = (rng.random(n) < 0.4) * rng.integers(len(known), size=n)
        drawn = [known[i] for i in ((blob + shift + others) % len(known)).tolist()]
        is_unseen = (rng.random(n) < 0.1) & has_unseen
        return [unseen if new else value for new, value in zip(is_unseen, drawn, strict=True)]

    embedding = np.round(z[:, :4], 4)
    vectors = [None if none and has_gaps else row for none, row in
               zip(rng.random(n) < 0.1, embedding.tolist(), strict=True)]  # fmt: skip
    spend = np.round(np.exp(2 + z[:, 2]), 2)
    columns: dict[str, Any] = {
        ID: numbers,
        "text_id": [f"C-{number:07d}" for number in numbers],
        "repeated_id": numbers - numbers % 10 * (numbers % 10 < 2),
        "recency": np.round(30 * np.exp(z[:, 0]), 1),
        "orders": np.ceil(np.exp(1.5 + z[:, 1])).astype(np.int64),
        "spend": spend,
        "income": gaps(np.round(1000 * z[:, 3], 1)),
        "visits": gaps(np.floor(np.exp(2 + z[:, 4]))),
        "age": gaps(np.round(45 + 10 * z[:, 5]).astype(np.int32)),
        "signup": 1_700_000_000 + np.round(900 * z[:, 6]).astype(np.int64),
        "balance": 1e10 + np.round(40 * z[:, 7], 3),
        "households": np.round(0.5 + rng.random(n) * 3, 2),
        "small": np.round(20 * z[:, 0]).astype(np.int8),
        "unsigned": np.exp(5 + z[:, 1]).astype(np.uint64),
        "single": z[:, 2].astype(np.float32),
        "decimal": pa.array(np.round(100 * z[:, 3], 2)).cast(pa.decimal128(12, 4)),
        "country": categories(("DE", "FR", "IT", "US", "JP"), "ZZ", 0),
        "city": gaps(np.array(categories(CITIES, "Nowhere", 1), object)),
        "city_share": z[:, 8],
        "plan": categories(PLANS, PLANS[0], 2),
        "plan_or_none": gaps(np.array(categories(PLANS, "max", 2), object)),
        "level": pa.array(categories((1, 2, 3), 9, 1), pa.int16()),
        "store": pa.array(categories((7, -3, 2**40), 5, 0), pa.int64()),
        "is_member": z[:, 9] > 0,
        "is_known": gaps(z[:, 10] > 0),
        "constant": (rng.random(n) < 0.02).astype(np.float64),
        "copy": 2 * spend + 1,
        "embedding": pa.array(embedding.tolist(), pa.list_(pa.float32(), 4)),
        "vector_with_gaps": pa.array(vectors, pa.list_(pa.float64())),
        "spark_vector": _spark_vectors(embedding),
        "latitude": 0.8 + 0.05 * z[:, 10],
        "longitude": 0.1 + 0.05 * z[:, 11],
        **{name: z[:, i] for i, name in enumerate(ODD_NAMES)},
    }
    return pa.table(columns)


def _spark_vectors(rows: npt.NDArray[np.float64]) -> pa.Array:
    """Return vectors of Spark ML, each second one sparse."""
    at = list(range(rows.shape[1]))
    sparse = {"type": 0, "size": rows.shape[1], "indices": at}
    dense = {"type": 1, "size": None, "indices": None}
    return pa.array(
        [{**(sparse if i % 2 else dense), "values": row} for i, row in enumerate(rows.tolist())],
        SPARK_VECTOR,
    )


def is_complete(rows: pa.Table) -> pa.Array:
    has_gap = np.zeros(len(rows), bool)
    for column in rows.columns:
        has_gap |= column.is_null().to_numpy()
    return pa.array(~has_gap)


@cache
def _folder() -> Path:
    """Return the folder of all outputs, which is removed at the end of this process."""
    stack = ExitStack()
    atexit.register(stack.close)
    return Path(stack.enter_context(temporary_folder()))
