"""Factors of the content digest, which all backends share."""

import numpy as np
from numpy.typing import NDArray

from gpuseg.numerics.hashing import splitmix64


def digest_factors(n_features: int) -> NDArray[np.uint64]:
    """Return the odd numbers of `ColumnKernels.digest`, uint64 (d,)."""
    return splitmix64(np.arange(n_features, dtype=np.uint64)) | np.uint64(1)
