"""The interface of a fitted segmentation, and the models that can be loaded by their name."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray


class SegmentModel(Protocol):
    """A fitted segmentation: it scores new rows, and is saved as files."""

    @property
    def features(self) -> tuple[str, ...]:
        """The features that are clustered."""
        ...

    @property
    def n_clusters(self) -> int:
        """Number of segments."""
        ...

    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """Return the segment of each row of raw features, int32 (n,)."""
        ...

    def files(self) -> dict[str, bytes]:
        """Return the files of the saved model by name."""
        ...

    @classmethod
    def from_files(cls, description: Mapping[str, Any], read: Callable[[str], bytes]) -> Self:
        """Build the model from its description and a function that reads its files."""
        ...


MODELS: dict[str, type[SegmentModel]] = {}
"""Classes of models, by the algorithm that their description names."""


def register_model(name: str, cls: type[SegmentModel]) -> None:
    """Let `load_model` build models of an algorithm."""
    MODELS[name] = cls
