"""What a model keeps of the rows of its fit is what plain NumPy counts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from gpuseg.monitoring.distance_histogram import DistanceHistogram
from gpuseg.monitoring.feature_bins import bins_of_sample


def test_bins_are_quantiles_of_the_sample() -> None:
    rng = np.random.default_rng(0)
    x = rng.lognormal(size=(1000, 4)).astype(np.float32)
    x[:, 1] = rng.poisson(3, 1000)
    x[rng.random(1000) < 0.3, 2] = np.nan
    x[:, 3] = np.nan
    bins = bins_of_sample(x)
    for f in range(3):
        values = np.sort(x[~np.isnan(x[:, f]), f])
        m = len(values)
        expected = [values[int(np.ceil(i * m / 256)) - 1] for i in range(1, 256)]
        if expected[1] == values[0]:
            assert -1e-37 < bins.edges[f, 0] < expected[0] == 0
            expected[0] = bins.edges[f, 0]
        assert bins.edges[f].tolist() == expected
        assert bins.std[f] == pytest.approx(values.std(dtype=float), rel=1e-12)
        place = (bins.edges[f] < values[:, None]).sum(axis=1)
        for i, position in enumerate(bins.positions[f].tolist()):
            of_bin = values[place == i].astype(float)
            edge = float(bins.edges[f, min(i, 254)])
            assert position == pytest.approx(of_bin.mean() if len(of_bin) else edge, rel=1e-12)
        assert (np.diff(bins.positions[f]) >= 0).all()
    assert np.isinf(bins.edges[3]).all() and bins.std[3] == 0 and not bins.positions[3].any()
    few = bins_of_sample(x[:3, :1])
    assert set(few.edges[0, 1:].tolist()) == set(x[:3, 0].tolist())


@pytest.mark.parametrize("lowest", [0.0, 1.0, -3.5, 1e-38, 3e38])
def test_values_below_the_lowest_one_have_a_separate_bin(lowest: float) -> None:
    x = np.full((300, 1), lowest, np.float32)
    x[200:] = np.float32(lowest) + np.float32(abs(lowest) / 8 + 1e-30)
    edges = bins_of_sample(x).edges[0]
    lower = np.float32(lowest) - np.float32(abs(lowest) / 8 + 1e-30)
    bins = np.searchsorted(edges, np.array([lower, lowest, x[-1, 0]], np.float32))
    assert bins[0] == 0 < bins[1] < bins[2]


def far_rows(distance: npt.NDArray[np.float32], far: np.float32) -> int:
    return int((distance > far).sum())


def test_far_distance_is_exceeded_by_one_row_in_a_thousand() -> None:
    rng = np.random.default_rng(1)
    sizes = np.array([0, 5, 3000, 1000, 999, 2, 2000])
    position = rng.permutation(np.repeat(np.arange(7), sizes))
    distance = rng.lognormal(size=len(position)).astype(np.float32)
    distance[np.flatnonzero(position == 5)] = np.inf
    distance[np.flatnonzero(position == 6)] = 0
    whole, parts = DistanceHistogram(), DistanceHistogram()
    whole.add(position, distance)
    for rows in (slice(4000, None), slice(0, 1), slice(1, 4000)):
        part = DistanceHistogram()
        part.add(position[rows], distance[rows])
        parts.merge(part)
    far_distance, far = whole.far(sizes, 1000)
    for actual, expected in zip(parts.far(sizes, 1000), (far_distance, far), strict=True):
        assert actual.tobytes() == expected.tobytes()
    assert far_distance.dtype == np.float32 and np.isinf(far_distance[[0, 5]]).all()
    for i, size in enumerate(sizes.tolist()):
        of_segment = distance[position == i]
        assert far[i] == far_rows(of_segment, far_distance[i]) <= size / 1000
        if np.isfinite(far_distance[i]):
            bits = far_distance[i].view(np.int32)
            assert bits & 0xFFFF == 0xFFFF
            one_lower = np.int32(bits - 0x10000).view(np.float32)
            if far_distance[i] > 1e-30:
                assert far_rows(of_segment, one_lower) > size / 1000
