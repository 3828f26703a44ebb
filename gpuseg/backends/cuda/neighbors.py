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
    eps_bounds: EpsBounds
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

    def build_index(
        self, points: NDArray[Any], eps_bounds: EpsBounds, parallel_map: ParallelMap
    ) -> _OnDevice:
        host = TileIndex.build(points, eps_bounds, parallel_map)
        if host.space is None:
            return _OnDevice(host, eps_bounds, ())
        tiles, to = host.space.tiles, self._launcher.to_device
        if len(tiles.order) >= _MAX_PLACES:
            raise ResourceError(
                f"{len(points):,} rows in one shard: the GPU backend takes less than 2^31 rows "
                "for DBSCAN; use more workers (runtime.n_workers)"
            )
        tree = np.stack([tiles.skip, tiles.tile], axis=1).astype(np.int32)
        with self._launcher.stream():
            arguments = [
                to(tiles.x),
                to(tiles.order),
                to(tiles.rows.view(np.uint64)),
                to(tiles.boxes),
                to(tree),
                to(np.ascontiguousarray(points)),
                np.int32(len(tiles.rows)),
            ]
        return _OnDevice(host, eps_bounds, arguments)

    def uses_grid(self, index: _OnDevice, parallel_map: ParallelMap) -> bool:
        return False

    def count_neighbors(
        self,
        query: _OnDevice,
        target: _OnDevice,
        weight: NDArray[np.int64] | None,
        max_count: int,
        counts: NDArray[Any],
        parallel_map: ParallelMap,
    ) -> int:
        if not query.n_tiles or not target.n_tiles:
            return 0
        with self._launcher.stream():
            placed = self._there(query.host.by_place(counts.astype(np.int64), max_count))
            heavy = None if weight is None else self._there(target.host.by_place(weight, 0))
            n_distances = self._launch(
                "count",
                query,
                [
                    *query.arguments,
                    *target.arguments,
                    *_eps_bounds_of(query),
                    np.int32(query is target),
                    heavy,
                    np.int64(max_count),
                    placed,
                ],
            )
            query.host.by_row(self._here(placed), counts)
        report_rows(query, target, query.host.n, parallel_map)
        return n_distances

    def connect_core(
        self, index: _OnDevice, core: NDArray[np.bool_], parallel_map: ParallelMap
    ) -> tuple[NDArray[np.int32], int]:
        lowest = np.full(index.host.n, -1, np.int32)
        if not index.n_tiles:
            return lowest, 0
        places = index.host.places
        with self._launcher.stream():
            parent = self._there(np.arange(len(places), dtype=np.int32))
            side = self._side(index, core, np.arange(len(places), dtype=np.int32))
            n_distances = self._link_inside(index, side, parent, join=True)
            n_distances += self._link(index, side, index, side, parent)
            sets = self._here(parent).astype(np.int64)
        lowest_rows(places, index.host.by_place(core, False), sets, lowest)
        report_rows(index, index, index.host.n, parallel_map)
        return lowest, n_distances

    def connect_groups(
        self,
        query: _OnDevice,
        query_group: NDArray[np.int64],
        target: _OnDevice,
        target_group: NDArray[np.int64],
        n_groups: int,
        parallel_map: ParallelMap,
    ) -> tuple[NDArray[np.int64], int]:
        if not query.n_tiles or not target.n_tiles:
            return np.arange(n_groups), 0
        with self._launcher.stream():
            parent = self._there(np.arange(n_groups, dtype=np.int32))
            a = self._side(query, query_group >= 0, _placed(query, query_group))
            b = self._side(target, target_group >= 0, _placed(target, target_group))
            self._link_inside(query, a, parent, join=False)
            self._link_inside(target, b, parent, join=False)
            n_distances = self._link(query, a, target, b, parent)
            sets = self._here(parent).astype(np.int64)
        return roots(sets), n_distances

    def assign_border(
        self,
        query: _OnDevice,
        border: NDArray[np.bool_],
        target: _OnDevice,
        cluster: NDArray[np.uint32],
        lowest: NDArray[np.uint32],
        parallel_map: ParallelMap,
    ) -> int:
        if query.host.space is None or target.host.space is None:
            return 0
        theirs = target.host.by_place(cluster, NO_CLUSTER)
        bits = target.host.as_bits(assigning_rows(query, border, target, cluster))
        min_cluster = lowest_clusters(target.host.space.tiles, bits, theirs)
        with self._launcher.stream():
            placed = self._there(query.host.by_place(lowest, NO_CLUSTER))
            n_distances = self._launch(
                "claim",
                query,
                [
                    *query.arguments,
                    *target.arguments,
                    *_eps_bounds_of(query),
                    self._bits(query, border),
                    self._there(bits.view(np.uint64)),
                    self._there(theirs),
                    self._there(min_cluster),
                    placed,
                ],
            )
            query.host.by_row(self._here(placed), lowest)
        report_rows(query, target, query.host.n, parallel_map)
        return n_distances

    def find_nearest(
        self,
        query: _OnDevice,
        requested: NDArray[np.bool_],
        target: _OnDevice,
        core: NDArray[np.bool_],
        rdist: NDArray[np.float64],
        row: NDArray[np.int64],
        parallel_map: ParallelMap,
    ) -> int:
        if not query.n_tiles or not target.n_tiles:
            return 0
        eps_bounds, k = query.eps_bounds, rdist.shape[1]
        with self._launcher.stream():
            sizes = self._there(query.host.by_place(rdist, np.inf))
            found = self._there(query.host.by_place(row, -1))
            n_distances = self._launch(
                "nearest",
                query,
                [
                    *query.arguments,
                    *target.arguments,
                    np.int32(_width(query)),
                    np.float64(eps_bounds.scale),
                    np.float64(eps_bounds.off),
                    np.float64(eps_bounds.rounding),
                    np.int32(k),
                    self._bits(query, requested),
                    self._bits(target, core),
                    sizes,
                    found,
                ],
            )
            query.host.by_row(self._here(sizes), rdist)
            query.host.by_row(self._here(found), row)
        report_rows(query, target, query.host.n, parallel_map)
        return n_distances

    def _link_inside(self, query: _OnDevice, side: Sequence[Any], parent: Any, join: bool) -> int:
        core, group, token = side
        return self._launch(
            "link_inside",
            query,
            [*query.arguments, *_eps_bounds_of(query), core, group, parent, token, np.int32(join)],
        )

    def _link(
        self, query: _OnDevice, a: Sequence[Any], target: _OnDevice, b: Sequence[Any], parent: Any
    ) -> int:
        return self._launch(
            "link",
            query,
            [
                *query.arguments,
                *target.arguments,
                *_eps_bounds_of(query),
                np.int32(query is target),
                *a,
                *b,
                parent,
            ],
        )

    def _side(
        self, query: _OnDevice, core: NDArray[np.bool_], group: NDArray[np.int32]
    ) -> Sequence[Any]:
        """Return core rows as bits, groups by place, and tokens of nodes."""
        token = np.full(2 * query.n_tiles - 1, MIXED, np.int32)
        return self._bits(query, core), self._there(group), self._there(token)

    def _launch(self, name: str, query: _OnDevice, arguments: list[Any]) -> int:
        """Launch a kernel for the tiles of a space; return the number of distances."""
        d, wide = _width(query), _points(query).dtype == np.float64
        shape = {"POWER": query.eps_bounds.p, "WIDE": int(wide)}
        plan = plan_tiles(name, query.n_tiles, d, shape, self._launcher.limits)
        n_distances = self._launcher.xp.zeros(1, np.uint64)
        self._launcher.launch(
            plan.kernel, plan.blocks, [*arguments, n_distances], plan.shared_bytes
        )
        return int(self._here(n_distances)[0])

    def _bits(self, query: _OnDevice, flags: NDArray[np.bool_]) -> Any:
        return self._there(query.host.as_bits(flags).view(np.uint64))

    def _there(self, array: NDArray[Any]) -> Any:
        """Return an array that is not used here any more on the device."""
        return self._launcher.to_device(array)

    def _here(self, array: Any) -> NDArray[Any]:
        found: NDArray[Any] = self._launcher.to_host(array)
        return found


def _points(query: _OnDevice) -> NDArray[Any]:
    assert query.host.space is not None
    return query.host.space.points


def _width(query: _OnDevice) -> int:
    return int(_points(query).shape[1])


def _eps_bounds_of(query: _OnDevice) -> list[Any]:
    """Return d, and the limits of sizes."""
    eps_bounds = query.eps_bounds
    return [
        np.int32(_width(query)),
        np.float32(eps_bounds.sure),
        np.float32(eps_bounds.far),
        np.float64(eps_bounds.limit),
    ]


def _placed(query: _OnDevice, group: NDArray[np.int64]) -> NDArray[np.int32]:
    return query.host.by_place(group, -1).astype(np.int32)
