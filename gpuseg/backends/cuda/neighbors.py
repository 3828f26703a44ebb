"""DBSCAN's kernels on a GPU.

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
from gpuseg.backends.neighbors import NO_CLUSTER, assigning_rows, report_rows
from gpuseg.backends.numba.dbscan.border_assignment import lowest_clusters
from gpuseg.backends.numba.dbscan.connect_core import MIXED
from gpuseg.backends.numba.dbscan.index import TileIndex
from gpuseg.backends.numba.neighbors import lowest_rows, roots
from gpuseg.backends.protocols import ParallelMap
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
    """See `backends.protocols.NeighborKernels`.

    Parameters
    ----------
    launcher : Launcher
    """

    name = "cuda"

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def build_index(
        self, points: NDArray[Any], eps_bounds: EpsBounds, parallel_map: ParallelMap
    ) -> _DeviceIndex:
        host = TileIndex.build(points, eps_bounds, parallel_map)
        if host.space is None:
            return _DeviceIndex(host, eps_bounds, None)
        layout, nodes = host.space.layout, host.space.tree
        to_device = self._launcher.to_device
        if len(layout.order) >= _MAX_SLOTS:
            raise ResourceError(
                "dbscan.too_many_rows_per_shard",
                f"a shard has {len(points):,} rows",
                rule="the GPU backend clusters fewer than 2^31 rows per shard by DBSCAN",
                hint="use more workers",
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
        return _DeviceIndex(host, eps_bounds, space)

    def uses_grid(self, index: _DeviceIndex, parallel_map: ParallelMap) -> bool:
        return False

    def count_neighbors(
        self,
        query: _DeviceIndex,
        target: _DeviceIndex,
        weight: NDArray[np.int64] | None,
        max_count: int,
        counts: NDArray[Any],
        parallel_map: ParallelMap,
    ) -> int:
        if not query.n_tiles or not target.n_tiles:
            return 0
        with self._launcher.stream():
            device_counts = self._to_device(query.host.to_slots(counts.astype(np.int64), max_count))
            weights = None if weight is None else self._to_device(target.host.to_slots(weight, 0))
            arguments = [
                query.space, target.space, _eps_bounds(query), np.int32(query is target),
                weights, np.int64(max_count), device_counts,
            ]  # fmt: skip
            n_distances = self._launch("core_counts", query, arguments)
            query.host.from_slots(self._to_host(device_counts), counts)
        report_rows(query, target, query.host.n, parallel_map)
        return n_distances

    def connect_core(
        self, index: _DeviceIndex, core: NDArray[np.bool_], parallel_map: ParallelMap
    ) -> tuple[NDArray[np.int32], int]:
        lowest = np.full(index.host.n, -1, np.int32)
        if not index.n_tiles:
            return lowest, 0
        slots = index.host.order
        with self._launcher.stream():
            parent = self._to_device(np.arange(len(slots), dtype=np.int32))
            rows = self._core_rows(index, core, np.arange(len(slots), dtype=np.int32))
            n_distances = self._connect_in_tiles(index, rows, parent, connect=True)
            n_distances += self._connect(index, rows, index, rows, parent)
            components = self._to_host(parent).astype(np.int64)
        lowest_rows(slots, index.host.to_slots(core, False), components, lowest)
        report_rows(index, index, index.host.n, parallel_map)
        return lowest, n_distances

    def connect_groups(
        self,
        query: _DeviceIndex,
        query_group: NDArray[np.int64],
        target: _DeviceIndex,
        target_group: NDArray[np.int64],
        n_groups: int,
        parallel_map: ParallelMap,
    ) -> tuple[NDArray[np.int64], int]:
        if not query.n_tiles or not target.n_tiles:
            return np.arange(n_groups), 0
        with self._launcher.stream():
            parent = self._to_device(np.arange(n_groups, dtype=np.int32))
            query_rows = self._core_rows(query, query_group >= 0, _by_slot(query, query_group))
            target_rows = self._core_rows(target, target_group >= 0, _by_slot(target, target_group))
            self._connect_in_tiles(query, query_rows, parent, connect=False)
            self._connect_in_tiles(target, target_rows, parent, connect=False)
            n_distances = self._connect(query, query_rows, target, target_rows, parent)
            components = self._to_host(parent).astype(np.int64)
        return roots(components), n_distances

    def assign_border(
        self,
        query: _DeviceIndex,
        border: NDArray[np.bool_],
        target: _DeviceIndex,
        cluster: NDArray[np.uint32],
        lowest: NDArray[np.uint32],
        parallel_map: ParallelMap,
    ) -> int:
        if query.host.space is None or target.host.space is None:
            return 0
        clusters = target.host.to_slots(cluster, NO_CLUSTER)
        core_masks = target.host.to_bits(assigning_rows(query, border, target, cluster))
        min_cluster = lowest_clusters(target.host.space.tree, core_masks, clusters)
        with self._launcher.stream():
            assigned = self._to_device(query.host.to_slots(lowest, NO_CLUSTER))
            arguments = [
                query.space, target.space, _eps_bounds(query), self._masks(query, border),
                self._to_device(core_masks.view(np.uint64)), self._to_device(clusters),
                self._to_device(min_cluster), assigned,
            ]  # fmt: skip
            n_distances = self._launch("border_assignment", query, arguments)
            query.host.from_slots(self._to_host(assigned), lowest)
        report_rows(query, target, query.host.n, parallel_map)
        return n_distances

    def find_nearest(
        self,
        query: _DeviceIndex,
        requested: NDArray[np.bool_],
        target: _DeviceIndex,
        core: NDArray[np.bool_],
        rdist: NDArray[np.float64],
        row: NDArray[np.int64],
        parallel_map: ParallelMap,
    ) -> int:
        if not query.n_tiles or not target.n_tiles:
            return 0
        bounds = query.eps_bounds
        error = [np.float64(x) for x in (bounds.scale, bounds.abs_error, bounds.rounding_factor)]
        with self._launcher.stream():
            device_rdist = self._to_device(query.host.to_slots(rdist, np.inf))
            device_row = self._to_device(query.host.to_slots(row, -1))
            arguments = [
                query.space, target.space, Struct(error), np.int32(rdist.shape[1]),
                self._masks(query, requested), self._masks(target, core), device_rdist, device_row,
            ]  # fmt: skip
            n_distances = self._launch("knn", query, arguments)
            query.host.from_slots(self._to_host(device_rdist), rdist)
            query.host.from_slots(self._to_host(device_row), row)
        report_rows(query, target, query.host.n, parallel_map)
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
        """Return an array on the device."""
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
