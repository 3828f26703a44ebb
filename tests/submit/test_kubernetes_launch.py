"""The pods of a manifest as processes of this machine, in the environment that Kubernetes sets."""

from __future__ import annotations

import signal
import socket
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from support.helpers import bits, customers, cut, job, write_files
from support.launched_ranks import Ranks, launched

import gpuseg
from gpuseg.jobs.submit.kubernetes import KubernetesLauncher
from gpuseg.jobs.submit.prepare import prepare
from gpuseg.jobs.submit.yaml_documents import from_yaml

RANKS = 2

SEGMENTS: dict[str, dict[str, Any]] = {
    "k-means": {"n_clusters": 3},
    "DBSCAN": {"algorithm": "dbscan", "eps": 0.6, "min_samples": 4},
}

LONG = {"n_clusters": 30, "n_init": 60, "tol": 0.0, "max_iter": 60, "random_state": 0}
"""Takes some seconds on a few thousand rows."""


def pods_of(folder: Path, segment: dict[str, Any], rows: int = 600) -> Pod:
    """Run a job here, into `local` of a folder, and return what pods would run, into `pods`."""
    source = write_files(folder / "in", cut(customers(rows), rows // 2, rows // 2))
    gpuseg.run(job(source, folder / "local") | {"segment": segment})
    submit = {"image": "gpuseg:1", "tasks": RANKS, "cpus": 1, "claims": {"shop": str(folder)}}
    values = job(source, folder / "pods") | {"segment": segment, "submit": submit}
    launcher = KubernetesLauncher()
    return Pod(launcher.render(prepare(values, launcher)), folder)


def has_same_bits(folder: Path) -> bool:
    """Whether the pods have written the rows and the model of the run here."""
    rows_and_model = slice(2)  # the rest says how many shards there were
    return bits(folder / "pods")[rows_and_model] == bits(folder / "local")[rows_and_model]


@pytest.mark.slow
@pytest.mark.parametrize("name", SEGMENTS)
def test_pods_give_the_bits_of_a_local_run(name: str, tmp_path: Path) -> None:
    pod = pods_of(tmp_path, SEGMENTS[name])
    with pod.started(tmp_path / "ranks") as ranks:
        ended = ranks.wait()
    assert [each.code for each in ended.values()] == [0] * RANKS, ended
    assert has_same_bits(tmp_path)


@pytest.mark.slow
def test_a_pod_that_is_started_again_does_not_disturb_the_others(tmp_path: Path) -> None:
    pod = pods_of(tmp_path, LONG, rows=4_000)
    with pod.started(tmp_path / "first") as first:
        first.await_text(0, "prepare ")
        first.processes[1].send_signal(signal.SIGKILL)
        with pod.started(tmp_path / "second", absent=(0,)) as second:
            codes = {rank: each.code for rank, each in first.wait().items()}
            second.processes[1].send_signal(signal.SIGTERM)  # as Kubernetes does: see successPolicy
            again = second.wait()[1]
    assert codes == {0: 0, 1: -signal.SIGKILL}
    assert again.code in (0, 75), again
    assert has_same_bits(tmp_path)


@pytest.mark.slow
def test_pods_that_are_evicted_go_on_when_they_are_started_again(tmp_path: Path) -> None:
    pod = pods_of(tmp_path, LONG, rows=4_000)
    with pod.started(tmp_path / "first") as first:
        first.await_text(0, "prepare ")
        for process in first.processes.values():
            process.send_signal(signal.SIGTERM)
        paused = first.wait()
    assert [each.code for each in paused.values()] == [75] * RANKS, paused
    with pod.started(tmp_path / "second") as second:
        ended = second.wait()
    assert [each.code for each in ended.values()] == [0] * RANKS, ended
    assert has_same_bits(tmp_path)


class Pod:
    """The container of a manifest, for a machine that has neither its volumes nor its names.

    Attributes
    ----------
    command : list of str
        The arguments of gpuseg.
    variables : dict of str to str
        The environment.
    """

    def __init__(self, manifest: str, folder: Path) -> None:
        by_kind = {each["kind"]: each for each in from_yaml(manifest)}
        spec = by_kind["Job"]["spec"]
        container = spec["template"]["spec"]["containers"][0]
        assert spec["completions"] == RANKS
        name = by_kind["Service"]["metadata"]["name"]
        file = folder / "job.toml"
        file.write_text(by_kind["ConfigMap"]["data"]["job.toml"])
        places = {
            "/etc/gpuseg/job.toml": str(file),
            f"{name}-0.{name}:8786": f"127.0.0.1:{free_port()}",
            "/scratch": str(folder),
            "/var/cache/gpuseg": "",
        }

        def here(text: str) -> str:
            for there, local in places.items():
                text = text.replace(there, local)
            return text

        program, *arguments = container["command"]
        assert program == "gpuseg"
        self.command = [*map(here, arguments)]
        given = {each["name"]: here(each.get("value", "")) for each in container["env"]}
        assert given.pop("GPUSEG_RANKS_SECRET") == "", "it comes from a Secret"
        del given["NUMBA_CACHE_DIR"], given["HOME"]  # the kernels that the tests have compiled
        self.variables = {**given, "GPUSEG_RANKS_SECRET": "0" * 64}

    def environment(self, rank: int, size: int) -> dict[str, str]:
        """Return the variables of a pod, with what the controller of Indexed Jobs adds."""
        return {**self.variables, "JOB_COMPLETION_INDEX": str(rank)}

    def started(self, folder: Path, absent: tuple[int, ...] = ()) -> AbstractContextManager[Ranks]:
        """Start the pods; a folder takes what they print."""
        return launched(folder, self.command, RANKS, self.environment, absent)


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port
