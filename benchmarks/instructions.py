"""Count the instructions of the kernels per row and predict their times, without a GPU.

    python benchmarks/instructions.py                    all cases; writes the results
    python benchmarks/instructions.py late               the cases with "late" in their name
    python benchmarks/instructions.py late --blocks      the same, basic block by basic block
    python benchmarks/instructions.py late --code        the same, instruction by instruction

NVRTC compiles the form of a kernel that the plan uses, with line numbers, which do not change the
code; nvdisasm (``pip install nvidia-cuda-nvdisasm``) prints the machine code; and `machine_code`
runs it, thread by thread, on typical rows of the case (`machine_code/cases.py`). So iterations of
loops and branches are counted, not assumed; the fixed cost of a launch is subtracted, and the
results are compared with the specification to the bit. An instruction counts for all 32 threads of
a warp that has any thread at it, since it takes an issue slot for all of them; "instructions a
row" are those of threads, and 1/32 of them are those of warps. Comments in the kernels such as
``// cold:`` are only for readers.

The columns:

* instructions a row: of a thread; below it the kinds (`machine_code/mix.py`);
* bytes a row: of device memory, each 32 bytes counted once per launch, read + written;
* wavefronts a row: in shared memory and in the level-1 cache, from the addresses
  (`machine_code/memory.py`);
* predicted: the largest of the times of each resource (`machine_code/model.py`): memory, issue at
  best (4 per clock) and at a likely rate, the units for float32, whole numbers, float64, special
  functions and tensor products, and the level-1 cache.

Not included: latency, contention of atomic operations on global memory, the ends of a launch.
An unknown instruction is an error that names it; add it to the tables
in `machine_code/integer.py`, `floating.py`, `halves.py`, `tensor.py`, `accesses.py` or `warps.py`.

Writes instructions.json and instructions.md to benchmarks/results if all cases are run.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from machine_code.cases import CASES, Difference, ProfiledCase, difference_of
from machine_code.counts import Counts, HotBlock, counts_of, hot_blocks
from machine_code.launcher import LaunchProfile
from machine_code.model import DEVICES, Prediction, predict
from machine_code.registers import WARP
from measure import RESULTS, save

from gpuseg.backends.cuda import nvrtc

HEAD = (
    *("case", "kernel", "instructions a row", "bytes a row", "wavefronts a row"),
    *(f"predicted on {device.name}, ms" for device in DEVICES),
    *("measured, ms", "device", "date, commit"),
)


def row_of(
    case: ProfiledCase, counts: Sequence[Counts], predictions: Sequence[Prediction]
) -> tuple[str, ...]:
    """Return a case as cells of the table, without measured times."""
    return (
        case.name,
        " + ".join(kernel.kernel for kernel in counts),
        " + ".join(f"{kernel.instructions:.4g}" for kernel in counts),
        "; ".join(_describe_bytes(kernel) for kernel in counts),
        " + ".join(f"{sum(kernel.wavefronts.values()):.3g}" for kernel in counts),
        *(f"{prediction.milliseconds:.3g} ({prediction.bound_by})" for prediction in predictions),
        *("", "", ""),
    )


def _describe_bytes(counts: Counts) -> str:
    # Data that rows share, such as extremes of columns, may be accessed less with more rows.
    return f"{max(counts.bytes_read, 0):.3g} + {max(counts.bytes_written, 0):.3g}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows below `HEAD` as Markdown."""
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def describe_counts(counts: Counts) -> str:
    """Return the cost of a kernel per row, in a few lines."""
    mix = ", ".join(f"{kind} {count:.4g}" for kind, count in counts.mix.items())
    wavefronts = ", ".join(f"{kind} {n:.3g}" for kind, n in counts.wavefronts.items())
    return (
        f"{counts.kernel}: {counts.registers} registers, {counts.spilled} bytes spilled, "
        f"{counts.shared_bytes} bytes of shared memory a block\n"
        f"  instructions of a thread a row: {counts.instructions:.4g}, of a warp: "
        f"{counts.instructions / WARP:.4g}\n  {mix}\n  wavefronts a row: {wavefronts}\n"
        f"  bytes a row: {counts.bytes_read:.4g} read, {counts.bytes_written:.4g} written"
    )


def describe_bounds(prediction: Prediction) -> str:
    """Return the bound of each resource, the largest first."""
    ordered = sorted(prediction.bounds.items(), key=lambda item: -item[1])
    bounds = ", ".join(f"{name} {value:.3g}" for name, value in ordered if value)
    return f"  {prediction.device}, ms: {bounds}"


def describe_block(block: HotBlock) -> str:
    """Return a basic block as a line."""
    mix = ", ".join(f"{kind} {count:.3g}" for kind, count in block.mix.items())
    return (
        f"  {block.first:05x}…{block.last:05x} {'·' * block.depth:<4} × {block.times:<8.4g}"
        f"{block.instructions:8.2f}  wavefronts {block.wavefronts:<6.3g} {mix}"
        f"  [{' '.join(block.lines)}]"
    )


def print_code(profile: LaunchProfile, units: int) -> None:
    """Print every executed instruction, with its executions per thread and row."""
    for instruction in profile.code.listing.instructions:
        times = WARP * float(profile.issued[instruction.index]) / units
        if times:
            source = instruction.sources[0] if instruction.sources else ""
            print(f"{times:9.4f}  {instruction!s:<70} {source}")


def report(case: ProfiledCase, difference: Difference, blocks: bool, code: bool) -> dict[str, Any]:
    """Print the results of a case; return them."""
    counts = [counts_of(profile, difference.units) for profile in difference.profiles]
    predictions = [predict(counts, case.units, device) for device in DEVICES]
    print(f"\n{case.name}" + (f"; budget: {case.budget}" if case.budget else ""))
    for kernel, profile in zip(counts, difference.profiles, strict=True):
        print(describe_counts(kernel))
        for block in hot_blocks(profile, difference.units) if blocks else ():
            print(describe_block(block))
        if code:
            print_code(profile, difference.units)
    for prediction in predictions:
        print(describe_bounds(prediction), flush=True)
    return {
        "case": case.name,
        "units": case.units,
        "budget": case.budget,
        "kernels": [asdict(kernel) for kernel in counts],
        "predicted_ms": {prediction.device: _rounded(prediction) for prediction in predictions},
        "cells": row_of(case, counts, predictions),
    }


def _rounded(prediction: Prediction) -> Mapping[str, float]:
    return {name: round(value, 4) for name, value in prediction.bounds.items()}


def main() -> None:
    """Run the requested cases; print the results, and write those of all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("part", nargs="?", default="", help="of the names of the cases to run")
    parser.add_argument("--blocks", action="store_true", help="basic block by basic block")
    parser.add_argument("--code", action="store_true", help="instruction by instruction")
    arguments = parser.parse_args()
    cases = [case for case in CASES if arguments.part in case.name]
    if not cases:
        names = "; ".join(case.name for case in CASES)
        raise SystemExit(f"instructions.py: no case has {arguments.part!r} in its name: {names}")
    entries = [
        report(case, difference_of(case), arguments.blocks, arguments.code) for case in cases
    ]
    text = table([entry.pop("cells") for entry in entries])
    print(f"\n{text}")
    if len(cases) == len(CASES):
        save("instructions", {"nvrtc": nvrtc.version(), "cases": entries})
        (RESULTS / "instructions.md").write_text(text)


if __name__ == "__main__":
    main()
