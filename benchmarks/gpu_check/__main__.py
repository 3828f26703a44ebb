"""Runs steps on a GPU within a limit of time, and tells at the end what came of them.

Every fact is written at once to facts.jsonl, and what steps print to log.txt, in $OUT, or in
benchmarks/results/gpu-check where that is not set. Exit code: 0 all went well, 1 not all did, 2
the command is wrong, 4 there is no GPU and nothing could run.
"""

import argparse
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from gpu_check.runner import ROOT, Run, table
from gpu_check.steps import GROUPS, STEPS, chosen

_LOOK_SECONDS = 30
"""For finding out whether there is a GPU: a broken driver may hang."""


def lacking() -> str:
    """Ask in another process why no step can run on a GPU here: asking takes hold of the GPU.

    A process that fails or hangs is no answer: the steps find out for themselves.
    """
    command = [sys.executable, "-m", "gpu_check.place"]
    with suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=_LOOK_SECONDS, check=False
        )
        return done.stdout.strip()
    return ""


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    names = "\n".join(f"  {step.name:<16} {step.limit:>4} s  {step.tells}" for step in STEPS)
    groups = "\n".join(f"  {name:<16} {' '.join(steps)}" for name, steps in GROUPS.items())
    parser = argparse.ArgumentParser(
        prog="gpu_check", description=__doc__, epilog=f"steps:\n{names}\ngroups:\n{groups}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("seconds", type=float, help="for all steps together")
    parser.add_argument("steps", nargs="*", help="in this order; all where none is named")
    parser.add_argument("--emulator", action="store_true", help="take the tests' emulator")
    asked = parser.parse_args()
    try:
        steps = chosen(asked.steps)
    except ValueError as error:
        parser.error(str(error))
    folder = Path(os.environ.get("OUT") or ROOT / "benchmarks" / "results" / "gpu-check").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(steps, asked.seconds, folder, asked.emulator)
    known = str(run.facts_size)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if not asked.emulator:
        run.lacking = lacking()
    try:
        run.go()
    finally:
        print(f"\n{table(run.outcomes)}\n\nfacts and log: {folder}", flush=True)
        if not asked.emulator:  # in another process: whatever is not installed here, this goes on
            command = [sys.executable, "-m", "gpu_check.report", str(folder), known]
            subprocess.run(command, cwd=ROOT, check=False)
    return run.code


if __name__ == "__main__":
    sys.exit(main())
