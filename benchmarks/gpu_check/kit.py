"""Pack what a bare machine with a GPU lacks: the project, small wheels, compiled kernels.

The machine has Linux, Python 3.12, CuPy, torch, numba, pyarrow, pandas, scikit-learn, scipy and
pytest, and no network. The folder contains tree/ (the project at HEAD), wheels/, cubins/ (every
form of every kernel), COMMIT, and run: bash run SECONDS [STEP...].
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

from gpuseg.backends.cuda import nvrtc
from gpuseg.errors import ResourceError

ROOT = Path(__file__).parents[2]

PYTHON = "3.12"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")

WITHOUT_DEPENDENCIES = (
    *("dask", "distributed", "partd", "locket", "tblib", "zict", "tornado"),
    "flash-kmeans",
)
"""Packages whose other dependencies are on the machine, or in this list."""

WITH_DEPENDENCIES = ("pydantic",)
"""Packages with their dependencies, whose versions must match."""

MAX_BYTES = 30 * 10**6


class KitError(Exception):
    """The kit cannot be made."""


def main() -> int:
    """Make a kit; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="gpu_kit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dest", type=Path, help="the folder of the kit; an old kit is replaced")
    parser.add_argument(
        "--arch", default="sm_90", help="architecture of the GPU; sm_90 is an H100 or H200"
    )
    arguments = parser.parse_args()
    try:
        make(arguments.dest, arguments.arch)
    except (KitError, ResourceError) as error:
        print(f"gpu_kit: {error}", file=sys.stderr)
        return 1
    return 0


def make(dest: Path, arch: str) -> None:
    """Make a kit in a folder.

    Raises
    ------
    KitError
        If the folder contains other files, or if a part of the kit cannot be made or downloaded.
    ResourceError
        If NVRTC is missing, or does not know the architecture.
    """
    nvrtc.library()
    _clear(dest)
    commit = _project(dest)
    _compile(dest, arch)
    _download(dest / "wheels")
    (dest / "COMMIT").write_text(f"{commit}\n")
    shutil.copy(dest / "tree" / "benchmarks" / "gpu_check" / "kit_run", dest / "run")
    sizes = {path.name: _size(path) for path in sorted(dest.iterdir())}
    for name, size in sizes.items():
        print(f"{size / 1e6:8.2f} MB  {name}")
    total = sum(sizes.values())
    print(f"{total / 1e6:8.2f} MB  in {dest}, commit {commit}, {arch}")
    print(f"on the machine: bash {dest.name}/run SECONDS [STEP...]")
    if total > MAX_BYTES:
        raise KitError(
            f"{dest} has {total / 1e6:.1f} MB, and a kit may have {MAX_BYTES / 1e6:.0f}: remove "
            "large packages (WITHOUT_DEPENDENCIES and WITH_DEPENDENCIES in "
            "benchmarks/gpu_check/kit.py)"
        )


def _clear(dest: Path) -> None:
    """Make the folder, or empty it if it contains a kit."""
    if dest.exists() and not dest.is_dir():
        raise KitError(f"{dest} is a file: name a folder")
    if dest.is_dir() and any(dest.iterdir()):
        if not (dest / "tree" / "scripts" / "gpu_kit").exists():
            raise KitError(f"{dest} contains other files than a kit: name a new folder")
        shutil.rmtree(dest)
    dest.mkdir(parents=True, exist_ok=True)


def _project(dest: Path) -> str:
    """Extract the project at HEAD; return the commit."""
    commit = _git("rev-parse", "--short", "HEAD").decode().strip()
    if changed := _git("status", "--porcelain").decode().splitlines():
        print(
            f"gpu_kit: {len(changed)} files have uncommitted changes: the kit has commit "
            f"{commit}, without them",
            file=sys.stderr,
        )
    with tarfile.open(fileobj=BytesIO(_git("archive", "HEAD"))) as archive:
        archive.extractall(dest / "tree", filter="data")
    return commit


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise KitError(
            f"git {arguments[0]} failed: {done.stderr.decode().strip()}; a kit is made of a commit "
            "in a checkout of the project"
        )
    return done.stdout


def _compile(dest: Path, arch: str) -> None:
    """Compile every form of every kernel from the sources in the kit."""
    tree = dest.resolve() / "tree"
    environment = {
        "GPUSEG_CACHE": str(tree.parent / "cubins"),
        "PYTHONPATH": f"{tree}{os.pathsep}{tree / 'benchmarks'}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "gpu_check.precompile", arch]
    done = subprocess.run(
        command, cwd=tree, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise KitError(f"the kernels cannot be compiled: {reason}; check --arch")


def _download(folder: Path) -> None:
    """Download the wheels."""
    _pip(folder, "--no-deps", *WITHOUT_DEPENDENCIES)
    _pip(folder, *WITH_DEPENDENCIES)


def _pip(folder: Path, *arguments: str) -> None:
    platforms = [f"--platform={name}" for name in PLATFORMS]
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--only-binary=:all:", f"--python-version={PYTHON}", "--implementation=cp"),
        *(*platforms, f"--dest={folder}", *arguments),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise KitError(
            f"pip cannot download {', '.join(a for a in arguments if a[0] != '-')}: "
            f"{(errors or [done.stderr.strip()])[-1]}; a package index must be reachable"
        )


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


if __name__ == "__main__":
    sys.exit(main())
