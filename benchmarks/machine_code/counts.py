"""The cost of a kernel per row: instructions by kind and block, wavefronts, bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from machine_code.flow import Flow
from machine_code.launcher import LaunchProfile
from machine_code.listing import Listing
from machine_code.mix import KINDS, UNITS, kind_of, unit_of
from machine_code.registers import WARP


@dataclass(frozen=True)
class HotBlock:
    """A basic block that is executed.

    Attributes
    ----------
    number, first, last : int
        Of the block, and the addresses of its first and last instruction.
    depth : int
        Loops that it lies in.
    times : float
        How often a thread runs through it for one row.
    mix : mapping of str to float
        Instructions of a thread for one row, by kind.
    wavefronts : float
        For one row.
    lines : sequence of str
        The most frequent source lines.
    """

    number: int
    first: int
    last: int
    depth: int
    times: float
    mix: Mapping[str, float]
    wavefronts: float
    lines: Sequence[str]

    @property
    def instructions(self) -> float:
        """Instructions of a thread for one row."""
        return sum(self.mix.values())


@dataclass(frozen=True)
class Counts:
    """The cost of a kernel per row.

    Attributes
    ----------
    kernel : str
        The kernel and its form.
    registers, spilled, shared_bytes : int
    mix : mapping of str to float
        Instructions of a thread, by kind.
    clocks : mapping of str to float
        Clocks of a multiprocessor for each unit, if it is always busy.
    wavefronts : mapping of str to float
        Turns in shared memory, in the level-1 cache, and of shuffles.
    bytes_read, bytes_written : float
        Bytes of device memory, each 32 bytes once.
    """

    kernel: str
    registers: int
    spilled: int
    shared_bytes: int
    mix: Mapping[str, float]
    clocks: Mapping[str, float]
    wavefronts: Mapping[str, float]
    bytes_read: float
    bytes_written: float

    @property
    def instructions(self) -> float:
        """Instructions of a thread."""
        return sum(self.mix.values())


def counts_of(profile: LaunchProfile, units: int) -> Counts:
    """Return the cost per unit in a profile of that many rows, or other units."""
    code = profile.code
    listing, a_row = code.listing, WARP * profile.issued / units
    clocks = dict.fromkeys(UNITS, 0.0)
    for instruction in listing.instructions:
        unit, turns = unit_of(instruction)
        warps = float(profile.issued[instruction.index]) / units
        clocks["issue"] += warps / UNITS["issue"]
        if turns:
            clocks[unit] += turns * warps / UNITS[unit]
    wavefronts = {"shared": 0.0, "global": 0.0, "shuffles": 0.0}
    for instruction in listing.instructions:
        turns = float(profile.wavefronts[instruction.index]) / units
        kind = kind_of(instruction)
        group = {"LDG": "global", "STG": "global", "RED": "global", "SHFL": "shuffles"}
        wavefronts[group.get(kind, "shared")] += turns
    macros = ", ".join(f"{key} {value}" for key, value in code.kernel.macros.items())
    return Counts(
        f"{code.kernel.name} ({macros})", code.registers, code.spilled, profile.shared_bytes,
        mix_of(listing, a_row), clocks, wavefronts, profile.bytes_read / units,
        profile.bytes_written / units,
    )  # fmt: skip


def mix_of(listing: Listing, times: NDArray[np.float64]) -> dict[str, float]:
    """Return how often instructions are executed, by kind."""
    mix = dict.fromkeys(KINDS, 0.0)
    for instruction in listing.instructions:
        mix[kind_of(instruction)] += float(times[instruction.index])
    return {kind: count for kind, count in mix.items() if count}


def hot_blocks(profile: LaunchProfile, units: int, min_share: float = 0.001) -> list[HotBlock]:
    """Return the basic blocks with at least that share of the instructions of a row."""
    listing, times = profile.code.listing, WARP * profile.issued / units
    flow, total = Flow(listing), float(times.sum())
    hot = []
    for number, block in enumerate(flow.blocks):
        inside = np.zeros(len(times))
        inside[block.start : block.stop] = times[block.start : block.stop]
        if inside.sum() < min_share * total:
            continue
        turns = float(profile.wavefronts[block.start : block.stop].sum()) / units
        hot.append(HotBlock(
            number, listing.instructions[block.start].address,
            listing.instructions[block.stop - 1].address, flow.depth(number),
            float(times[block.start]), mix_of(listing, inside), turns,
            _lines(listing, block.start, block.stop),
        ))  # fmt: skip
    return hot


def _lines(listing: Listing, start: int, stop: int, max_lines: int = 3) -> list[str]:
    """Return the lines with the most instructions, in the order of the listing."""
    count: dict[str, int] = {}
    for instruction in listing.instructions[start:stop]:
        if instruction.sources:
            line = str(instruction.sources[0])
            count[line] = count.get(line, 0) + 1
    top = sorted(count, key=lambda line: -count[line])[:max_lines]
    return [line for line in count if line in top]
