"""Centres as scoring kernels want them."""

import math

import numpy as np

from gpuseg.backends.base import Centers


class PackedCenters:
    """Centres in groups, feature by feature, beside what the certificate needs.

    Parameters
    ----------
    centers : Centers
    group : int
        Centres that a kernel scores together.

    Attributes
    ----------
    k : int
        Number of centres.
    exact : float64 (k, d)
        The centres themselves.
    shift : float32 (d,)
    negated : float32 (groups·d·group,)
        -(c - shift), group by group and then feature by feature; zeros where the last group is
        not full.
    half_norms : float32 (groups·group,)
        ½|c - shift|²; infinite where the last group is not full, so that those never win.
    largest_norm : float32
        max |c - shift|, rounded up.
    """

    def __init__(self, centers: Centers, group: int) -> None:
        k, d = centers.values.shape
        full, rest = divmod(k, group)
        groups = -(-k // group)
        negative = centers.shift - centers.values
        negated = np.zeros((groups, d, group), np.float32)
        self.k = k
        self.exact = centers.values
        self.shift = centers.shift
        self.half_norms = np.empty(groups * group, np.float32)
        self.half_norms[k:] = np.inf
        with np.errstate(over="ignore"):
            negated[:full] = negative[: k - rest].reshape(full, group, d).transpose(0, 2, 1)
            if rest:
                negated[full, :, :rest] = negative[k - rest :].T
            squares = np.vecdot(negative, negative)
            self.half_norms[:k] = 0.5 * squares
            self.largest_norm = np.float32(math.sqrt(np.maximum.reduce(squares)) * (1 + 2.0**-20))
        self.negated = negated.reshape(-1)
