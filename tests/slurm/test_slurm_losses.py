"""Jobs on a real Slurm that lose their nodes: preempted, or by a machine that dies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support import helpers
from support.helpers import FEATURES, bits, job, write_files
from support.slurm import SlurmCluster
from support.slurm_jobs import (
    ended,
    log_of,
    recorded,
    submitted,
    wait_for_passes,
    wait_until,
)

import gpuseg

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not helpers.THOROUGH, reason="takes minutes: --thorough"),
    pytest.mark.timeout(900),
]


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    """A job of k-means that makes passes for several seconds, and its output made here."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400_000, len(FEATURES)))
    table = pa.table({"customer": np.arange(len(x)), **dict(zip(FEATURES, x.T, strict=True))})
    source = write_files(tmp_path / "in", [table[:200_000], table[200_000:]], 50_000)
    segment = {"n_clusters": 40, "tol": 0.0, "max_iter": 600}
    made = job(source, tmp_path / "out", segment=segment, runtime={"backend": "numba"})
    gpuseg.run({**made, "output": {"path": str(tmp_path / "here")}})
    return made


def restarts(slurm: SlurmCluster, job_id: str) -> int:
    shown = slurm.command("scontrol", "show", "job", "--oneliner", job_id)
    return int(shown.partition(" Restarts=")[2].split()[0])


def start_now(slurm: SlurmCluster, job_id: str) -> None:
    """Let a job start that Slurm has queued again: it would wait for two minutes.

    A node refuses a job that starts in the same second as it was ended there.
    """
    wait_until(lambda: restarts(slurm, job_id) == 1, "queued again")
    wait_until(lambda: "PENDING" in slurm.command("squeue", "-h", "-o", "%T", "-j", job_id),
               "pending")  # fmt: skip
    slurm.command("scontrol", "update", f"JobId={job_id}", "StartTime=now+2")


def test_preempted_job_goes_on_by_itself(
    slurm: SlurmCluster, values: dict[str, Any], tmp_path: Path
) -> None:
    record = submitted(values)
    wait_for_passes(tmp_path / "out", 10)
    slurm.command("sbatch", "--partition=high", "--nodes=2", "--ntasks-per-node=2",
                  "--output=/dev/null", "--wrap=sleep 1")  # fmt: skip
    wait_until(lambda: "not finished" in log_of(record), "the pause")
    passes = int(re.findall(r"(\d+) passes", log_of(record))[-1])
    kept = recorded(tmp_path / "out").count("lloyd_pass")
    assert kept >= passes - 1, "the pause loses at most one pass"
    start_now(slurm, record.job_id)
    assert ended(record).exit_code == 0, log_of(record)
    assert bits(tmp_path / "out") == bits(tmp_path / "here")


def test_job_whose_time_ends_goes_on(
    slurm: SlurmCluster, values: dict[str, Any], tmp_path: Path
) -> None:
    record = submitted(values)
    wait_for_passes(tmp_path / "out", 10)
    slurm.command("scancel", "--signal=USR2", record.job_id)  # what Slurm sends before the limit
    start_now(slurm, record.job_id)
    assert ended(record).exit_code == 0, log_of(record)
    assert bits(tmp_path / "out") == bits(tmp_path / "here")


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_lost_node(slurm: SlurmCluster, values: dict[str, Any], tmp_path: Path, node: str) -> None:
    record = submitted(values, restarts=0)
    wait_for_passes(tmp_path / "out", 10)
    slurm.kill_node(node)
    state = ended(record)
    slurm.start_node(node)
    wait_until(lambda: slurm.command("sinfo", "-h", "-o", "%D %t") == "2 idle", "the nodes", 120)
    if node == "n1" or state.exit_code:  # without n2, the run may be done before Slurm ends it
        assert state.exit_code == 4
        assert "was lost" in state.reason
        assert not (tmp_path / "out").exists()
        again = submitted(values, restarts=0)
        assert ended(again).exit_code == 0, log_of(again)
    assert bits(tmp_path / "out") == bits(tmp_path / "here")


def test_output_that_a_node_does_not_see(slurm: SlurmCluster, values: dict[str, Any]) -> None:
    hidden = slurm.unshared / "here"
    hidden.mkdir()
    if slurm.command("srun", "--nodelist=n2", "ls", str(slurm.unshared)):
        pytest.skip("this machine gives no namespace of mounts")
    values["output"]["path"] = str(hidden / "out")
    values["runtime"] |= {"cluster": "ranks", "start_timeout": 10}
    record = submitted(values)
    assert ended(record).exit_code == 4
    assert "must be on a file system that all nodes share" in log_of(record)
    assert not (hidden / "out").exists()
