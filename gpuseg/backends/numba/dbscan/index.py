"""Indexes of rows for the CPU kernels of DBSCAN: tiles, and where possible a grid of cells."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.arguments import read_only
from gpuseg.backends.numba.dbscan.cell_grid import Grid, build_grid
from gpuseg.backends.numba.dbscan.tile_distances import TileSpace
from gpuseg.backends.numba.dbscan.tile_layout import build_layout
from gpuseg.backends.numba.dbscan.tile_tree import build_tree
from gpuseg.backends.protocols import ParallelMap
from gpuseg.numerics.eps_bounds import EpsBounds


class LazyIndex:
    """Rows with indexes that are built when they are first needed.

    Parameters
    ----------
    points : float32 or float64 (n, d)
    eps_bounds : EpsBounds
    may_use_grid : bool
    """

    def __init__(
        self, points: NDArray[Any], eps_bounds: EpsBounds, may_use_grid: bool = True
    ) -> None:
        self.n = len(points)
        self._points, self._eps_bounds = read_only(points), eps_bounds
        self._tiles: TileIndex | None = None
        self._grid: Grid | None = None
        self._may_build_grid = may_use_grid

    def tiles(self, parallel_map: ParallelMap) -> "TileIndex":
        """Return the rows in tiles."""
        if self._tiles is None:
            self._tiles = TileIndex.build(self._points, self._eps_bounds, parallel_map)
        return self._tiles

    def grid(self, parallel_map: ParallelMap) -> Grid | None:
        """Return the rows in a grid; None if a grid is not possible or not allowed."""
        if self._may_build_grid:
            self._grid = build_grid(self._points, self._eps_bounds, parallel_map)
            self._may_build_grid = False
        return self._grid


@dataclass(frozen=True)
class TileIndex:
    """Rows in tiles, and conversions between values of rows and of slots.

    Attributes
    ----------
    space : TileSpace or None
        None without rows.
    n : int
        Number of rows.
    """

    space: TileSpace | None
    n: int

    @classmethod
    def build(
        cls, points: NDArray[Any], eps_bounds: EpsBounds, parallel_map: ParallelMap
    ) -> "TileIndex":
        """Index rows, float32 or float64 (n, d)."""
        if not len(points):
            return cls(None, 0)
        b, layout = eps_bounds, build_layout(eps_bounds.scaled(points), parallel_map)
        space = TileSpace(
            layout,
            build_tree(layout),
            points,
            b.p,
            b.rdist_limit,
            b.rdist_lower,
            b.rdist_upper,
            b.scale,
            b.abs_error,
            b.rounding_factor,
        )
        return cls(space, len(points))

    @property
    def order(self) -> NDArray[np.int64]:
        """The row in each slot, -1 in empty slots, int64 (n_slots,)."""
        assert self.space is not None
        return self.space.layout.order

    def to_slots(self, values: NDArray[Any], empty: Any) -> NDArray[Any]:
        """Return values of rows as values of slots; `empty` is that of empty slots."""
        by_slot: NDArray[Any] = values[self.order]  # -1 takes the last row: corrected below
        by_slot[self.order < 0] = empty
        return by_slot

    def to_bits(self, flags: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return flags of rows as one set of bits per tile, int64 (n_tiles,)."""
        packed = np.packbits(self.to_slots(flags, False), bitorder="little")
        return packed.view(np.int64)

    def from_slots(self, by_slot: NDArray[Any], values: NDArray[Any]) -> None:
        """Write values of slots to those of rows."""
        filled = self.order >= 0
        values[self.order[filled]] = by_slot[filled]
