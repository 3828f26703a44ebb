"""Rows for the CPU kernels of DBSCAN: in tiles, and where it suits in a grid of cells."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.dbscan.cell_grid import Grid, grid_of
from gpuseg.backends.numba.dbscan.tile_space import Space, space_of
from gpuseg.backends.protocols import ParallelMap
from gpuseg.numerics.eps_bounds import EpsBounds


class LazyIndex:
    """Rows that are laid out when they are first asked for.

    Parameters
    ----------
    points : float32 or float64 (n, d)
    reach : Reach
    gridded : bool
        Whether a grid may be used.
    """

    def __init__(self, points: NDArray[Any], reach: EpsBounds, gridded: bool = True) -> None:
        self.n = len(points)
        self._points, self._reach = points, reach
        self._layout: TileIndex | None = None
        self._grid: Grid | None = None
        self._may_be_gridded = gridded

    def tiles(self, each: ParallelMap) -> "TileIndex":
        """Return the rows in tiles."""
        if self._layout is None:
            self._layout = TileIndex.build(self._points, self._reach, each)
        return self._layout

    def grid(self, each: ParallelMap) -> Grid | None:
        """Return the rows in a grid, None where none suits."""
        if self._may_be_gridded:
            self._grid = grid_of(self._points, self._reach, each)
            self._may_be_gridded = False
        return self._grid


@dataclass(frozen=True)
class TileIndex:
    """Rows in tiles, and the ways between rows and places.

    `order[place]` is the row, -1 where there is none.

    Attributes
    ----------
    space : Space or None
        None without rows.
    n : int
        Number of rows.
    """

    space: Space | None
    n: int

    @classmethod
    def build(cls, points: NDArray[Any], reach: EpsBounds, each: ParallelMap) -> "TileIndex":
        """Lay out rows, float32 or float64 (n, d)."""
        return cls(space_of(points, reach, each) if len(points) else None, len(points))

    @property
    def places(self) -> NDArray[np.int64]:
        """The row at each place, int64 (n_tiles·TILE,)."""
        assert self.space is not None
        return self.space.tiles.order

    def by_place(self, values: NDArray[Any], missing: Any) -> NDArray[Any]:
        """Return values of rows as values of places."""
        placed: NDArray[Any] = values[self.places]  # -1 is the last row: mended below
        placed[self.places < 0] = missing
        return placed

    def as_bits(self, flags: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return flags of rows as bits of tiles."""
        packed = np.packbits(self.by_place(flags, False), bitorder="little")
        return packed.view(np.int64)

    def by_row(self, placed: NDArray[Any], values: NDArray[Any]) -> None:
        """Write values of places to those of rows."""
        there = self.places >= 0
        values[self.places[there]] = placed[there]
