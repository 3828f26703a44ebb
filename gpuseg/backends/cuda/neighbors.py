"""DBSCAN's primitives on a GPU; see `backends.neighbors`.

Tiles and their tree are made on the host, as for the CPU; all comparing is done
on the device, by a warp for each tile. Rows and results lie in the memory of the host.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.cuda.launch_plans import plan_tiles
from gpuseg.backends.cuda.launcher import Launcher
from gpuseg.backends.neighbors import NO_CLUSTER, assigning_rows, report_rows
from gpuseg.backends.numba.dbscan.border_assignment import lowest_clusters
from gpuseg.backends.numba.dbscan.connect_core import MIXED
from gpuseg.backends.numba.dbscan.index import TileIndex
from gpuseg.backends.numba.neighbors import lowest_rows, roots
from gpuseg.backends.protocols import ParallelMap
from gpuseg.errors import ResourceError
from gpuseg.numerics.eps_bounds import EpsBounds

_MAX_PLACES = 2**31


@dataclass(frozen=True)
class _OnDevice:
    """Rows in tiles, there and here.

    Attributes
    ----------
    host : Layout
    arguments : sequence
        What kernels take of a space; empty without rows.
    """

    host: TileIndex
    reach: EpsBounds
    arguments: Sequence[Any]

    @property
    def n_tiles(self) -> int:
        """Number of tiles, int."""
        return 0 if self.host.space is None else len(self.host.space.tiles.rows)


class CudaNeighbors:
    """See `backends.neighbors.Neighbors`.

    Parameters
    ----------
    launcher : Launcher
    """

    name = "cuda"

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def build_index(self, points: NDArray[Any], reach: EpsBounds, each: ParallelMap) -> _OnDevice:
        host = TileIndex.build(points, reach, each)
        if host.space is None:
            return _OnDevice(host, reach, ())
        tiles, to = host.space.tiles, self._launcher.to_device
        if len(tiles.order) >= _MAX_PLACES:
            raise ResourceError(
                f"{len(points):,} rows in one shard: the GPU backend takes less than 2^31 rows "
                "for DBSCAN; use more workers (runtime.n_workers)"
            )
        tree = np.stack([tiles.skip, tiles.tile], axis=1).astype(np.int32)
        with self._launcher.stream():
            arguments = [
                to(tiles.x), to(tiles.order), to(tiles.rows.view(np.uint64)), to(tiles.boxes),
                to(tree), to(np.ascontiguousarray(points)), np.int32(len(tiles.rows)),
            ]  # fmt: skip
        return _OnDevice(host, reach, arguments)

    def uses_grid(self, own: _OnDevice, each: ParallelMap) -> bool:
        return False

    def count_neighbors(
        self,
        own: _OnDevice,
        other: _OnDevice,
        weight: NDArray[np.int64] | None,
        least: int,
        found: NDArray[Any],
        each: ParallelMap,
    ) -> int:
        if not own.n_tiles or not other.n_tiles:
            return 0
        with self._launcher.stream():
            placed = self._there(own.host.by_place(found.astype(np.int64), least))
            heavy = None if weight is None else self._there(other.host.by_place(weight, 0))
            looked = self._launch(
                "count", own,
                [*own.arguments, *other.arguments, *_reach_of(own), np.int32(own is other), heavy,
                 np.int64(least), placed],
            )  # fmt: skip
            own.host.by_row(self._here(placed), found)
        report_rows(own, other, own.host.n, each)
        return looked

    def connect_core(
        self, own: _OnDevice, core: NDArray[np.bool_], each: ParallelMap
    ) -> tuple[NDArray[np.int32], int]:
        lowest = np.full(own.host.n, -1, np.int32)
        if not own.n_tiles:
            return lowest, 0
        places = own.host.places
        with self._launcher.stream():
            parent = self._there(np.arange(len(places), dtype=np.int32))
            side = self._side(own, core, np.arange(len(places), dtype=np.int32))
            looked = self._link_inside(own, side, parent, join=True)
            looked += self._link(own, side, own, side, parent)
            sets = self._here(parent).astype(np.int64)
        lowest_rows(places, own.host.by_place(core, False), sets, lowest)
        report_rows(own, own, own.host.n, each)
        return lowest, looked

    def connect_groups(
        self,
        own: _OnDevice,
        group: NDArray[np.int64],
        other: _OnDevice,
        other_group: NDArray[np.int64],
        n_groups: int,
        each: ParallelMap,
    ) -> tuple[NDArray[np.int64], int]:
        if not own.n_tiles or not other.n_tiles:
            return np.arange(n_groups), 0
        with self._launcher.stream():
            parent = self._there(np.arange(n_groups, dtype=np.int32))
            a = self._side(own, group >= 0, _placed(own, group))
            b = self._side(other, other_group >= 0, _placed(other, other_group))
            self._link_inside(own, a, parent, join=False)
            self._link_inside(other, b, parent, join=False)
            looked = self._link(own, a, other, b, parent)
            sets = self._here(parent).astype(np.int64)
        return roots(sets), looked

    def assign_border(
        self,
        own: _OnDevice,
        asked: NDArray[np.bool_],
        other: _OnDevice,
        cluster: NDArray[np.uint32],
        claimed: NDArray[np.uint32],
        each: ParallelMap,
    ) -> int:
        if own.host.space is None or other.host.space is None:
            return 0
        theirs = other.host.by_place(cluster, NO_CLUSTER)
        bits = other.host.as_bits(assigning_rows(own, asked, other, cluster))
        lowest = lowest_clusters(other.host.space.tiles, bits, theirs)
        with self._launcher.stream():
            placed = self._there(own.host.by_place(claimed, NO_CLUSTER))
            looked = self._launch(
                "claim", own,
                [*own.arguments, *other.arguments, *_reach_of(own), self._bits(own, asked),
                 self._there(bits.view(np.uint64)), self._there(theirs), self._there(lowest),
                 placed],
            )  # fmt: skip
            own.host.by_row(self._here(placed), claimed)
        report_rows(own, other, own.host.n, each)
        return looked

    def find_nearest(
        self,
        own: _OnDevice,
        asked: NDArray[np.bool_],
        other: _OnDevice,
        core: NDArray[np.bool_],
        best: NDArray[np.float64],
        row: NDArray[np.int64],
        each: ParallelMap,
    ) -> int:
        if not own.n_tiles or not other.n_tiles:
            return 0
        reach, k = own.reach, best.shape[1]
        with self._launcher.stream():
            sizes = self._there(own.host.by_place(best, np.inf))
            found = self._there(own.host.by_place(row, -1))
            looked = self._launch(
                "nearest", own,
                [*own.arguments, *other.arguments, np.int32(_width(own)),
                 np.float64(reach.scale), np.float64(reach.off), np.float64(reach.rounding),
                 np.int32(k),
                 self._bits(own, asked), self._bits(other, core), sizes, found],
            )  # fmt: skip
            own.host.by_row(self._here(sizes), best)
            own.host.by_row(self._here(found), row)
        report_rows(own, other, own.host.n, each)
        return looked

    def _link_inside(self, own: _OnDevice, side: Sequence[Any], parent: Any, join: bool) -> int:
        core, group, token = side
        return self._launch(
            "link_inside", own,
            [*own.arguments, *_reach_of(own), core, group, parent, token, np.int32(join)],
        )  # fmt: skip

    def _link(
        self, own: _OnDevice, a: Sequence[Any], other: _OnDevice, b: Sequence[Any], parent: Any
    ) -> int:
        return self._launch(
            "link", own,
            [*own.arguments, *other.arguments, *_reach_of(own), np.int32(own is other), *a, *b,
             parent],
        )  # fmt: skip

    def _side(
        self, own: _OnDevice, core: NDArray[np.bool_], group: NDArray[np.int32]
    ) -> Sequence[Any]:
        """Return core rows as bits, groups by place, and tokens of nodes."""
        token = np.full(2 * own.n_tiles - 1, MIXED, np.int32)
        return self._bits(own, core), self._there(group), self._there(token)

    def _launch(self, name: str, own: _OnDevice, arguments: list[Any]) -> int:
        """Launch a kernel for the tiles of a space; return the pairs looked at."""
        d, wide = _width(own), _points(own).dtype == np.float64
        shape = {"POWER": own.reach.p, "WIDE": int(wide)}
        plan = plan_tiles(name, own.n_tiles, d, shape, self._launcher.limits)
        looked = self._launcher.xp.zeros(1, np.uint64)
        self._launcher.launch(plan.kernel, plan.blocks, [*arguments, looked], plan.shared_bytes)
        return int(self._here(looked)[0])

    def _bits(self, own: _OnDevice, flags: NDArray[np.bool_]) -> Any:
        return self._there(own.host.as_bits(flags).view(np.uint64))

    def _there(self, array: NDArray[Any]) -> Any:
        """Return an array that is not used here any more on the device."""
        return self._launcher.to_device(array)

    def _here(self, array: Any) -> NDArray[Any]:
        found: NDArray[Any] = self._launcher.to_host(array)
        return found


def _points(own: _OnDevice) -> NDArray[Any]:
    assert own.host.space is not None
    return own.host.space.points


def _width(own: _OnDevice) -> int:
    return int(_points(own).shape[1])


def _reach_of(own: _OnDevice) -> list[Any]:
    """Return d, and the limits of sizes."""
    reach = own.reach
    return [
        np.int32(_width(own)), np.float32(reach.sure), np.float32(reach.far),
        np.float64(reach.limit),
    ]  # fmt: skip


def _placed(own: _OnDevice, group: NDArray[np.int64]) -> NDArray[np.int32]:
    return own.host.by_place(group, -1).astype(np.int32)
