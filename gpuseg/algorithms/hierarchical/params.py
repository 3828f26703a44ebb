"""Parameters of hierarchical clustering."""

from typing import Annotated

from pydantic import Field, model_validator

from gpuseg.algorithms.params import AlgorithmParams, MaxIter, RandomState
from gpuseg.validation import broken_rule

_MAX_POINTS = 100_000
"""Ward's merges take time that grows with the square of their number."""

_MAX_LEVELS = 100
"""Each level is a column of the output."""

_Cut = Annotated[int, Field(ge=1, le=_MAX_POINTS)]


class HierarchicalParams(AlgorithmParams):
    """Parameters of a hierarchy of segments.

    Attributes
    ----------
    n_clusters : int from 1 to 100,000
        Number of segments; None where `levels` are used.
    levels : list of at most 100 such numbers, increasing, or None
        Numbers of segments of several levels; every segment of a finer level is part of one
        segment of each coarser level.
    micro_segments : int from 2 to 100,000
        Number of small segments that k-means finds first and that are then merged. Data with no
        more distinct rows than this is merged directly.
    max_iter : int from 1 to 1,000,000
        Iterations of that k-means over all rows, after those on a sample. It need not converge,
        since only the means of the small segments are merged.
    random_state : int >= 0
    """

    n_clusters: _Cut | None = None
    levels: Annotated[list[_Cut], Field(max_length=_MAX_LEVELS)] | None = None
    micro_segments: Annotated[int, Field(ge=2, le=_MAX_POINTS)] = 1000
    max_iter: MaxIter = 2
    random_state: RandomState = 0

    @model_validator(mode="after")
    def _check_levels(self) -> "HierarchicalParams":
        levels = self.levels
        if levels is not None and self.n_clusters is not None:
            raise broken_rule(
                "n_clusters.with_levels",
                "cannot be combined with levels, whose last one it is",
                "n_clusters",
                "leave one of the two out",
                value=self.n_clusters,
            )
        if levels is not None and (not levels or levels != sorted(set(levels))):
            raise broken_rule(
                "levels.not_increasing",
                "must be increasing numbers, such as [3, 8, 20]",
                "levels",
                value=levels,
            )
        if self.micro_segments < self.finest:
            raise broken_rule(
                "micro_segments.too_few",
                f"must be at least the number of segments, {self.finest}",
                "micro_segments",
                value=self.micro_segments,
            )
        return self

    @property
    def cuts(self) -> list[int]:
        """Number of segments of each level, increasing."""
        return self.levels or [self.n_clusters or 8]

    @property
    def finest(self) -> int:
        """The largest number of segments."""
        return self.cuts[-1]
