"""NVIDIA's compute-sanitizer on few cases, without pytest.

    python -m gpu_check.sanitize memcheck

The cases are those of the step `few`: every path through every kernel, in 17 small problems.
"""

import argparse
import re
import sys

from gpu_check import facts, place, tool
from gpu_check.steps import SANITIZERS

_SUMMARY = re.compile(r"(?:ERROR|RACECHECK) SUMMARY: .*?(\d+)")
_MAX_REPORTS = 20


def main() -> None:
    """Run the tool that is asked for; whatever it reports, the step has failed."""
    parser = argparse.ArgumentParser(description="Run one of the sanitizers on few cases.")
    parser.add_argument("tool", choices=SANITIZERS)
    asked = parser.parse_args()
    place.taken()
    command = [
        "compute-sanitizer", "--tool", asked.tool, "--print-limit", str(_MAX_REPORTS),
        sys.executable, "-m", "gpu_check.few",
    ]  # fmt: skip
    # What the cases come to is this step's affair: facts of theirs are printed only.
    quiet = {"GPUSEG_TEST_POOL": "no", facts.FOLDER: ""}
    said = list(tool.lines(command, quiet))
    counts = [count for line in said if (count := reports(line)) is not None]
    wrong = [line for line in said if '"ok": false' in line]
    if not counts:
        facts.conclude(f"{asked.tool} came to no summary")
        sys.exit(1)
    facts.conclude(f"{sum(counts)} reports, {len(wrong)} cases wrong")
    if any(counts) or wrong:
        sys.exit(1)


def reports(line: str) -> int | None:
    """Return the number of reports that a summary tells; None for another line."""
    summary = _SUMMARY.search(line)
    return int(summary.group(1)) if summary else None


if __name__ == "__main__":
    main()
