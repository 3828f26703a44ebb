"""Jobs on a real Slurm with two nodes: the bits of a local run, states, arrays, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.held_run import holding_python, wait_for
from support.helpers import (
    bits,
    call,
    customers,
    cut,
    job,
    leftovers,
    manifest_of,
    toml,
    write_files,
)
from support.slurm import SlurmCluster
from support.slurm_jobs import ended, log_of, submitted

import gpuseg
from gpuseg.errors import ConfigError
from gpuseg.jobs.submit.launchers import launcher_of
from gpuseg.jobs.submit.prepare import prepare
from gpuseg.jobs.submit.registry import records_of
from gpuseg.jobs.submit.submit_job import submit_job

pytestmark = pytest.mark.slow


def jobs(folder: Path) -> dict[str, dict[str, Any]]:
    """Return a job of each kind, and write its rows."""
    rng = np.random.default_rng(0)
    source = write_files(folder / "rows", cut(customers(900), 300, 600))
    lines = {
        "who": rng.integers(300, size=4000), "paid": rng.gamma(2.0, 20.0, 4000),
        "at": np.datetime64("2025-01-01") + rng.integers(3e7, size=4000).astype("m8[s]"),
    }  # fmt: skip
    (folder / "lines").mkdir()
    for i in range(2):
        part = pa.table({name: column[i::2] for name, column in lines.items()})
        pq.write_table(part, folder / "lines" / f"{i}.parquet")
    of_lines = {
        "transactions": {
            "path": str(folder / "lines"), "customer": "who", "time": "at", "amount": "paid",
        },
        "segment": {"n_clusters": 4},
    }  # fmt: skip
    kmeans = job(source, "", segment={"n_clusters": 3})
    dbscan = {**kmeans, "segment": {"algorithm": "dbscan", "eps": 0.5, "min_samples": 5}}
    made = {"kmeans": kmeans, "dbscan": dbscan, "transactions": of_lines}
    return {
        name: {
            **values, "runtime": {"backend": "numpy"}, "output": {"path": str(folder / name)},
        }
        for name, values in made.items()
    }  # fmt: skip


def test_two_nodes_have_the_bits_of_a_local_run(slurm: SlurmCluster, tmp_path: Path) -> None:
    made = jobs(tmp_path)
    records = {name: submitted(values) for name, values in made.items()}
    for name, values in made.items():
        gpuseg.run({**values, "output": {"path": str(tmp_path / f"{name}-here")}})
    for name, record in records.items():
        state = ended(record)
        assert (state.state, state.exit_code) == ("succeeded", 0), log_of(record)
        assert bits(tmp_path / name)[:2] == bits(tmp_path / f"{name}-here")[:2]
        assert manifest_of(tmp_path / name)["job"]["runtime"]["cluster"] == "ranks"


def test_exit_code_status_and_log(
    slurm: SlurmCluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = customers(60)
    spend = table.column("spend").to_numpy().copy()
    spend[3] = np.nan
    source = write_files(tmp_path / "in", [table.set_column(3, "spend", pa.array(spend))])
    values = job(source, tmp_path / "out", runtime={"backend": "numpy"})
    file = tmp_path / "job.toml"
    file.write_text(toml({**values, "submit": {"cpus": 1, "restarts": 0}}))
    outcome = call(capfd, "submit", file, "--to", "slurm", "--wait")
    assert outcome.code == 3
    job_id = outcome.out.strip()
    assert job_id.isdigit()
    assert "FAILED" in outcome.err
    assert "exit code 3" in call(capfd, "status", job_id).out
    followed = call(capfd, "logs", "-f", job_id)
    assert followed.code == 3 and "spend" in followed.out
    assert not (tmp_path / "out").exists()


def test_a_running_job_is_watched_and_cancelled(
    slurm: SlurmCluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def status() -> Any:
        return json.loads(call(capfd, "status", record.job_id, "--json").out)

    python = str(holding_python("fit", tmp_path))
    record = submitted(jobs(tmp_path)["kmeans"], python=python)
    wait_for(lambda: status()["stage"] == "fit")
    shown = status()
    assert (shown["state"], shown["launcher"], shown["size"]) == ("running", "slurm", 2)
    assert call(capfd, "cancel", record.job_id).code == 0
    assert (status()["state"], status()["exit_code"]) == ("cancelled", 130)
    assert call(capfd, "logs", "-f", record.job_id).code == 130
    assert not (tmp_path / "kmeans").exists() and leftovers(tmp_path) == []
    assert {"checkpoint", "ranks"}.isdisjoint(path.name for path in Path(record.folder).iterdir())


def test_array_and_cancel(slurm: SlurmCluster, tmp_path: Path) -> None:
    values = jobs(tmp_path)["kmeans"]
    launcher = launcher_of("slurm")
    array = {**values, "submit": {"cpus": 1, "at_once": 2}}
    whole = submit_job(prepare(array, launcher, array=["segment.n_clusters=2,4"]), launcher)
    single = {**values, "output": {"path": str(tmp_path / "single")}}
    held = submitted(single, extra=["--begin=now+1hour"])
    assert launcher.state(held.job_id).state == "queued"
    with pytest.raises(ConfigError) as caught:
        submitted(single)
    assert caught.value.code == "submit.active"
    launcher.cancel(held.job_id)
    assert launcher.state(held.job_id).state == "cancelled"
    assert ended(whole).exit_code == 0
    for number, k in enumerate((2, 4)):
        output = Path(values["output"]["path"]) / f"n_clusters={k}"
        assert len(manifest_of(output)["segments"]) == k
        [record] = records_of(f"{whole.job_id}_{number}")
        assert record.output == str(output)
        assert launcher.state(record.job_id).state == "succeeded"


REFUSALS: dict[str, tuple[str, dict[str, Any]]] = {
    "partition": ("submit.no_such_partition", {"partition": "lwo"}),
    "time": ("submit.time_above_partition", {"time": "2h"}),
    "nodes": ("submit.nodes_above_partition", {"nodes": 3}),
    "memory": ("submit.refused", {"memory": "100GiB"}),
    "constraint": ("submit.refused", {"constraint": "infiniband"}),
    "extra": ("submit.refused", {"extra": ["--nonsense"]}),
}


def test_what_slurm_would_refuse_is_not_queued(slurm: SlurmCluster, tmp_path: Path) -> None:
    values = jobs(tmp_path)["kmeans"]
    for code, submit in REFUSALS.values():
        with pytest.raises(ConfigError) as caught:
            submitted(values, **submit)
        assert caught.value.code == code
    assert not (tmp_path / ".kmeans._run").exists()
    assert slurm.command("squeue", "-h", "--name=gpuseg-kmeans") == ""
