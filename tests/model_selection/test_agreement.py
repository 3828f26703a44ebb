"""The agreement of clusterings: the bits of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from gpuseg.model_selection.agreement import adjusted_rand_index


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 2), (50, 1), (300, 4), (16_384, 20)])
def test_index_is_scikit_learns(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, k, n)
    second = np.where(rng.random(n) < 0.2 * seed, rng.integers(0, k + 1, n), (first + 1) % k)
    assert adjusted_rand_index(first, second) == adjusted_rand_score(first, second)
    assert adjusted_rand_index(second, first) == adjusted_rand_score(second, first)
