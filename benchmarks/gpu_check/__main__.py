"""Run steps on a GPU within a time limit, and print a table of the results.

Each fact is written immediately to facts.jsonl, and the output of the steps to log.txt, in $OUT, or
in benchmarks/results/gpu-check if that is not set. Exit code: 0 all steps passed, 1 a step failed,
2 the command is wrong, 4 there is no GPU and no step could run.
"""

import argparse
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from gpu_check.runner import ROOT, Run, table
from gpu_check.steps import GROUPS, STEPS, select_steps

_PROBE_SECONDS = 30
"""Time limit for detecting a GPU: a broken driver may hang."""


def no_gpu_reason() -> str:
    """Return the reason why no step can run on a GPU here; empty where they can.

    Another process detects it, because detection occupies the GPU. If that process fails or hangs,
    the result is empty, and the steps detect the problem.
    """
    command = [sys.executable, "-m", "gpu_check.targets"]
    with suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False
        )
        return done.stdout.strip()
    return ""


def main() -> int:
    """Run the steps of the command line; return the exit code."""
    names = "\n".join(f"  {step.name:<16} {step.limit:>4} s  {step.question}" for step in STEPS)
    groups = "\n".join(f"  {name:<16} {' '.join(steps)}" for name, steps in GROUPS.items())
    parser = argparse.ArgumentParser(
        prog="gpu_check", description=__doc__, epilog=f"steps:\n{names}\ngroups:\n{groups}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("seconds", type=float, help="time limit of all steps together")
    parser.add_argument("steps", nargs="*", help="steps or groups, in this order; default: all")
    parser.add_argument("--emulator", action="store_true", help="use the emulator of the tests")
    arguments = parser.parse_args()
    try:
        steps = select_steps(arguments.steps)
    except ValueError as error:
        parser.error(str(error))
    folder = Path(os.environ.get("OUT") or ROOT / "benchmarks" / "results" / "gpu-check").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(steps, arguments.seconds, folder, arguments.emulator)
    start = str(run.facts_size)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if not arguments.emulator:
        run.no_gpu_reason = no_gpu_reason()
    try:
        run.run()
    finally:
        print(f"\n{table(run.outcomes)}\n\nfacts and log: {folder}", flush=True)
        if not arguments.emulator:  # another process: a missing package does not stop this one
            command = [sys.executable, "-m", "gpu_check.report", str(folder), start]
            subprocess.run(command, cwd=ROOT, check=False)
    return run.code


if __name__ == "__main__":
    sys.exit(main())
