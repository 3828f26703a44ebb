"""Counts of rows by segment are exact."""

from fractions import Fraction
from typing import Literal

import numpy as np
import pytest
from support.helpers import THOROUGH

from gpuseg.monitoring.distance_sums import DistanceSums
from gpuseg.monitoring.segment_sums import SegmentSums


@pytest.mark.parametrize("n_segments", [3, 200_000 if THOROUGH else 40_000])
@pytest.mark.parametrize("power", [1, 2])
def test_sums_of_distances_are_exact(n_segments: int, power: Literal[1, 2]) -> None:
    rng = np.random.default_rng(1)
    distance = np.exp(rng.normal(0, 15, 500)).astype(np.float32)
    distance[:4] = [0.0, 1e-45, np.finfo(np.float32).max, np.inf]
    segment = np.where(distance == np.inf, 2, rng.integers(2, size=500))
    sums = DistanceSums(n_segments, power)
    halves = [DistanceSums(n_segments, power) for _ in range(2)]
    sums.add(segment, distance)
    for half, rows in zip(halves, (slice(0, 200), slice(200, 500)), strict=True):
        half.add(segment[rows], distance[rows])
    halves[1].merge(halves[0])
    sizes = np.bincount(segment, minlength=n_segments)
    for means in (sums.means(sizes), halves[1].means(sizes)):
        assert means[2] is None and not any(means[3:])
        for i in range(2):
            exact = sum(Fraction(value) ** power for value in distance[segment == i].tolist())
            assert means[i] == float(exact / int(sizes[i]))
    assert sums.mean(sizes) is None


def test_segments_are_counted() -> None:
    rng = np.random.default_rng(2)
    distance = rng.random(1000).astype(np.float32)
    position = rng.integers(4, size=1000)
    far_distance = np.array([np.inf, 0.5, 0.9, 0.0], np.float32)
    sums, later = SegmentSums.zeros(4), SegmentSums.zeros(4)
    is_far = [sums.add(position[:300], distance[:300], np.append(far_distance, np.inf))]
    is_far.append(later.add(position[300:], distance[300:], np.append(far_distance, np.inf)))
    sums.merge(later)
    assert sums.sizes.tolist() == [*np.bincount(position).tolist(), 0]
    expected = distance > far_distance[position]
    assert (np.concatenate(is_far) == expected).all()
    assert sums.far.tolist() == [*np.bincount(position[expected], minlength=4).tolist(), 0]
    squares = Fraction(sum(Fraction(value) ** 2 for value in distance.tolist()))
    assert sums.squares.mean(sums.sizes) == float(squares / 1000)
