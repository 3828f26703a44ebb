"""Planted events are those published: a small version of `benchmarks/planted_events.py`."""

import pytest
from planted_events import KINDS, SURVIVAL, planted_pair, refreshed
from support.helpers import THOROUGH

N_PAIRS, RIGHT = (20, 19) if THOROUGH else (1, 1)

N_INIT = 30
"""Starts of each fit: with ten, k-means stops in a local minimum for some of the pairs."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_planted_events_are_published(kind: str) -> None:
    pairs = [planted_pair(kind, number) for number in range(N_PAIRS)]
    outcomes = [refreshed(pair, 5000, N_INIT) for pair in pairs]
    for mode in outcomes[0]:
        seen = [(pair, outcome[mode]) for pair, outcome in zip(pairs, outcomes, strict=True)]
        assert sum(each.events == pair.events for pair, each in seen) >= RIGHT, seen
        if kind in SURVIVAL:
            assert all(each.ids_survived for _, each in seen), seen
