"""What an estimator gets for any X: an executor with its rows, and results that look like X."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.runtime.executor import Executor


@dataclass(frozen=True)
class LoadedRows(ABC):
    """Rows of X in an executor.

    Attributes
    ----------
    X : object
        The input, as the caller gave it.
    executor : Executor
        Its shards have the rows, as the estimator's row format reads them.
    keeps_labels : bool
        Whether a fit should keep the labels of every model in the shards.
    origin : float64 (d,) or None
        What was subtracted from the rows (`numerics.origin`).
    """

    X: Any
    executor: Executor
    keeps_labels: bool
    origin: NDArray[np.float64] | None

    @property
    @abstractmethod
    def spare_bytes(self) -> int:
        """Memory that a fit may use for bounds, int."""

    @abstractmethod
    def like(self, values: NDArray[Any]) -> Any:
        """Return values with one entry per row in the kind of array that X is."""

    @abstractmethod
    def labels(self, model: int, predict: Callable[[Any], Any]) -> Any:
        """Return the labels of X by the model at that index, as `like` does.

        `predict` is the fitted model's own; it is called where the labels were not kept.
        """
