"""DBSCAN's primitives on a GPU; see `backends.neighbors`.

The host builds the tiles and their tree, as for the CPU. The device computes all distances: a warp
takes one tile at a time. Rows and results are in the memory of the host.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.cuda.launch_plans import plan_tiles
from gpuseg.backends.cuda.launcher import Launcher, Struct
from gpuseg.backends.neighbors import NO_CLUSTER, ParallelMap, claimants, swept
from gpuseg.backends.numba.dbscan.border_assignment import lowest_clusters
from gpuseg.backends.numba.dbscan.connect_core import MIXED
from gpuseg.backends.numba.dbscan.index import TileIndex
from gpuseg.backends.numba.neighbors import lowest_rows, roots
from gpuseg.errors import ResourceError
from gpuseg.numerics.eps_bounds import EpsBounds

_MAX_SLOTS = 2**31
"""Slots of a shard's tiles are counted in 32 bits."""


@dataclass(frozen=True)
class _DeviceIndex:
    """Rows in tiles, on the device and on the host.

    Attributes
    ----------
    host : TileIndex
    eps_bounds : EpsBounds
    space : Struct or None
        `TileSpace` of ``kernels/dbscan/tile_query.cuh``; None without rows.
    """

    host: TileIndex
    eps_bounds: EpsBounds
    space: Struct | None

    @property
    def n_tiles(self) -> int:
        """Number of tiles, int."""
        return 0 if self.host.space is None else len(self.host.space.layout.rows)

    @property
    def points(self) -> NDArray[Any]:
        """The rows on the host, float32 or float64 (n, d); n > 0."""
        assert self.host.space is not None
        return self.host.space.points


class CudaNeighbors:
    """See `backends.neighbors.Neighbors`.

    Parameters
    ----------
    launcher : Launcher
    """

    name = "cuda"

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def lay_out(self, points: NDArray[Any], reach: EpsBounds, each: ParallelMap) -> _DeviceIndex:
        host = TileIndex.build(points, reach, each)
        if host.space is None:
            return _DeviceIndex(host, reach, None)
        layout, nodes = host.space.layout, host.space.tree
        to_device = self._launcher.to_device
        if len(layout.order) >= _MAX_SLOTS:
            raise ResourceError(
                "dbscan.too_many_rows_per_shard",
                f"a shard has {len(points):,} rows",
                rule="the GPU backend clusters fewer than 2^31 rows per shard by DBSCAN",
                hint="use more workers (`n_workers`)",
                parameter="n_workers",
            )
        tree = np.stack([nodes.skip, nodes.tile], axis=1).astype(np.int32)
        with self._launcher.stream():
            space = Struct([
                to_device(layout.x),
                to_device(layout.order),
                to_device(layout.rows.view(np.uint64)),
                to_device(nodes.boxes),
                to_device(tree),
                to_device(np.ascontiguousarray(points)),
                np.int32(len(layout.rows)),
                np.int32(points.shape[1]),
            ])  # fmt: skip
        return _DeviceIndex(host, reach, space)

    def in_grid(self, own: _DeviceIndex, each: ParallelMap) -> bool:
        return False

    def count_within(
        self,
        own: _DeviceIndex,
        other: _DeviceIndex,
        weight: NDArray[np.int64] | None,
        least: int,
        found: NDArray[Any],
        each: ParallelMap,
    ) -> int:
        if not own.n_tiles or not other.n_tiles:
            return 0
        with self._launcher.stream():
            counts = self._to_device(own.host.to_slots(found.astype(np.int64), least))
            weights = None if weight is None else self._to_device(other.host.to_slots(weight, 0))
            arguments = [
                own.space, other.space, _eps_bounds(own), np.int32(own is other),
                weights, np.int64(least), counts,
            ]  # fmt: skip
            n_distances = self._launch("core_counts", own, arguments)
            own.host.from_slots(self._to_host(counts), found)
        swept(own, other, own.host.n, each)
        return n_distances

    def link(
        self, own: _DeviceIndex, core: NDArray[np.bool_], each: ParallelMap
    ) -> tuple[NDArray[np.int32], int]:
        lowest = np.full(own.host.n, -1, np.int32)
        if not own.n_tiles:
            return lowest, 0
        slots = own.host.order
        with self._launcher.stream():
            parent = self._to_device(np.arange(len(slots), dtype=np.int32))
            rows = self._core_rows(own, core, np.arange(len(slots), dtype=np.int32))
            n_distances = self._connect_in_tiles(own, rows, parent, connect=True)
            n_distances += self._connect(own, rows, own, rows, parent)
            components = self._to_host(parent).astype(np.int64)
        lowest_rows(slots, own.host.to_slots(core, False), components, lowest)
        swept(own, own, own.host.n, each)
        return lowest, n_distances

    def link_across(
        self,
        own: _DeviceIndex,
        group: NDArray[np.int64],
        other: _DeviceIndex,
        other_group: NDArray[np.int64],
        n_groups: int,
        each: ParallelMap,
    ) -> tuple[NDArray[np.int64], int]:
        if not own.n_tiles or not other.n_tiles:
            return np.arange(n_groups), 0
        with self._launcher.stream():
            parent = self._to_device(np.arange(n_groups, dtype=np.int32))
            own_rows = self._core_rows(own, group >= 0, _by_slot(own, group))
            other_rows = self._core_rows(other, other_group >= 0, _by_slot(other, other_group))
            self._connect_in_tiles(own, own_rows, parent, connect=False)
            self._connect_in_tiles(other, other_rows, parent, connect=False)
            n_distances = self._connect(own, own_rows, other, other_rows, parent)
            components = self._to_host(parent).astype(np.int64)
        return roots(components), n_distances

    def claim(
        self,
        own: _DeviceIndex,
        asked: NDArray[np.bool_],
        other: _DeviceIndex,
        cluster: NDArray[np.uint32],
        claimed: NDArray[np.uint32],
        each: ParallelMap,
    ) -> int:
        if own.host.space is None or other.host.space is None:
            return 0
        clusters = other.host.to_slots(cluster, NO_CLUSTER)
        core = other.host.to_bits(claimants(own, asked, other, cluster))
        min_cluster = lowest_clusters(other.host.space.tree, core, clusters)
        with self._launcher.stream():
            assigned = self._to_device(own.host.to_slots(claimed, NO_CLUSTER))
            arguments = [
                own.space, other.space, _eps_bounds(own), self._masks(own, asked),
                self._to_device(core.view(np.uint64)), self._to_device(clusters),
                self._to_device(min_cluster), assigned,
            ]  # fmt: skip
            n_distances = self._launch("border_assignment", own, arguments)
            own.host.from_slots(self._to_host(assigned), claimed)
        swept(own, other, own.host.n, each)
        return n_distances

    def find_nearest(
        self,
        own: _DeviceIndex,
        asked: NDArray[np.bool_],
        other: _DeviceIndex,
        core: NDArray[np.bool_],
        best: NDArray[np.float64],
        row: NDArray[np.int64],
        each: ParallelMap,
    ) -> int:
        if not own.n_tiles or not other.n_tiles:
            return 0
        bounds = own.eps_bounds
        error = [np.float64(x) for x in (bounds.scale, bounds.abs_error, bounds.rounding_factor)]
        with self._launcher.stream():
            best_rdist = self._to_device(own.host.to_slots(best, np.inf))
            best_row = self._to_device(own.host.to_slots(row, -1))
            arguments = [
                own.space, other.space, Struct(error), np.int32(best.shape[1]),
                self._masks(own, asked), self._masks(other, core), best_rdist, best_row,
            ]  # fmt: skip
            n_distances = self._launch("knn", own, arguments)
            own.host.from_slots(self._to_host(best_rdist), best)
            own.host.from_slots(self._to_host(best_row), row)
        swept(own, other, own.host.n, each)
        return n_distances

    def _core_rows(
        self, index: _DeviceIndex, core: NDArray[np.bool_], component: NDArray[np.int32]
    ) -> Struct:
        """Return `CoreRows` of ``kernels/dbscan/component_hints.cuh``; `component` is by slot."""
        hint = np.full(2 * index.n_tiles - 1, MIXED, np.int32)
        members = [self._masks(index, core), self._to_device(component), self._to_device(hint)]
        return Struct([index.space, *members])

    def _connect_in_tiles(
        self, index: _DeviceIndex, rows: Struct, parent: Any, connect: bool
    ) -> int:
        arguments = [rows, _eps_bounds(index), np.int32(connect), parent]
        return self._launch("connect_core_in_tiles", index, arguments)

    def _connect(
        self, query: _DeviceIndex, rows: Struct, target: _DeviceIndex, others: Struct, parent: Any
    ) -> int:
        arguments = [rows, others, _eps_bounds(query), np.int32(query is target), parent]
        return self._launch("connect_core", query, arguments)

    def _launch(self, name: str, query: _DeviceIndex, arguments: Sequence[Any]) -> int:
        """Launch a kernel for the tiles of an index; return the number of distances."""
        wide = query.points.dtype == np.float64
        macros = {"POWER": query.eps_bounds.p, "WIDE": int(wide)}
        d = query.points.shape[1]
        plan = plan_tiles(name, query.n_tiles, d, macros, self._launcher.limits)
        n_distances = self._launcher.xp.zeros(1, np.uint64)
        arguments = [*arguments, n_distances]
        self._launcher.launch(plan.kernel, plan.blocks, arguments, plan.shared_bytes)
        return int(self._to_host(n_distances)[0])

    def _masks(self, index: _DeviceIndex, flags: NDArray[np.bool_]) -> Any:
        """Return flags of rows on the device, as one mask per tile."""
        return self._to_device(index.host.to_bits(flags).view(np.uint64))

    def _to_device(self, array: NDArray[Any]) -> Any:
        """Return an array on the device; the host must not use it any more."""
        return self._launcher.to_device(array)

    def _to_host(self, array: Any) -> NDArray[Any]:
        values: NDArray[Any] = self._launcher.to_host(array)
        return values


def _eps_bounds(index: _DeviceIndex) -> Struct:
    """Return `EpsBounds` of ``kernels/dbscan/tile_query.cuh``."""
    bounds = index.eps_bounds
    return Struct(
        [
            np.float32(bounds.rdist_lower),
            np.float32(bounds.rdist_upper),
            np.float64(bounds.rdist_limit),
        ]
    )


def _by_slot(index: _DeviceIndex, group: NDArray[np.int64]) -> NDArray[np.int32]:
    return index.host.to_slots(group, -1).astype(np.int32)
