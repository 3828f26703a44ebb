"""Columns of rows that lie on the device: statistics, digest, counts of sort keys."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import digest_factors
from gpuseg.backends.column_summary import KINDS, NO_ROW, ColumnSummary
from gpuseg.backends.cuda.launch_plans import SIMPLE_THREADS, plan_simple
from gpuseg.backends.cuda.launcher import Launcher
from gpuseg.backends.cuda.upload import upload
from gpuseg.numerics.moments import N_EXPONENTS, Moments
from gpuseg.numerics.sort_keys import float32_from_keys

_N_HALVES = 2**16
"""Values of half a sort key."""


def summarize(
    launcher: Launcher, x: Any, transform: NDArray[np.int64], first_row: int
) -> ColumnSummary:
    """See `Backend.summarize`."""
    n, d = x.shape
    sums = launcher.xp.zeros((3, d, N_EXPONENTS), np.uint64)
    counts = launcher.xp.zeros((len(KINDS), d), np.uint64)
    small = upload(launcher, {
        "transform": transform,
        "firsts": np.full((len(KINDS), d), NO_ROW, np.int64),
        "lowest": np.full(d, 2**32 - 1, np.uint32),
        "highest": np.zeros(d, np.uint32),
    })  # fmt: skip
    kernel, blocks = plan_simple("summarize", n * min(d, SIMPLE_THREADS), launcher.limits)
    launcher.launch(kernel, blocks, [
        x, np.int64(n), np.int32(d), small["transform"], np.int64(first_row), counts,
        small["firsts"], small["lowest"], small["highest"], sums[0], sums[1], sums[2],
    ])  # fmt: skip
    lowest, highest = launcher.to_host(small["lowest"]), launcher.to_host(small["highest"])
    empty = lowest > highest
    return ColumnSummary(
        n,
        launcher.to_host(counts).view(np.int64),
        launcher.to_host(small["firsts"]),
        np.where(empty, np.inf, float32_from_keys(lowest).astype(np.float64) + 0.0),
        np.where(empty, -np.inf, float32_from_keys(highest).astype(np.float64) + 0.0),
        Moments(*launcher.to_host(sums).view(np.int64)),
    )


def digest(launcher: Launcher, x: Any, weight: Any, first_row: int) -> int:
    """See `Backend.digest`."""
    n, d = x.shape
    total = launcher.xp.zeros(1, np.uint64)
    factors = launcher.to_device(digest_factors(d))
    kernel, blocks = plan_simple("digest", n, launcher.limits)
    launcher.launch(
        kernel, blocks, [x, weight, np.int64(n), np.int32(d), factors, np.int64(first_row), total]
    )
    return int(launcher.to_host(total)[0])


def key_histogram(
    launcher: Launcher, x: Any, feature: int, prefixes: Sequence[int] | None
) -> NDArray[np.int64]:
    """See `Backend.key_histogram`."""
    n, d = x.shape
    asked = np.array([] if prefixes is None else prefixes, np.uint32)
    counts = launcher.xp.zeros((max(len(asked), 1), _N_HALVES), np.uint64)
    kernel, blocks = plan_simple("histogram", n, launcher.limits)
    launcher.launch(kernel, blocks, [
        x, np.int64(n), np.int32(d), np.int32(feature), launcher.to_device(asked),
        np.int32(len(asked)), counts,
    ])  # fmt: skip
    found: NDArray[np.int64] = launcher.to_host(counts).view(np.int64)
    return found[0] if prefixes is None else found
