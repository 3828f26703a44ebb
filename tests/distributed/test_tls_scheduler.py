"""Jobs on a scheduler that asks for certificates: named in the job, or in Dask's configuration."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import dask
import pytest
from support.certificates import PASSWORD, Authority, Files
from support.errors import raises
from support.helpers import bits, customers, job, manifest_of, run, write_files

import gpuseg
from gpuseg.jobs.job_file import load_job
from gpuseg.runtime import cluster

SECONDS = 60
"""Longest wait for something that takes a few seconds."""


class Scheduler(NamedTuple):
    """A scheduler with certificates and a worker, and what a client needs."""

    address: str
    file: Path
    client: Files
    stranger: Files


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduler]:
    folder = tmp_path_factory.mktemp("tls")
    authority, file = Authority(folder / "ours"), folder / "scheduler.json"
    node = authority.issue("node").options()
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--dashboard-address", ":0"]
    with (
        started("scheduler", *options, "--scheduler-file", str(file), *node),
        started(
            "worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard", *node,
            "--local-directory", str(folder),
        ),
    ):  # fmt: skip
        address = awaited_address(file)
        client = authority.issue("client")
        yield Scheduler(address, file, client, Authority(folder / "theirs").issue("client"))


@contextmanager
def started(role: str, *options: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "dask", role, *options],
                               stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(SECONDS)
        finally:
            process.kill()


def awaited_address(file: Path) -> str:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if file.exists() and file.stat().st_size:
            return str(json.loads(file.read_text())["address"])
        time.sleep(0.05)
    raise TimeoutError(file)


def run_when_it_has_workers(source: Path, target: Path, runtime: dict[str, Any]) -> None:
    """Run a job; a worker may take a moment longer than the scheduler."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            run(source, target, runtime=runtime)
        except gpuseg.ResourceError as error:
            if error.code != "cluster.no_workers" or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the input `in` and the output `out` of a run in this process."""
    folder = tmp_path_factory.mktemp("local")
    run(write_files(folder / "in", [customers(600)]), folder / "out")
    return folder


@pytest.mark.slow
def test_certificates_of_the_job(tmp_path: Path, local: Path, scheduler: Scheduler) -> None:
    assert scheduler.address.startswith("tls://")
    runtime = {"cluster": scheduler.address, **scheduler.client.keys()}
    run_when_it_has_workers(local / "in", tmp_path / "out", runtime)
    assert bits(tmp_path / "out") == bits(local / "out")


@pytest.mark.slow
def test_address_in_the_file_of_the_scheduler(
    tmp_path: Path, local: Path, scheduler: Scheduler
) -> None:
    both = tmp_path / "both.pem"  # a certificate and its key in one file
    both.write_text("".join(Path(path).read_text() for path in scheduler.client[1:]))
    keys = {"tls_ca_file": scheduler.client.ca_file, "tls_cert": str(both)}
    run_when_it_has_workers(
        local / "in", tmp_path / "out", {"cluster": str(scheduler.file), **keys}
    )
    assert bits(tmp_path / "out") == bits(local / "out")
    assert manifest_of(tmp_path / "out")["executor"]["cluster"] == scheduler.address


@pytest.mark.slow
def test_certificates_of_the_configuration_of_dask(
    tmp_path: Path, local: Path, scheduler: Scheduler
) -> None:
    keys = ("ca-file", "client.cert", "client.key")
    tls = {
        f"distributed.comm.tls.{key}": path
        for key, path in zip(keys, scheduler.client, strict=True)
    }
    with dask.config.set(tls):
        run_when_it_has_workers(local / "in", tmp_path / "out", {"cluster": scheduler.address})
    assert bits(tmp_path / "out") == bits(local / "out")
    with raises("tls.no_certificates"):
        run(local / "in", tmp_path / "other", runtime={"cluster": scheduler.address})


@pytest.mark.slow
@pytest.mark.parametrize("by", ["tls, of another authority", "tcp"])
def test_the_scheduler_refuses_strangers(
    tmp_path: Path, local: Path, scheduler: Scheduler, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 1)
    runtime: dict[str, Any] = {"cluster": scheduler.address, **scheduler.stranger.keys()}
    if by == "tcp":
        runtime = {"cluster": scheduler.address.replace("tls://", "tcp://")}
    with raises("cluster.unreachable"):
        run(local / "in", tmp_path / "out", runtime=runtime)
    assert not (tmp_path / "out").exists()


def test_certificates_that_cannot_be_used(tmp_path: Path, local: Path) -> None:
    authority = Authority(tmp_path / "a")
    files, other = authority.issue("one"), authority.issue("other")
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    cases = {
        "tls.unreadable_file": [
            files._replace(ca_file=str(tmp_path / "missing.pem")), files._replace(key=str(tmp_path))
        ],
        "tls.not_a_certificate": [files._replace(ca_file=str(text))],
        "tls.not_a_pair": [
            files._replace(key=other.key), files._replace(cert=str(text)),
            files._replace(key=str(text)),
        ],
        "tls.encrypted_key": [authority.issue("locked", PASSWORD)],
    }  # fmt: skip
    for code, wrong in cases.items():
        for each in wrong:
            with raises(code) as caught:
                run(local / "in", tmp_path / "out",
                    runtime={"cluster": "tls://127.0.0.1:1", **each.keys()})  # fmt: skip
            assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_files_of_schedulers_that_cannot_be_used(tmp_path: Path, local: Path) -> None:
    for name, content in {"none": None, "text": "x", "list": "[]", "empty": "{}"}.items():
        file = tmp_path / f"{name}.json"
        if content is not None:
            file.write_text(content)
        with raises("cluster.no_scheduler_file"):
            run(local / "in", tmp_path / "out", runtime={"cluster": str(file)})
    file.write_text('{"address": "tcp://127.0.0.1:1"}')
    keys = Authority(tmp_path / "a").issue("one").keys()
    with raises("tls.not_encrypted"):
        run(local / "in", tmp_path / "out", runtime={"cluster": str(file), **keys})


def test_paths_of_certificates_are_no_secrets(tmp_path: Path) -> None:
    keys = {"tls_ca_file": "ca.pem", "tls_cert": "c.pem", "tls_key": "k.pem"}
    values = job("in", "out", runtime={"cluster": "tls://h:1", **keys})
    spec = load_job(values)
    assert spec.runtime.tls is not None and spec.runtime.tls.key == "k.pem"
