"""What the kernels' machine code does for a row, and how long it should take: without a GPU.

    python benchmarks/instructions.py                    all cases; writes the results
    python benchmarks/instructions.py late               the cases with "late" in their name
    python benchmarks/instructions.py late --blocks      the same, basic block by basic block
    python benchmarks/instructions.py late --code        the same, instruction by instruction

NVRTC compiles the form of a kernel that the plan asks for, with line numbers, which leave the code
as it is; nvdisasm (``pip install nvidia-cuda-nvdisasm``) reads the machine code; and
`machine_code` runs it, thread by thread, on rows that are typical for the case
(`machine_code/cases.py`). So nothing needs to be said of how often a loop turns or a branch is
taken: it is counted, what a launch costs once left out, and the answers are held against the
specification to the bit. An instruction counts for all 32 threads of a warp that has any thread
at it, as it takes its turn for all of them; "instructions a row" are those of threads, and 1/32 of
them are those of warps. Comments in the kernels such as ``// cold:`` are for readers alone.

The columns:

* instructions a row: of a thread; below it the kinds (`machine_code/mix.py`);
* bytes a row: of device memory, each 32 bytes counted once a launch, read + written;
* turns a row: wavefronts in shared memory and in the level-1 cache, from the addresses
  (`machine_code/memory.py` says how);
* predicted: the largest of the times that each resource would need alone
  (`machine_code/model.py`): memory, issue at best (4 a clock) and as is likely, the units for
  float32, whole numbers, float64, special functions and tensor products, and the level-1 cache.

Not known here: latency, contention of atomic operations on global memory, the ends of a launch.
An instruction that the interpreter does not know is an error that names it; add it to the tables
in `machine_code/integer.py`, `floating.py`, `halves.py`, `tensor.py`, `accesses.py` or `warps.py`.

Writes instructions.json and instructions.md to benchmarks/results when all cases are run.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from machine_code.cases import CASES, Case, Difference, difference_of
from machine_code.counts import Counts, Hot, counts_of, hot_blocks
from machine_code.launcher import Profile
from machine_code.model import DEVICES, Prediction, predict
from machine_code.registers import WARP
from measure import RESULTS, save

from gpuseg.backends.cuda import nvrtc

HEAD = (
    *("case", "kernel", "instructions a row", "bytes a row", "turns a row"),
    *(f"predicted on {device.name}, ms" for device in DEVICES),
    *("measured, ms", "device", "date, commit"),
)


def row_of(
    case: Case, counts: Sequence[Counts], predictions: Sequence[Prediction]
) -> tuple[str, ...]:
    """Return a case as cells of the table; nothing has been measured yet."""
    return (
        case.name,
        " + ".join(kernel.kernel for kernel in counts),
        " + ".join(f"{kernel.instructions:.4g}" for kernel in counts),
        "; ".join(_bytes_in_words(kernel) for kernel in counts),
        " + ".join(f"{sum(kernel.wavefronts.values()):.3g}" for kernel in counts),
        *(f"{prediction.milliseconds:.3g} ({prediction.bound_by})" for prediction in predictions),
        *("", "", ""),
    )


def _bytes_in_words(counts: Counts) -> str:
    # What rows share, such as extremes of columns, may be touched less with more rows.
    return f"{max(counts.bytes_read, 0):.3g} + {max(counts.bytes_written, 0):.3g}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows below `HEAD` as Markdown."""
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def in_words(counts: Counts) -> str:
    """Return what a kernel does for a row, in a few lines."""
    mix = ", ".join(f"{kind} {count:.4g}" for kind, count in counts.mix.items())
    turns = ", ".join(f"{place} {count:.3g}" for place, count in counts.wavefronts.items())
    return (
        f"{counts.kernel}: {counts.registers} registers, {counts.spilled} bytes spilled, "
        f"{counts.shared_bytes} bytes of shared memory a block\n"
        f"  instructions of a thread a row: {counts.instructions:.4g}, of a warp: "
        f"{counts.instructions / WARP:.4g}\n  {mix}\n  turns a row: {turns}\n"
        f"  bytes a row: {counts.bytes_read:.4g} read, {counts.bytes_written:.4g} written"
    )


def bounds_in_words(prediction: Prediction) -> str:
    """Return what each resource needs, the largest first."""
    ordered = sorted(prediction.bounds.items(), key=lambda item: -item[1])
    bounds = ", ".join(f"{name} {value:.3g}" for name, value in ordered if value)
    return f"  {prediction.device}, ms: {bounds}"


def block_in_words(block: Hot) -> str:
    """Return a basic block as a line."""
    mix = ", ".join(f"{kind} {count:.3g}" for kind, count in block.mix.items())
    return (
        f"  {block.first:05x}…{block.last:05x} {'·' * block.depth:<4} × {block.times:<8.4g}"
        f"{block.instructions:8.2f}  turns {block.wavefronts:<6.3g} {mix}"
        f"  [{' '.join(block.lines)}]"
    )


def print_code(profile: Profile, units: int) -> None:
    """Print every instruction that runs, with how often a thread does it for a row."""
    for instruction in profile.code.listing.instructions:
        times = WARP * float(profile.issued[instruction.index]) / units
        if times:
            place = instruction.places[0] if instruction.places else ""
            print(f"{times:9.4f}  {instruction!s:<70} {place}")


def report(case: Case, difference: Difference, blocks: bool, code: bool) -> dict[str, Any]:
    """Print what a case does; return it."""
    counts = [counts_of(profile, difference.units) for profile in difference.profiles]
    predictions = [predict(counts, case.units, device) for device in DEVICES]
    print(f"\n{case.name}" + (f"; allowed: {case.budget}" if case.budget else ""))
    for kernel, profile in zip(counts, difference.profiles, strict=True):
        print(in_words(kernel))
        for block in hot_blocks(profile, difference.units) if blocks else ():
            print(block_in_words(block))
        if code:
            print_code(profile, difference.units)
    for prediction in predictions:
        print(bounds_in_words(prediction), flush=True)
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
    """Run the cases asked for; print, and write the results of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("part", nargs="?", default="", help="of the names of the cases to run")
    parser.add_argument("--blocks", action="store_true", help="basic block by basic block")
    parser.add_argument("--code", action="store_true", help="instruction by instruction")
    asked = parser.parse_args()
    chosen = [case for case in CASES if asked.part in case.name]
    if not chosen:
        names = "; ".join(case.name for case in CASES)
        raise SystemExit(f"instructions.py: no case has {asked.part!r} in its name: {names}")
    entries = [report(case, difference_of(case), asked.blocks, asked.code) for case in chosen]
    text = table([entry.pop("cells") for entry in entries])
    print(f"\n{text}")
    if len(chosen) == len(CASES):
        save("instructions", {"nvrtc": nvrtc.version(), "cases": entries})
        (RESULTS / "instructions.md").write_text(text)


if __name__ == "__main__":
    main()
