"""Write synthetic customers of any size to folders of Parquet files, from one seed.

Every customer has a latent segment s, and a trait z for each kind of behavior t::

    P(s = j) ∝ (1 − noise) / (j + 1)^0.7        unequal segments; the rest is noise, s = −1
    z_t = μ_ts + σ_s ε,  ε ~ N(0, 1)            a customer of a segment
    z_t = 3 tanh(0.8 ε)                         noise: nearly uniform over (−3, 3)

The centers μ of a trait are evenly spaced levels in random order, the best separated of eight, so
no two segments agree in any trait; the spreads σ make neighbors overlap.  The columns follow from
the traits, as seen from a spring equinox, λ being the logistic function::

    orders     = ⌈rate · tenure⌉                          rate = exp(1.8 + z) a year
    spend      = orders · order value                     value = 40 exp(0.5 z + 0.35 E), E ~ Exp(1)
    recency    = w(tenure / (1 + orders e^−z))            w(r) = r + 0.6 sin(ωr) / ω
    spend_[d]d = spend · (1 − (1 − 1 / orders) (1 − x)^exp(0.7 z)) if recency ≤ d, else 0
    shares     = λ(b + 0.8 z)

E gives the lognormal spend a Pareto tail of index 1 / 0.35.  At z = 0 the last of n orders is where
even spacing puts it, at tenure / (n + 1); w has a period of half a year and draws last orders
towards the solstices: Christmas and summer.  x is the part of the time from registration to the
last order that lies in the last d days.

Row r is row r mod 65,536 of block ⌊r / 65,536⌋, and each block has its own random stream: rows
depend neither on the number of rows nor on that of files; columns do not depend on later columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.errors import ConfigError
from gpuseg.synthetic.files import BLOCK_ROWS, stream, write_blocks

__all__ = ["write_customers"]

FILE_ROWS = 1_000_000

TRAITS = 11  # of the sixteen named columns; every other column has its own trait
NAMED = 16
SEASON = 365 / (2 * 2 * np.pi)  # days per radian, for two seasons per year
REPEATING = ("orders", "products", "items", "truth")

Floats = npt.NDArray[np.float64]
Columns = dict[str, npt.NDArray[Any]]


def write_customers(
    directory: str | Path,
    *,
    rows: int,
    features: int = 16,
    segments: int = 8,
    seed: int = 0,
    files: int | None = None,
    truth: bool = False,
    overwrite: bool = False,
    noise: float = 0.02,
    report: Callable[[int], None] | None = None,
) -> list[Path]:
    """Write a folder of Parquet files with synthetic customers.

    The data depend only on ``rows``, ``features``, ``segments``, ``seed`` and ``noise``; fewer rows
    or features give the first rows or columns of the same table.  The files get their names
    together when all are complete: a run that fails leaves the folder unchanged.

    Parameters
    ----------
    directory
        The folder; it is created if it is missing.
    rows, segments
        Number of customers, and of latent segments.
    features
        Number of numeric columns: the sixteen named ones first, then ``feature_17``, ...
    seed
        Start of all random streams.
    files
        Number of files of nearly equal rows; one per million rows if ``None``.
    truth
        Whether to add the column ``truth``: the latent segment, −1 for noise.
    overwrite
        Whether to replace the customer files in the folder.
    noise
        Share of customers who belong to no segment.
    report
        Called with the number of rows just written.

    Returns
    -------
    list of Path
        The files, in row order.

    Raises
    ------
    ConfigError
        If an argument is out of range, or the folder has files that may not be replaced.
    ResourceError
        If the files cannot be written: no space, no permission.
    """
    files = -(-max(rows, 1) // FILE_ROWS) if files is None else files
    _check(rows, features, segments, seed, files, noise)
    population = _Population(seed, segments, features, noise, truth)
    return write_blocks(
        Path(directory), "customers", population.block, rows, files, overwrite, REPEATING, report
    )


def _check(rows: int, features: int, segments: int, seed: int, files: int, noise: float) -> None:
    """Refuse arguments that are out of range."""
    for name, value, valid, rule, example in (
        ("rows", rows, rows >= 1, "the number of rows must be at least 1", "1000000"),
        ("features", features, features >= 1, "the number of features must be at least 1", "16"),
        ("segments", segments, segments >= 1, "the number of segments must be at least 1", "8"),
        ("seed", seed, seed >= 0, "the seed must not be negative", "0"),
        ("files", files, files >= 1, "the number of files must be at least 1", "1"),
        ("files", files, files <= rows, f"there must be a row for every file, of {rows}", "1"),
        ("noise", noise, 0 <= noise <= 0.5, "the share of noise must be in 0 ... 0.5", "0.02"),
    ):
        if not valid:
            raise ConfigError(
                f"{name}.out_of_range", value=value, rule=rule, hint=f"pass --{name} {example}",
                parameter=name,
            )  # fmt: skip


class _Population:
    """The population: segments, and blocks of rows that are drawn from them."""

    def __init__(self, seed: int, segments: int, features: int, noise: float, truth: bool) -> None:
        shares = np.cumsum((1.0 + np.arange(segments)) ** -0.7)
        ordered = np.tile(np.arange(segments), (TRAITS + max(features - NAMED, 0), 1))
        draws = (stream(seed, 0, i).permuted(ordered, axis=1) for i in range(8))
        ranks = max(draws, key=_min_distance)
        self.seed, self.features, self.truth = seed, features, truth
        self.edges = shares / shares[-1] * (1 - noise)  # noise is between the last edge and 1
        self.centers = np.sqrt(3) * ((2 * ranks + 1) / segments - 1)
        self.spreads = stream(seed, 2).uniform(0.3, 0.6, segments)

    def block(self, index: int) -> pa.Table:
        """Draw one block of customers."""
        rng = stream(self.seed, 1, index)
        segment = np.searchsorted(self.edges, rng.random(BLOCK_ROWS), side="right")
        segment[segment == len(self.edges)] = -1
        tail = rng.standard_exponential(BLOCK_ROWS)
        z = self._traits(rng, segment)  # an iterator: the named columns take the first ones
        columns: Columns = {
            "customer_id": np.arange(1, 1 + BLOCK_ROWS, dtype=np.int64) + index * BLOCK_ROWS,
            **_behavior(z, tail),
        }
        for i, trait in enumerate(z, NAMED + 1):
            columns[f"feature_{i}"] = np.round(10 * np.exp(0.5 * trait), 4)
        columns = dict(islice(columns.items(), 1 + self.features))
        if self.truth:
            columns["truth"] = segment.astype(np.int32)
        return pa.table(columns)

    def _traits(self, rng: np.random.Generator, segment: npt.NDArray[np.intp]) -> Iterator[Floats]:
        """Yield the traits of the customers, one after the other."""
        noise = segment < 0
        spread = self.spreads[segment]
        for center in self.centers:
            epsilon = rng.standard_normal(len(segment))
            yield np.where(noise, 3 * np.tanh(0.8 * epsilon), center[segment] + spread * epsilon)


def _min_distance(ranks: npt.NDArray[np.int64]) -> int:
    """Return the minimum squared distance between the 32 largest segments."""
    large = ranks[:TRAITS, :32]
    gaps = large[:, :, np.newaxis] - large[:, np.newaxis, :]
    pairs = np.triu_indices(gaps.shape[1], 1)
    return int((gaps**2).sum(axis=0)[pairs].min(initial=np.iinfo(np.int64).max))


def _behavior(z: Iterator[Floats], tail: Floats) -> Columns:
    """Return the sixteen named columns; each uses the next traits that it needs."""
    # Values are rounded to cents and days, which also hides most differences of exp in the last bit
    # between processors.  Rounding is monotone: inequalities between columns remain true.
    tenure = np.round(30 + 2900 * _logistic(next(z)), 2)
    orders = np.ceil(np.exp(1.8 + next(z)) * tenure / 365)
    recency = tenure / (1 + orders * np.exp(-next(z)))
    recency += SEASON * np.sin(recency / SEASON) * 0.6
    recency = np.round(np.minimum(recency, tenure), 2)
    value = np.round(40 * np.exp(0.5 * next(z) + 0.35 * tail), 2)
    spend = np.round(orders * value, 2)
    items = orders + np.floor(orders * np.exp(0.5 + 0.5 * next(z)))
    gap = (tenure - recency) / orders
    momentum = np.exp(0.7 * next(z))
    window = {d: _recent(d, spend, orders, recency, tenure, momentum) for d in (30, 90, 365)}
    trend = np.divide(window[90], window[365], out=np.zeros_like(spend), where=window[365] > 0)
    return {
        "recency_days": recency,
        "orders": orders.astype(np.int32),
        "spend": spend,
        "tenure_days": tenure,
        "products": (1 + (items - 1) * _logistic(next(z))).astype(np.int32),
        "items": items.astype(np.int32),
        "avg_order_value": value,
        "gap_mean_days": np.round(gap, 2),
        "gap_std_days": np.round(gap * np.exp(0.5 * next(z) - 0.5), 2),
        "return_share": np.round(_logistic(0.8 * next(z) - 2), 4),
        **{f"spend_{d}d": amount for d, amount in window.items()},
        "spend_trend": np.round(trend * 365 / 90, 4),
        "weekend_share": np.round(_logistic(0.8 * next(z) - 1), 4),
        "night_share": np.round(_logistic(0.8 * next(z) - 1.8), 4),
    }


def _recent(
    days: int, spend: Floats, orders: Floats, recency: Floats, tenure: Floats, momentum: Floats
) -> Floats:
    """Return the spend of the last days, at least the last order if it is in them."""
    before = np.clip((tenure - days) / np.maximum(tenure - recency, 1), 0, 1)  # 1 − x
    share = 1 - (1 - 1 / orders) * before**momentum
    recent: Floats = np.where(recency <= days, spend * share, 0)
    return np.round(recent, 2)


def _logistic(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)))
