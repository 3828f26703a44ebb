"""Run programs that run others: NVIDIA's profiler and sanitizers, and pytest."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

from gpu_check import facts

_FOLDERS = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer")


def lines(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a program; print and yield each line of its output.

    Its exit code is ignored; the caller interprets the output.
    """
    searched = os.pathsep.join([os.environ.get("PATH", ""), *_FOLDERS])
    program = shutil.which(command[0], path=searched)
    if program is None:
        facts.conclude(f"{command[0]} is missing: it is in the CUDA toolkit; put it on PATH")
        sys.exit(1)
    with subprocess.Popen(
        [program, *command[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", env={**os.environ, **(environment or {})},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            yield line.rstrip("\n")
