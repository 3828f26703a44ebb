"""A refresh of transaction lines whose snapshot has not moved."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.helpers import call

JOB = """
[transactions]
path = "{folder}/lines.parquet"
customer = "who"
time = "when"
amount = "paid"
features = ["recency_days", "spend"]
snapshot = 2026-03-01
[segment]
n_clusters = 3
[output]
path = "{folder}/spring"
"""


def test_a_snapshot_that_has_not_moved_is_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    days = random.integers(0, 90, 600).tolist()
    lines = {
        "who": random.integers(0, 80, 600),
        "when": [datetime(2026, 1, 1) + timedelta(days=day) for day in days],
        "paid": random.lognormal(3, 1, 600),
    }
    pq.write_table(pa.table(lines), tmp_path / "lines.parquet")
    job, older = tmp_path / "job.toml", tmp_path / "spring"
    job.write_text(JOB.format(folder=tmp_path))
    assert call(capfd, "run", job).code == 0
    again = ["refresh", job, "--from", older, "--set"]
    same = call(capfd, *again, f"output.path={tmp_path}/same")
    assert same.code == 0 and "0 customers (0.0%) in another segment" in same.out
    assert "warning: transactions.snapshot is that of the older output, 2026-03-01" in same.err
    moved = call(
        capfd, *again, f"output.path={tmp_path}/next", "--set", "transactions.snapshot=2026-04-01"
    )
    assert moved.code == 0 and "transactions.snapshot is that" not in moved.err
