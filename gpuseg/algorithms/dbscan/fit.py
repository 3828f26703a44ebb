"""DBSCAN over shards (Ester, Kriegel, Sander and Xu, "A density-based algorithm for discovering
clusters in large spatial databases with noise", KDD 1996), exact and the same for any sharding.

1. Measure: weights become whole numbers, and the corners of the data give the reach of eps.
2. Cut the space into regions, one a shard, and send every row to its region.
3. Find out how many rows of each region are within eps of each other region's box. Those are its
   visitors; where there are many, they come in several rounds. Forecast the work from a sample.
4. Count: weight within eps of each row, first of its own region, then of visitors. Enough: core.
5. Link core rows within a region.
6. Link regions: visiting core rows bring the number of their group; pairs of groups that touch
   go to the caller, who joins them, and numbers the clusters by their lowest core row.
7. Claim: each other row takes the lowest cluster among the core rows within eps.
8. Nearest: each other row asks its own region, then those that may have a nearer core row.
9. Send labels and distances back to the shards that the rows came from.

With one shard, 2, 3 and 9 move nothing, and no rows visit. Labels follow from the definition, so
no order of work can change them: clusters are numbered by their lowest core row, and a border
belongs to the lowest-numbered cluster among its core neighbours.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gpuseg.algorithms.dbscan import collect_labels as labels
from gpuseg.algorithms.dbscan import cost_model as work
from gpuseg.algorithms.dbscan import halo as visits
from gpuseg.algorithms.dbscan import nearest_core as nearest
from gpuseg.algorithms.dbscan import partition as settle
from gpuseg.algorithms.dbscan.fixed_point_weights import FixedPointWeights
from gpuseg.algorithms.dbscan.halo import Choose, Round
from gpuseg.algorithms.dbscan.result import DBSCANFit
from gpuseg.algorithms.dbscan.spatial_partition import balanced, rounds_of
from gpuseg.algorithms.params import DBSCANParams
from gpuseg.errors import DataError, ResourceError
from gpuseg.numerics.distance_metrics import dist_to_rdist, minkowski_p
from gpuseg.numerics.eps_bounds import EpsBounds
from gpuseg.runtime.executor import CacheLost, Executor, TaskContext

SWEEPS = 4
"""How often a run with distances reports each row: counted, linked, claimed, nearest found."""

_TRIES = 3

R = TypeVar("R")

Note = Callable[[str], None]


def _silent(_: str) -> None:
    pass


def fit_dbscan(
    executor: Executor,
    params: DBSCANParams,
    backend: str,
    note: Note = _silent,
    distances: bool = True,
    max_pairs: float = math.inf,
) -> DBSCANFit:
    """Cluster the rows of all shards; each shard then has `labels`, `distance` and core flags.

    Parameters
    ----------
    distances : bool
        Whether to find the nearest core row of noise, and of borders; otherwise `distance` is
        None.
    max_pairs : float
        More pairs of rows than that are refused, before any row is clustered.
    note : callable
        Takes what is done now.

    Raises
    ------
    DataError
        For rows that the metric does not take.
    ResourceError
        When workers are lost again and again, and for more work than `max_pairs`.
    """
    run = _Run(executor, params, backend, note)
    return again_if_lost(lambda: run.run(distances, max_pairs), note)


def again_if_lost(attempt: Callable[[], R], note: Note = _silent) -> R:
    """Return what a function returns; call it again where a worker, and what it knew, was lost.

    Raises
    ------
    ResourceError
        When that happens again and again.
    """
    for _ in range(_TRIES):
        try:
            return attempt()
        except CacheLost:
            note("a worker was lost: clustering begins anew")
    raise ResourceError(
        f"workers were lost in {_TRIES} tries to cluster; a worker may need more memory "
        "(runtime.memory_limit) or a smaller share (runtime.n_workers)"
    )


class _Run:
    """One try."""

    def __init__(self, executor: Executor, params: DBSCANParams, backend: str, note: Note) -> None:
        self.executor, self.params, self.backend, self.note = executor, params, backend, note
        self.n = executor.n_shards
        self.reach: EpsBounds
        self.rounds: list[Round] = []

    def run(self, distances: bool, max_pairs: float) -> DBSCANFit:
        self._measure()  # 1
        self._regroup()  # 2
        self._plan_visits()  # 3
        self._forecast(distances, max_pairs)
        self._count()  # 4
        self.note("link")
        groups = self.executor.map(visits.link_own, self.backend)  # 5
        self._number(groups, self._joined())  # 6
        self._claim()  # 7
        if distances:
            self._find_nearest()  # 8
        self._send_back()  # 9
        return self._outcome()

    def _measure(self) -> None:
        self.note("measure")
        enough = self.params.min_samples
        found = self.executor.map(settle.measure, self.params.metric, enough)
        self.n_rows = sum(own.n_rows for own in found)
        if not any(own.weight for own in found):
            raise DataError("all weights are zero; at least one row needs a positive weight")
        low, high = (np.min([own.low for own in found], axis=0),
                     np.max([own.high for own in found], axis=0))  # fmt: skip
        limit = dist_to_rdist(self.params.eps, self.params.metric)
        self.reach = EpsBounds.from_ranges(low, high, limit, minkowski_p(self.params.metric))
        total = sum(own.weight for own in found)
        self.counting = FixedPointWeights.fit(
            enough, total, all(own.whole_numbers for own in found)
        )
        self.least = self.counting.least

    def _regroup(self) -> None:
        executor, metric = self.executor, self.params.metric
        if self.n == 1:
            executor.map(settle.stay, self.backend, metric, self.reach, self.counting)
            return
        sample = np.concatenate(executor.map(settle.sample, metric, self.n_rows))
        each = TaskContext(executor.local_threads).map
        heavy = work.work_of_rows(
            sample, self.reach, self.params.min_samples, self.n_rows, self.backend, each
        )
        cuts = balanced(sample, heavy, self.n)
        executor.shuffle(
            partial(settle.send_home, metric=metric, cuts=cuts, counting=self.counting),
            partial(settle.settle, backend=self.backend, reach=self.reach, counting=self.counting),
        )
        executor.map(settle.name, per_shard=range(self.n))

    def _plan_visits(self) -> None:
        if self.n == 1:
            return
        boxes = self.executor.map(settle.box)
        near = np.array(self.executor.map(settle.count_near, boxes, self.reach)).T
        np.fill_diagonal(near, 0)
        plan = rounds_of(near, self.executor.map(settle.n_own))
        self.rounds = [Round(own, boxes, self.reach) for own in plan]

    def _forecast(self, distances: bool, max_pairs: float) -> None:
        some = self.executor.map(work.count_some, self.backend, self.least)
        self.work = work.forecast_of(some, distances)
        if self.work.pairs > max_pairs:
            raise ResourceError(
                f"about {self.work.pairs:.2g} pairs of rows would have to be compared, in "
                f"{self.work.seconds:,.0f} s or more, and max_pairs = {max_pairs:.2g}: use a "
                "smaller eps, fewer features, or a higher max_pairs (segment.max_pairs)"
            )
        self.note(f"about {self.work.pairs:.2g} pairs of rows, {self.work.seconds:,.1f} s")

    def _visit(self, turn: Round, choose: Choose, take: Callable[..., Any]) -> list[Any]:
        send = partial(visits.send, choose=choose, turn=turn)
        return self.executor.shuffle(send, partial(take, backend=self.backend, reach=self.reach))

    def _count(self) -> None:
        self.note("count")
        self.executor.map(visits.count_own, self.backend, self.least)
        take = partial(visits.count_visitors, least=self.least)
        for turn in self.rounds:
            self._visit(turn, visits.rows_and_weights, take)
        self.executor.map(visits.decide_core, self.least)

    def _joined(self) -> NDArray[np.int64]:
        """Return pairs of groups of different regions that belong together, int64 (m, 2)."""
        pairs = [np.empty((0, 2), np.int64)]
        for turn in self.rounds:
            half = replace(turn, visits=[
                [j for j in own if ((j - i) % self.n, i) < ((i - j) % self.n, j)]
                for i, own in enumerate(turn.visits)
            ])  # fmt: skip
            pairs += self._visit(half, visits.core_and_groups, visits.link_visitors)
        return np.concatenate(pairs)

    def _number(self, groups: list[NDArray[np.int64]], joined: NDArray[np.int64]) -> None:
        """Join groups to clusters, number them by their lowest core row, and tell the regions."""
        known = np.unique(np.concatenate(groups))
        pairs = np.searchsorted(known, joined)
        graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (len(known),) * 2)
        n_clusters, found = connected_components(graph, directed=False)
        _, lowest, part = np.unique(found, return_index=True, return_inverse=True)
        rank = np.empty(n_clusters, np.int64)
        rank[np.argsort(lowest)] = np.arange(n_clusters)
        self.n_clusters = int(n_clusters)
        cluster = rank[part]
        told = [cluster[np.searchsorted(known, own)] for own in groups]
        self.executor.map(visits.number, per_shard=told)

    def _claim(self) -> None:
        self.note("claim")
        self.executor.map(visits.claim_own, self.backend)
        for turn in self.rounds:
            self._visit(turn, visits.core_and_clusters, visits.claim_visited)

    def _find_nearest(self) -> None:
        self.note("nearest")
        self.executor.map(nearest.begin)
        self.executor.map(nearest.nearest_own, self.backend)
        if self.n == 1:
            return
        boxes = self.executor.map(nearest.core_box)
        for step in range(1, self.n):
            turn = nearest.Turn(step, boxes, self.reach)
            self.executor.shuffle(
                partial(nearest.ask, turn=turn),
                partial(nearest.answer, backend=self.backend, reach=self.reach),
            )
            self.executor.shuffle(nearest.send_answer, partial(nearest.take_answer, turn=turn))

    def _send_back(self) -> None:
        if self.n == 1:
            self.executor.map(labels.keep_labels, self.params.metric)
            return
        self.executor.shuffle(
            partial(labels.send_back, starts=self.executor.map(labels.first_row)),
            partial(labels.take_labels, metric=self.params.metric),
        )

    def _outcome(self) -> DBSCANFit:
        tallies = self.executor.map(labels.tally, self.n_clusters)
        return DBSCANFit(
            self.n_clusters,
            np.sum([own.sizes for own in tallies], axis=0),
            sum(own.core for own in tallies),
            sum(own.border for own in tallies),
            sum(own.noise for own in tallies),
            self.work,
            [own.looked for own in tallies],
            [own.seconds for own in tallies],
            [own.core + own.border + own.noise for own in tallies],
            [own.most_rows for own in tallies],
        )
