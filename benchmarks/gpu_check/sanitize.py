"""Run NVIDIA's compute-sanitizer on few cases, without pytest.

    python -m gpu_check.sanitize memcheck

The cases are those of the step `few`, which take every path through every kernel.
"""

import argparse
import re
import sys

from gpu_check import facts, targets, tool
from gpu_check.steps import SANITIZERS

_SUMMARY = re.compile(r"(?:ERROR|RACECHECK) SUMMARY: .*?(\d+)")
_MAX_REPORTS = 20


def main() -> None:
    """Run one tool; the step fails if it reports anything."""
    parser = argparse.ArgumentParser(description="Run one of the sanitizers on few cases.")
    parser.add_argument("tool", choices=SANITIZERS)
    arguments = parser.parse_args()
    targets.open_target()
    command = [
        "compute-sanitizer", "--tool", arguments.tool, "--print-limit", str(_MAX_REPORTS),
        sys.executable, "-m", "gpu_check.small_cases",
    ]  # fmt: skip
    # This step records the results: facts of the cases are only printed.
    environment = {"GPUSEG_TEST_POOL": "no", facts.FOLDER: ""}
    output = list(tool.lines(command, environment))
    counts = [count for line in output if (count := reports(line)) is not None]
    wrong = [line for line in output if '"ok": false' in line]
    if not counts:
        facts.conclude(f"{arguments.tool} printed no summary")
        sys.exit(1)
    facts.conclude(f"{sum(counts)} reports, {len(wrong)} cases wrong")
    if any(counts) or wrong:
        sys.exit(1)


def reports(line: str) -> int | None:
    """Return the number of reports in a summary line; None for other lines."""
    summary = _SUMMARY.search(line)
    return int(summary.group(1)) if summary else None


if __name__ == "__main__":
    main()
