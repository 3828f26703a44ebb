"""The halo exchange: who sends rows to whom, in which round, and how messages are joined."""

import numpy as np
import pytest

from gpuseg.algorithms.dbscan.halo import HaloRound, is_sender, plan_rounds
from gpuseg.algorithms.dbscan.messages import HaloRows, concatenate
from gpuseg.algorithms.dbscan.spatial_partition import build_balanced_tree
from gpuseg.numerics.eps_bounds import EpsBounds


@pytest.mark.parametrize("n", range(2, 12))
def test_one_of_two_partitions_sends_and_the_work_is_shared(n: int) -> None:
    sends = np.array([[is_sender(i, j, n) for j in range(n)] for i in range(n)])
    np.fill_diagonal(sends, False)
    pairs = np.triu_indices(n, 1)
    assert (sends[pairs] ^ sends.T[pairs]).all()
    n_received = sends.sum(axis=0)
    assert n_received.max() - n_received.min() <= (n % 2 == 0)


def test_one_way_keeps_one_direction_of_each_pair() -> None:
    everyone = [[j for j in range(5) if j != i] for i in range(5)]
    box = np.zeros((2, 1))
    bounds = EpsBounds.from_ranges(box[0], box[1], 1.0, 2)
    one_way = HaloRound(everyone, [box] * 5, bounds).one_way()
    pairs = [{i, j} for i, sources in enumerate(one_way.sources) for j in sources]
    assert len(pairs) == 10 and all(pairs.count(pair) == 1 for pair in pairs)


def test_rounds_cover_all_neighbors_and_respect_the_memory() -> None:
    rng = np.random.default_rng(0)
    n_rows = rng.integers(50, 100, 7)
    n_near = rng.integers(0, 60, (7, 7)) * (rng.random((7, 7)) < 0.7)
    np.fill_diagonal(n_near, 0)
    rounds = plan_rounds(n_near, n_rows.tolist())
    for i in range(7):
        batches = [sources[i] for sources in rounds]
        assert sorted(j for batch in batches for j in batch) == np.flatnonzero(n_near[i]).tolist()
        for batch in batches:
            assert len(batch) <= 1 or n_near[i, batch].sum() <= n_rows[i]


def test_a_single_partition_needs_no_rounds_and_no_tree() -> None:
    assert plan_rounds(np.zeros((1, 1), np.int64), [9]) == []
    assert build_balanced_tree(np.zeros((3, 2)), np.ones(3), 1) == 0


def test_messages_are_joined_in_their_order() -> None:
    first = HaloRows(np.ones((2, 1)), np.array([1, 2]))
    second = HaloRows(np.zeros((1, 1)), np.array([3]))
    joined = concatenate([first, None, second])
    assert joined is not None
    assert joined.points[:, 0].tolist() == [1, 1, 0]
    assert joined.weight is not None and joined.weight.tolist() == [1, 2, 3]
    without = concatenate([HaloRows(np.ones((2, 1)), None)])
    assert without is not None and without.weight is None
    assert concatenate([None, HaloRows(np.ones((0, 1)), None)]) is None
