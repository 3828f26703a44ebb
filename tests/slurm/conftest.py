"""A real Slurm for all tests of this folder; each process of xdist has one of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.slurm import NoSlurm, SlurmCluster, slurm_cluster


@pytest.fixture(scope="session")
def slurm_session(request: pytest.FixtureRequest) -> Iterator[SlurmCluster]:
    """Slurm, which is started once; the tests are skipped where it cannot be."""
    cache = Path(str(request.config.rootpath)) / ".pytest_cache/d/slurm-debian"
    if request.config.pluginmanager.has_plugin("cacheprovider"):
        assert request.config.cache is not None
        cache = request.config.cache.mkdir("slurm-debian")
    with tempfile.TemporaryDirectory(prefix="gpuseg-slurm-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        try:
            with slurm_cluster(cache, Path(folder)) as cluster:
                yield cluster
        except NoSlurm as reason:
            pytest.skip(str(reason))


@pytest.fixture
def slurm(
    slurm_session: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SlurmCluster:
    """Slurm's commands on the PATH, and a registry of jobs of its own."""
    for name, value in slurm_session.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return slurm_session
