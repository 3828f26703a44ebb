"""Refreshes of transaction lines: the borders of RFM scores stay with the older preparation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.helpers import read_parts

import gpuseg
from gpuseg.jobs.run import RunResult

N_CUSTOMERS, N_LINES = 150, 2000


def job(folder: Path, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    hours = rng.integers(0, 24 * 365, N_LINES) * np.timedelta64(1, "h")
    lines = {
        "who": rng.integers(10 * seed, N_CUSTOMERS + 10 * seed, N_LINES),
        "at": np.datetime64("2025-01-01", "us") + hours,
        "order": rng.integers(0, N_LINES // 2, N_LINES),
        "price": np.round(rng.lognormal(2 + seed / 4, 1, N_LINES), 2),
    }
    path = folder / f"lines-{seed}.parquet"
    pq.write_table(pa.table(lines), path)
    roles = {"customer": "who", "time": "at", "order": "order", "amount": "price"}
    features = ["recency_days", "frequency_score", "monetary_score", "spend"]
    return {
        "transactions": {"path": str(path), **roles, "rfm": True, "features": features},
        "prepare": {"transform": {"spend": "log1p"}},
        "segment": {"n_clusters": 3},
        "output": {"path": str(folder / f"out-{seed}")},
    }


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return gpuseg.run(job(tmp_path_factory.mktemp("lines"), 0))


@pytest.mark.parametrize(
    ("mode", "preparation"), [("score", "keep"), ("warm", "keep"), ("warm", "fit")]
)
def test_labels_and_borders(mode: str, preparation: str, older: RunResult, tmp_path: Path) -> None:
    values = {**job(tmp_path, 1), "refresh": {"preparation": preparation, "mode": mode}}
    result = gpuseg.refresh(values, older.path)
    out = Path(result.path)
    features = pa.concat_tables(map(pq.read_table, sorted((out / "_features").iterdir())))
    parts = read_parts(out)
    assert features["customer_id"].equals(parts["customer_id"])
    assert result.model.predict(features).tolist() == parts["segment"].to_pylist()
    lines, before = result.record.transactions, older.record.transactions
    assert lines is not None and before is not None
    assert (lines.rfm == before.rfm) == (preparation == "keep")
    assert result.record.refresh is not None and result.record.refresh.migration is not None
    assert result.record.refresh.migration.came == 10
