"""Run the tests of the kernels on the device."""

import os
import re
import sys

from gpu_check import facts, targets, tool

_PROCESSES = 8

SELECTIONS = {
    "primitives": (
        *(
            "tests/conformance/test_backends.py",
            "tests/algorithms/kmeans/test_bounds.py",
            "tests/conformance/test_column_summary.py",
        ),
        *("tests/conformance/test_neighbors.py", "-k", "cuda"),
        *("-n", str(min(_PROCESSES, os.cpu_count() or 1))),
    ),
    "cases": ("tests/cuda/test_cuda_kernels.py", "-k", "every_case or complete_fit or two_billion"),
    "fits, inputs, streams": ("tests/cuda/test_cuda_fits.py",),
    "readers": (
        "tests/io/test_dataset.py",
        "tests/io/test_shard_plans.py",
        "tests/io/test_cudf_reader.py",
    ),
}
"""The tests that run on a GPU."""

_END = re.compile(r"^=*\s*((?:\d+ \w+(?:, )?)+) in [\d.]+s")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)")


def main() -> None:
    """Run all selections; record the names of failed tests."""
    targets.open_target()
    ends, failed = [], []
    for name, selection in SELECTIONS.items():
        command = [
            sys.executable, "-m", "pytest", "-q", "-rfE", "--gpu", "-p", "no:cacheprovider",
            "-W", "default",  # other versions of libraries have other warnings
            *selection,
        ]  # fmt: skip
        output = list(tool.lines(command))
        wrong = [failure.group(1) for line in output if (failure := _FAILED.match(line))]
        end = next((counts for line in reversed(output) if (counts := end_of(line))), "no summary")
        facts.record("tests", selection=name, end=end, failed=wrong)
        ends.append(f"{name}: {end}")
        failed += wrong if "passed" in end else [*wrong, end]
    facts.conclude("; ".join(ends))
    if failed:
        sys.exit(1)


def end_of(line: str) -> str | None:
    """Return the counts in the last line of pytest; None for another line."""
    end = _END.match(line)
    return end.group(1) if end else None


if __name__ == "__main__":
    main()
