"""The container image, as far as it can be checked without a container: files, rules, steps."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from support.helpers import THOROUGH

from gpuseg.jobs.submit import kubernetes_manifest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "container").glob("requirements*.txt"))
EXTRAS = {"requirements.txt": ["s3", "delta"], "requirements-cuda13.txt": ["s3", "delta", "cuda13"]}

Instruction = tuple[str, str]


def instructions() -> list[Instruction]:
    """Return the instructions of the Dockerfile and their arguments."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line[:1] != "#"]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = [line.partition(" ") for line in joined.splitlines() if line]
    return [(name, rest) for name, _, rest in pairs]


def arguments(name: str) -> list[str]:
    """Return the arguments of each instruction of a kind."""
    return [rest for each, rest in instructions() if each == name]


def copied() -> list[str]:
    """Return what is copied into the image from the sources."""
    copies = [shlex.split(rest) for rest in arguments("COPY") if "--from=" not in rest]
    return [source for copy in copies for source in copy[:-1]]


def test_linter_has_nothing_to_say() -> None:
    linter = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if linter is None:
        pytest.skip("hadolint has no package for this machine")
    done = subprocess.run(
        [linter, ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_each_stage_starts_from_the_base_that_a_digest_names() -> None:
    assert {rest.split()[0] for rest in arguments("FROM")} == {"${PYTHON_IMAGE}"}
    check = arguments("RUN")[0]
    for image, code in ("python:3.12-slim", 2), ("python:3.12-slim@sha256:0123", 0):
        environment = {**os.environ, "PYTHON_IMAGE": image}
        done = subprocess.run(
            ["sh", "-c", check], env=environment, capture_output=True, check=False
        )
        assert done.returncode == code


def test_image_runs_gpuseg_as_the_user_of_the_manifest() -> None:
    user = kubernetes_manifest.USER
    assert instructions()[-3:-1] == [("USER", f"{user}:{user}"), ("ENTRYPOINT", '["gpuseg"]')]
    variables = dict(each.split("=", 1) for each in shlex.split(arguments("ENV")[0]))
    assert variables["NUMBA_CACHE_DIR"] == kubernetes_manifest.KERNELS_OF_IMAGE


def test_sources_that_are_copied_exist_and_are_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    kept = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    assert set(copied()) == kept
    assert all((ROOT / source).exists() for source in kept)


def test_wheel_needs_no_file_beyond_those_copied() -> None:
    """The files that the build reads; the tests of packaging build the wheel itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    read = {*wheel["packages"], *wheel["force-include"], project["project"]["readme"]}
    assert read | {*project["project"]["license-files"]} <= set(copied())


def test_commands_of_the_steps_exist() -> None:
    runs = " && ".join(arguments("RUN"))
    script = (ROOT / "container/install.sh").read_text()
    for command in ("groupadd", "useradd", "install", "sh"):
        assert re.search(rf"\b{command}\b", runs)
        assert shutil.which(command), command
    for command in ("find", "mkdir", "mktemp", "touch"):
        assert re.search(rf"\b{command}\b", script)
        assert shutil.which(command), command
    subprocess.run(["sh", "-n", ROOT / "container/install.sh"], check=True)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_locks_have_hashes_and_what_gpuseg_needs(lock: Path) -> None:
    """`docs/guide/container.md` says how they are made again."""
    text = lock.read_text().replace("\\\n", "")
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    assert all(line[-1].startswith("--hash=sha256:") for line in lines)
    versions = dict(line[0].split("==") for line in lines)
    for requirement in needed(lock.name):
        if requirement.marker is None or requirement.marker.evaluate():
            name = requirement.name.lower()
            assert requirement.specifier.contains(versions[name]), name


def needed(lock: str) -> list[Requirement]:
    """Return what a lock must have."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    if lock not in EXTRAS:
        return [*map(Requirement, project["build-system"]["requires"])]
    optional = project["project"]["optional-dependencies"]
    texts = [*project["project"]["dependencies"], *(each for extra in EXTRAS[lock]
                                                    for each in optional[extra])]  # fmt: skip
    return [*map(Requirement, texts)]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.skipif(not THOROUGH, reason="installs all dependencies: --thorough")
@pytest.mark.timeout(900)
def test_steps_of_the_image_make_an_environment(tmp_path: Path) -> None:
    """The script that the image runs, in a folder of this machine."""
    place = tmp_path / "opt"
    done = subprocess.run(
        ["sh", ROOT / "container/install.sh", place],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    gpuseg = place / "venv/bin/gpuseg"
    version = subprocess.run([gpuseg, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("gpuseg ")
    compiled = list((place / "kernels").rglob("*.nbi"))
    assert compiled
    times = {path: path.stat().st_mtime for path in compiled}
    subprocess.run(
        [place / "venv/bin/python", ROOT / "container/compile_kernels.py"],
        env={**os.environ, "NUMBA_CACHE_DIR": str(place / "kernels")}, check=True,
    )  # fmt: skip
    assert {path: path.stat().st_mtime for path in compiled} == times, "compiled again"
