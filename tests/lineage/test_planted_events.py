"""Planted events are those seen: a small version of `benchmarks/planted_events.py`."""

import pytest
from planted_events import KINDS, planted_pair, refreshed
from support.helpers import THOROUGH

N_PAIRS, RIGHT = (20, 18) if THOROUGH else (2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_planted_events_are_seen(kind: str) -> None:
    outcomes = [refreshed(planted_pair(kind, number), 5000) for number in range(N_PAIRS)]
    assert sum(outcome.is_right for outcome in outcomes) >= RIGHT, outcomes
    if kind in ("shift", "reseed"):
        assert all(outcome.ids_survived for outcome in outcomes)
