"""Run a command, and measure its wall seconds and the memory of all its processes together."""

import json
import os
import platform
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile
from typing import Any

import psutil

RESULTS = Path(__file__).parent / "results"

_LOOK_SECONDS = 0.05
_LOOKS_A_CENSUS = 10
"""Finding the descendants means reading every process of the machine: done now and then."""


@dataclass(frozen=True)
class Measured:
    """One run of a command.

    Attributes
    ----------
    seconds : float, wall clock
    peak_bytes : int
        Highest sum, over the command and all its descendants, of the resident memory; what
        processes share is counted for each.
    output : str, standard output
    """

    seconds: float
    peak_bytes: int
    output: str


def measure(command: list[str]) -> Measured:
    """Run the command to its end, looking at its memory twenty times a second."""
    started = time.perf_counter()
    with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=output, stderr=errors)
        root, family, peak, looks = psutil.Process(process.pid), [], 0, 0
        while process.poll() is None:
            if looks % _LOOKS_A_CENSUS == 0:
                family = _family(root)
            peak, looks = max(peak, _resident(family)), looks + 1
            time.sleep(_LOOK_SECONDS)
        seconds = time.perf_counter() - started
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(
                f"{' '.join(command)} ended with {process.returncode}:\n{errors.read()}"
            )
        return Measured(seconds, peak, output.read())


def interleaved(commands: dict[str, list[str]], repeats: int) -> dict[str, list[Measured]]:
    """Run the commands in turn, `repeats` times each after one warm-up that is not counted."""
    runs: dict[str, list[Measured]] = {name: [] for name in commands}
    for turn in range(repeats + 1):
        for name, command in commands.items():
            measured = measure(command)
            print(f"{turn or 'warm-up'}: {name} {measured.seconds:.2f} s", flush=True)
            if turn:
                runs[name].append(measured)
    return runs


def summary(runs: list[Measured]) -> dict[str, Any]:
    """Return median and range of the seconds, and the highest peak."""
    peak = max(run.peak_bytes for run in runs)
    return {**spread([run.seconds for run in runs]), "peak_mb": round(peak / 1e6)}


def spread(seconds: list[float]) -> dict[str, float]:
    """Return median and range."""
    return {
        "median_s": round(median(seconds), 3),
        "min_s": round(min(seconds), 3),
        "max_s": round(max(seconds), 3),
    }


def origin() -> dict[str, str]:
    """Return what a figure depends on besides the benchmark: date, commit, machine, Python.

    The commit is ``$GPUSEG_COMMIT`` where that is set: a copy of the project without its history
    may lie in another repository.
    """
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": os.environ.get("GPUSEG_COMMIT") or _commit() or "unknown",
        "device": f"{_processor()}, {psutil.cpu_count()} cores",
        "python": platform.python_version(),
    }


def save(name: str, content: dict[str, Any]) -> Path:
    """Write a result below ``benchmarks/results`` with machine, date and commit."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    text = json.dumps({**origin(), **content}, indent=1) + "\n"
    # In one step: an interruption must not cost the results that were there.
    staged = path.with_suffix(".json.part")
    staged.write_text(text)
    staged.replace(path)
    return path


def _commit() -> str:
    with suppress(OSError):  # no git here
        return subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
    return ""


def _family(root: psutil.Process) -> list[psutil.Process]:
    try:
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _resident(family: list[psutil.Process]) -> int:
    total = 0
    for process in family:
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
