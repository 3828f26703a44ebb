"""The pods of a manifest as processes of this machine, in the environment that Kubernetes sets."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from support.helpers import bits, customers, cut, job, write_files
from support.launched_ranks import launched

import gpuseg
from gpuseg.jobs.submit.kubernetes import KubernetesLauncher
from gpuseg.jobs.submit.prepare import prepare
from gpuseg.jobs.submit.yaml_documents import from_yaml

RANKS = 2

SEGMENTS: dict[str, dict[str, Any]] = {
    "k-means": {"n_clusters": 3},
    "DBSCAN": {"algorithm": "dbscan", "eps": 0.6, "min_samples": 4},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SEGMENTS)
def test_pods_give_the_bits_of_a_local_run(name: str, tmp_path: Path) -> None:
    source = write_files(tmp_path / "in", cut(customers(600), 400, 200))
    segment = {"segment": SEGMENTS[name]}
    gpuseg.run(job(source, tmp_path / "local") | segment)
    submit = {"image": "gpuseg:1", "tasks": RANKS, "cpus": 1, "claims": {"shop": str(tmp_path)}}
    values = job(source, tmp_path / "pods") | segment | {"submit": submit}
    launcher = KubernetesLauncher()
    pod = Pod(launcher.render(prepare(values, launcher)), tmp_path)
    with launched(
        tmp_path / "ranks", pod.command, RANKS, index_of, variables=pod.variables
    ) as ranks:
        ended = ranks.wait()
    assert [each.code for each in ended.values()] == [0] * RANKS, ended
    rows_and_model = slice(2)  # the rest says how many shards there were
    assert bits(tmp_path / "pods")[rows_and_model] == bits(tmp_path / "local")[rows_and_model]


def index_of(rank: int, size: int) -> dict[str, str]:
    """Return what the controller of Indexed Jobs adds to a container."""
    return {"JOB_COMPLETION_INDEX": str(rank)}


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


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port
