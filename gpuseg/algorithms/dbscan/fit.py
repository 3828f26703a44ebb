"""DBSCAN over shards (Ester, Kriegel, Sander and Xu, "A density-based algorithm for discovering
clusters in large spatial databases with noise", KDD 1996), exact and the same for any sharding.

1. Measure: weights become whole numbers, and the bounding box of the data gives the float32
   bounds of eps.
2. Partition: divide the space into one partition per shard, and send every row to its partition.
3. Plan the halo: count how many rows of each partition are within eps of each other partition's
   bounding box. Those rows are its halo; where there are many, they are sent in several rounds.
   Estimate the work from a sample.
4. Count: add up the weight within eps of each row, first in its own partition, then in the halo.
   A row with at least `min_samples` is core.
5. Connect the core rows within a partition to groups.
6. Connect partitions: halo core rows bring their groups; pairs of groups that touch go to the
   caller, which joins them to clusters and numbers the clusters by their lowest core row.
7. Assign borders: every other row takes the lowest cluster among the core rows within eps.
8. Find the nearest core row: every other row searches its own partition, then those that may have
   a nearer core row.
9. Collect: send labels and distances back to the shards that the rows came from.

With one shard, steps 2, 3 and 9 move nothing, and there is no halo. Labels follow from the
definition, so the order of work cannot change them: clusters are numbered by their lowest core
row, and a border row belongs to the lowest-numbered cluster among its core neighbors.

A run that keeps a checkpoint saves the state of the partitions after steps 4, 6 and 7, and the
labels after step 9; see `algorithms.dbscan.fit_units`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan import (
    border_assignment,
    collect_labels,
    connect_core,
    core_counts,
    cost_model,
    nearest_core,
    partition,
)
from gpuseg.algorithms.dbscan.collect_labels import PartitionSummary
from gpuseg.algorithms.dbscan.connect_core import GroupPairs
from gpuseg.algorithms.dbscan.cost_model import CostEstimate
from gpuseg.algorithms.dbscan.fit_units import FitUnits
from gpuseg.algorithms.dbscan.fixed_point_weights import FixedPointWeights
from gpuseg.algorithms.dbscan.halo import HaloRound, plan_rounds
from gpuseg.algorithms.dbscan.params import DBSCANParams
from gpuseg.algorithms.dbscan.partition import Extent
from gpuseg.algorithms.dbscan.result import DBSCANFit
from gpuseg.algorithms.dbscan.saved_state import SavedFit
from gpuseg.algorithms.dbscan.spatial_partition import build_balanced_tree
from gpuseg.errors import DataError, ResourceError
from gpuseg.formatting import duration
from gpuseg.numerics.distance_metrics import dist_to_rdist, minkowski_p
from gpuseg.numerics.eps_bounds import EpsBounds
from gpuseg.runtime.executor import Executor, TaskContext

SWEEPS = 4
"""How often a fit with distances reports each row: counted, connected, assigned, nearest found."""

Log = Callable[[str], None]


def _silent(_: str) -> None:
    pass


def fit_dbscan(
    executor: Executor,
    params: DBSCANParams,
    backend: str,
    log: Log = _silent,
    distances: bool = True,
    max_pairs: float = math.inf,
) -> DBSCANFit:
    """Cluster the rows of all shards; each shard then has `labels`, `distance` and `core`.

    Parameters
    ----------
    log : callable
        Takes the name of each step.
    distances : bool
        Whether to find the nearest core row of noise and border rows; otherwise `distance` is
        None.
    max_pairs : float
        Maximum pairs of rows to compare, by the estimate; more are refused before clustering.

    Raises
    ------
    DataError
        For rows that the metric does not accept, and weights that are all zero.
    ResourceError
        For more work than `max_pairs`, and for too many rows in a partition.
    CacheLost
        When a worker was lost; see `runtime.retry.retry_if_lost`.
    """
    with FitUnits(executor) as units:
        log("measure")
        extents = executor.map(partition.measure, params.metric, params.min_samples)
        extent = Extent.merge(extents)  # 1
        weights = _fixed_point_weights(params, extent)
        limit = dist_to_rdist(params.eps, params.metric)
        p = minkowski_p(params.metric)
        eps_bounds = EpsBounds.from_ranges(extent.low, extent.high, limit, p)
        _partition_rows(executor, params, backend, extent.n_rows, eps_bounds, weights)  # 2
        rounds = _plan_halo(executor, eps_bounds)  # 3
        steps = _Steps(executor, backend, eps_bounds, weights, rounds)
        estimate = steps.estimate_cost(distances)
        _check_cost(estimate, max_pairs)
        if executor.checkpoint is not None:
            has_moved = executor.n_shards > 1
            saved = SavedFit(
                executor.checkpoint, backend, params.metric, eps_bounds, weights, has_moved
            )
            units.prepare(saved, estimate, extent.n_rows, len(extent.low))
        log(f"about {estimate.distances:.2g} pairs of rows, {duration(estimate.seconds)}")
        log("count neighbors")
        steps.count_neighbors()  # 4
        units.save("counted")
        log("connect core rows")
        groups = steps.connect_within_partitions()  # 5
        clusters = _number_clusters(groups, steps.connect_partitions())  # 6
        executor.map(connect_core.assign_clusters, per_shard=clusters.of_groups)
        units.save("connected")
        log("assign border rows")
        steps.assign_borders()  # 7
        if distances:
            units.save("assigned")
            log("find nearest core rows")
            steps.find_nearest_core()  # 8
        _collect_labels(executor, params)  # 9
        summaries = executor.map(collect_labels.summarize, clusters.n_clusters)
        units.save_labels()
    return _result(clusters.n_clusters, estimate, summaries)


def _fixed_point_weights(params: DBSCANParams, extent: Extent) -> FixedPointWeights:
    """Step 1: choose how weights become whole numbers."""
    if not extent.weight:
        raise DataError(
            "weight.all_zero", "all weights are zero", rule="at least one row must have weight > 0"
        )
    return FixedPointWeights.fit(params.min_samples, extent.weight, extent.whole_numbers)


def _partition_rows(
    executor: Executor,
    params: DBSCANParams,
    backend: str,
    n_rows: int,
    eps_bounds: EpsBounds,
    weights: FixedPointWeights,
) -> None:
    """Step 2: send every row to its partition."""
    metric, n_partitions = params.metric, executor.n_shards
    if n_partitions == 1:
        executor.map(partition.keep_rows, backend, metric, eps_bounds, weights)
        return
    sample = np.concatenate(executor.map(partition.sample_points, metric, n_rows))
    work = cost_model.estimate_row_work(
        sample,
        eps_bounds,
        params.min_samples,
        n_rows,
        backend,
        TaskContext(executor.local_threads).map,
    )
    tree = build_balanced_tree(sample, work, n_partitions)
    executor.shuffle(
        partial(partition.send_rows, metric=metric, tree=tree, weights=weights),
        partial(partition.receive_rows, backend=backend, eps_bounds=eps_bounds),
    )
    executor.map(partition.set_number, per_shard=range(n_partitions))


def _plan_halo(executor: Executor, eps_bounds: EpsBounds) -> list[HaloRound]:
    """Step 3: plan which partitions send rows to which."""
    if executor.n_shards == 1:
        return []
    boxes = executor.map(partition.partition_box)
    n_near = np.array(executor.map(partition.count_near, boxes, eps_bounds)).T
    np.fill_diagonal(n_near, 0)
    rounds = plan_rounds(n_near, executor.map(partition.count_rows))
    return [HaloRound(sources, boxes, eps_bounds) for sources in rounds]


def _check_cost(estimate: CostEstimate, max_pairs: float) -> None:
    if estimate.distances > max_pairs:
        raise ResourceError(
            "max_pairs.exceeded",
            f"about {estimate.distances:.2g} pairs of rows would be compared, which takes "
            f"{duration(estimate.seconds)} or more",
            value=max_pairs,
            hint="use a smaller `eps`, fewer features (`features`) or a larger `max_pairs`",
            parameter="max_pairs",
        )


@dataclass(frozen=True)
class _Steps:
    """The steps that compare rows: each on the partitions themselves, then with their halo."""

    executor: Executor
    backend: str
    eps_bounds: EpsBounds
    weights: FixedPointWeights
    rounds: Sequence[HaloRound]

    def estimate_cost(self, distances: bool) -> CostEstimate:
        """Step 3: estimate the work from a sample."""
        costs = self.executor.map(
            cost_model.sample_cost, self.backend, self.weights.min_weight, self.weights.dtype
        )
        return cost_model.total_cost(costs, distances)

    def count_neighbors(self) -> None:
        """Step 4."""
        min_weight = self.weights.min_weight
        self.executor.map(core_counts.count_local, self.backend, min_weight, self.weights.dtype)
        receive = partial(
            core_counts.count_halo,
            backend=self.backend,
            eps_bounds=self.eps_bounds,
            min_weight=min_weight,
        )
        for halo_round in self.rounds:
            self.executor.shuffle(partial(core_counts.send_rows, halo_round=halo_round), receive)

    def connect_within_partitions(self) -> list[NDArray[np.int64]]:
        """Step 5: return the groups of each partition, by the row numbers of their roots."""
        return self.executor.map(connect_core.connect_local, self.backend, self.weights.min_weight)

    def connect_partitions(self) -> GroupPairs:
        """Step 6: return pairs of connected groups of different partitions."""
        pairs = [np.empty((0, 2), np.int64)]
        receive = partial(
            connect_core.connect_halo, backend=self.backend, eps_bounds=self.eps_bounds
        )
        for halo_round in self.rounds:
            send = partial(connect_core.send_groups, halo_round=halo_round.one_way())
            pairs += self.executor.shuffle(send, receive)
        return np.concatenate(pairs)

    def assign_borders(self) -> None:
        """Step 7."""
        self.executor.map(border_assignment.assign_local, self.backend)
        receive = partial(
            border_assignment.assign_halo, backend=self.backend, eps_bounds=self.eps_bounds
        )
        for halo_round in self.rounds:
            send = partial(border_assignment.send_clusters, halo_round=halo_round)
            self.executor.shuffle(send, receive)

    def find_nearest_core(self) -> None:
        """Step 8."""
        self.executor.map(nearest_core.find_local, self.backend)
        if self.executor.n_shards == 1:
            return
        boxes = self.executor.map(nearest_core.core_box)
        asked = self.executor.map(nearest_core.find_targets, boxes, self.eps_bounds)
        for targets in nearest_core.plan_queries(asked):
            nearest_round = nearest_core.NearestRound(targets, boxes, self.eps_bounds)
            send = partial(nearest_core.send_query, nearest_round=nearest_round)
            answer = partial(
                nearest_core.answer_query, backend=self.backend, nearest_round=nearest_round
            )
            reply = partial(nearest_core.send_reply, nearest_round=nearest_round)
            receive = partial(nearest_core.receive_reply, nearest_round=nearest_round)
            self.executor.shuffle(send, answer)
            self.executor.shuffle(reply, receive)


@dataclass(frozen=True)
class _Clusters:
    """Number of clusters, and the cluster of each group of each partition, int64 (n_groups,)."""

    n_clusters: int
    of_groups: list[NDArray[np.int64]]


def _number_clusters(groups: list[NDArray[np.int64]], pairs: GroupPairs) -> _Clusters:
    """Step 6: join groups to clusters, numbered by their lowest core row."""
    from scipy.sparse import coo_array  # takes 0.2 s to import, also for jobs without DBSCAN
    from scipy.sparse.csgraph import connected_components

    all_groups = np.unique(np.concatenate(groups))
    edges = np.searchsorted(all_groups, pairs)
    n_groups = len(all_groups)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (n_groups, n_groups))
    n_clusters, component = connected_components(graph, directed=False)
    _, lowest, inverse = np.unique(component, return_index=True, return_inverse=True)
    number = np.empty(n_clusters, np.int64)
    number[np.argsort(lowest)] = np.arange(n_clusters)
    cluster = number[inverse]
    of_groups = [cluster[np.searchsorted(all_groups, roots)] for roots in groups]
    return _Clusters(int(n_clusters), of_groups)


def _collect_labels(executor: Executor, params: DBSCANParams) -> None:
    """Step 9: send labels and distances back."""
    if executor.n_shards == 1:
        executor.map(collect_labels.keep_labels, params.metric)
        return
    starts = executor.map(collect_labels.first_row)
    executor.shuffle(
        partial(collect_labels.send_labels, starts=starts),
        partial(collect_labels.receive_labels, metric=params.metric),
    )


def _result(
    n_clusters: int, estimate: CostEstimate, summaries: list[PartitionSummary]
) -> DBSCANFit:
    return DBSCANFit(
        n_clusters=n_clusters,
        sizes=np.sum([summary.sizes for summary in summaries], axis=0),
        n_core=sum(summary.core for summary in summaries),
        n_border=sum(summary.border for summary in summaries),
        n_noise=sum(summary.noise for summary in summaries),
        estimate=estimate,
        distances_per_shard=[summary.n_distances for summary in summaries],
        seconds_per_shard=[summary.seconds for summary in summaries],
        rows_per_shard=[summary.n_rows for summary in summaries],
        peak_rows_per_shard=[summary.peak_rows for summary in summaries],
    )
