"""Profile few passes with NVIDIA's profiler, to explain their times.

    python -m gpu_check.profile            runs the profiler on this module; writes ncu.txt
    python -m gpu_check.profile --passes   runs the passes

Both cases, in fewer rows; a first, a full and a late pass of each.
"""

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

from gpu_check import facts, problems, targets, tool
from gpu_check.passes import Passes

_ROWS = 256_000_000
"""Values of x, for any number of features: more than the caches hold, and quickly drawn."""

_KINDS = ("first", "full", "late")

_SECTIONS = (
    *("SpeedOfLight", "MemoryWorkloadAnalysis", "MemoryWorkloadAnalysis_Tables", "Occupancy"),
    *("LaunchStats", "SchedulerStats", "WarpStateStats", "InstructionStats"),
)
_METRICS = (
    "gpu__time_duration.sum",
    "dram__bytes_read.sum",
    "dram__bytes_write.sum",
    "smsp__inst_executed.sum",
    "smsp__thread_inst_executed.sum",
    "l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum",
    "l1tex__data_pipe_lsu_wavefronts_mem_shared.sum",
    "l1tex__data_pipe_lsu_wavefronts.avg.pct_of_peak_sustained_elapsed",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "sm__warps_active.avg.pct_of_peak_sustained_active",
)

_LAUNCH = re.compile(r"^  (\w+) \((\d+), 1, 1\)x\((\d+), 1, 1\)")
_VALUE = re.compile(r"^\s+(\w+__\w+\.\S+)\s+(?:(\S+)\s+)?([\d.,]+)\s*$")


def main() -> None:
    """Run the profiler, or the passes that it profiles."""
    parser = argparse.ArgumentParser(description="Profile few passes.")
    parser.add_argument("--passes", action="store_true", help="run the passes")
    target = targets.open_target()
    if parser.parse_args().passes:
        run_passes(target)
        return
    text = "\n".join(tool.lines([
        "ncu", "--clock-control", "none", "--kernel-name", "regex:lloyd",
        *(part for name in _SECTIONS for part in ("--section", name)),
        "--metrics", ",".join(_METRICS),
        sys.executable, "-m", "gpu_check.profile", "--passes",
    ]))  # fmt: skip
    Path(os.environ.get(facts.FOLDER, "."), "ncu.txt").write_text(text)
    launches = parse_counters(text)
    for launch in launches:
        facts.record("profiled", **launch)
    facts.conclude(f"{len(launches)} launches profiled; see ncu.txt")
    if not launches:
        sys.exit(1)


def run_passes(target: targets.Target) -> None:
    """Run a pass of each kind of both cases."""
    for case in problems.CASES:
        problem = problems.make_problem(target.xp, case.with_rows(_ROWS // case.features))
        passes = Passes(target, problem, [problem.start])
        for kind in _KINDS:
            passes.prepare(kind)
            passes.run()


def parse_counters(text: str) -> list[dict[str, Any]]:
    """Return the launches in the profiler's output, with their counters and units."""
    launches: list[dict[str, Any]] = []
    for line in text.splitlines():
        if head := _LAUNCH.match(line):
            name, blocks, threads = head.groups()
            launches.append({"kernel": name, "blocks": int(blocks), "threads": int(threads)})
        elif launches and (value := _VALUE.match(line)):
            metric, unit, number = value.groups()
            launches[-1][metric] = f"{number} {unit}" if unit else number
    return launches


if __name__ == "__main__":
    main()
