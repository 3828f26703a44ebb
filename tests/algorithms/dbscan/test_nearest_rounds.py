"""Rounds of queries for the nearest core row: every pair once, no partition twice in a round."""

from itertools import product

import numpy as np
import pytest

from gpuseg.algorithms.dbscan.halo import rdist_between, rdist_to_box
from gpuseg.algorithms.dbscan.nearest_core import plan_queries
from gpuseg.numerics.distance_metrics import MAXIMUM


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_every_pair_has_one_round(share: float) -> None:
    n, rng = 17, np.random.default_rng(3)
    asked = [
        {j for j in range(n) if j != i and (share == 1 or rng.random() < share)} for i in range(n)
    ]
    rounds = plan_queries(asked)
    pairs = [(i, j) for targets in rounds for i, j in enumerate(targets) if j is not None]
    assert sorted(pairs) == sorted((i, j) for i in range(n) for j in asked[i])
    for targets in rounds:
        answering = [j for j in targets if j is not None]
        assert len(answering) == len(set(answering))
    most = max(max(map(len, asked)), max(sum(j in one for one in asked) for j in range(n)))
    assert len(rounds) <= max(2 * most - 1, 0)
    if share == 1:
        assert len(rounds) == n - 1


@pytest.mark.parametrize("p", [1, 2, MAXIMUM])
def test_distance_between_boxes_bounds_that_of_rows(p: int) -> None:
    rng = np.random.default_rng(5)
    for one, other in product(rng.normal(size=(4, 20, 3)), rng.normal(2, 2, size=(4, 20, 3))):
        box, other_box = (np.array([rows.min(axis=0), rows.max(axis=0)]) for rows in (one, other))
        bound = rdist_between(box, other_box, p)
        assert bound == rdist_between(other_box, box, p)
        assert bound <= rdist_to_box(one, other_box, p).min()
    empty = np.array([[np.inf] * 3, [-np.inf] * 3])
    assert rdist_between(box, empty, p) == np.inf
