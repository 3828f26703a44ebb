"""What formats need that compute the nearest center themselves."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import ConfigError
from gpuseg.models.base import SegmentModel
from gpuseg.models.hierarchical import HierarchicalModel
from gpuseg.models.kmeans import KMeansModel
from gpuseg.output_columns import SEGMENT
from gpuseg.preprocessing.pipeline import FeaturePipeline


@dataclass(frozen=True)
class CenterModel:
    """A segmentation in which a row belongs to the segment of its nearest center.

    Attributes
    ----------
    pipeline : FeaturePipeline
    centers : float64 (k, p)
        In scaled units; among centers at the same distance the first one is the nearest.
    segment : int32 (k,)
        The segment of each center.
    levels : mapping of str to int32 (k,)
        For each column of a level of a hierarchy, the segment of each center; empty if there are
        not several levels.
    """

    pipeline: FeaturePipeline
    centers: NDArray[np.float64]
    segment: NDArray[np.int32]
    levels: Mapping[str, NDArray[np.int32]]

    @classmethod
    def of(cls, model: SegmentModel, to: str) -> "CenterModel":
        """Return the centers of a model; `to` is the format that needs them.

        Raises
        ------
        ConfigError
            For an algorithm without centers.
        """
        if isinstance(model, KMeansModel):
            return cls(model.pipeline, model.centers.values, model.segment_ids, {})
        if isinstance(model, HierarchicalModel):
            levels = dict(model.segment_points().segment_of)
            segment = levels.pop(SEGMENT)
            return cls(model.pipeline, model.micro.centers.values, segment, levels)
        raise ConfigError(
            "export.algorithm_without_centers",
            f"the algorithm of the model is '{model.name}'",
            value=to,
            rule="this format needs a model with centers: of k-means or a hierarchy",
            hint="score with gpuseg score, gpuseg serve, or the format 'mlflow'",
            parameter="to",
        )
