"""Records of drift: how far rows differ from the rows of the fit."""

from typing import Annotated, NamedTuple, Self

from pydantic import ConfigDict, Field, model_validator

from gpuseg.record import Count, Number, Record, SegmentNumber

Share = Annotated[float, Field(ge=0, le=1)]
"""A share of rows, from 0 to 1."""


class Bin(NamedTuple):
    """The rows of a range of values: shares of all rows that have a value."""

    before: float
    now: float


class DriftThresholds(Record):
    """From where on drift is too large: the section `[drift]` of a job.

    An alarm needs a measure that is at least its threshold, and more than chance gives.
    """

    model_config = ConfigDict(strict=True)

    feature_psi: Annotated[float, Field(gt=0)] = 0.25
    """PSI of a feature or a category."""
    feature_wasserstein: Annotated[float, Field(gt=0)] = 0.2
    """Wasserstein distance of a feature, in standard deviations of the fit."""
    missing_change: Annotated[float, Field(gt=0, le=1)] = 0.02
    """Change of the share of rows without a value of a feature or a category.

    With `missing = "drop"`, increase of the share of rows that are left out."""
    segment_psi: Annotated[float, Field(gt=0)] = 0.1
    """PSI of the shares of the segments."""
    inertia_increase: Annotated[float, Field(gt=0)] = 0.1
    """Relative increase of the mean squared distance."""
    unseen_share: Annotated[float, Field(gt=0, le=1)] = 0.02
    """Share of rows with a category of a column that was not in the data of the fit.

    Where rare categories are one feature together, increase of their share."""


class FeatureDrift(Record):
    """Drift of a number; all measures are 0 where nothing has changed."""

    feature: str
    """Name of the feature."""
    psi: float
    """Population stability index of ten ranges with about as many rows each at the fit.

    Rows without a value are one range more, where there are some."""
    psi_chance: float
    """The same as chance alone would give, on average."""
    ks: float
    """Kolmogorov-Smirnov distance, the largest difference of the two distribution functions."""
    ks_chance: float
    """The same as chance alone would give, on average."""
    wasserstein: Number
    """Wasserstein distance in standard deviations of the fit; null without spread."""
    wasserstein_chance: Number = None
    """The same as chance alone would give, on average."""
    missing_before: Share
    """Share of rows without a value at the fit."""
    missing_now: Share
    """Share of rows without a value."""
    edges: tuple[float, ...]
    """Upper ends of all ranges but the last, in the units of the input."""
    bins: tuple[Bin, ...]
    """The ranges."""
    is_beyond: bool = False
    """Whether a measure is beyond its threshold and beyond chance."""

    @model_validator(mode="after")
    def _ranges_have_ends(self) -> Self:
        if len(self.edges) != max(len(self.bins) - 1, 0):
            raise ValueError("must have an edge for each of bins but the last")
        return self


class CategoryDrift(Record):
    """Drift of a category."""

    column: str
    """Column of the input."""
    psi: float
    """Population stability index of the categories."""
    psi_chance: float
    """The same as chance alone would give, on average."""
    categories: dict[str, Bin]
    """Shares of the categories, the most frequent ones; all others are together.

    In brackets: (other) has those that are one feature, (missing) rows without a category,
    (unseen) categories that were not in the data of the fit, and (rest) all that is no feature."""
    missing_before: Share = 0.0
    """Share of rows without a category at the fit."""
    missing_now: Share = 0.0
    """Share of rows without a category."""
    unseen: Count = 0
    """Rows with a category that was not in the data of the fit."""
    unseen_share: Share = 0.0
    """Their share."""
    example: str | None = None
    """The first category that was not in the data of the fit, shortened."""
    is_beyond: bool = False
    """Whether a measure is beyond its threshold and beyond chance."""


class SegmentDrift(Record):
    """Drift of the rows of a segment."""

    segment: SegmentNumber
    """Number of the segment; -1 is noise."""
    share_before: Share
    """Share of all rows at the fit."""
    share_now: Share
    """Share of all rows."""
    mean_distance_before: Number
    """Mean distance at the fit, in scaled units; null without rows."""
    mean_distance_now: Number
    """Mean distance."""
    far_before: Number
    """Share of its rows at the fit beyond the distance that about 1 in 1,000 exceeded there."""
    far_now: Number
    """Share of its rows beyond the same distance."""
    feature: str | None = None
    """The feature with the largest PSI above chance among the segment's rows."""
    psi: Number = None
    """PSI of this feature, against the rows of the segment in a sample of the fit."""
    psi_chance: Number = None
    """The same as chance alone would give, on average."""


class Alarm(Record):
    """One measure beyond its threshold."""

    measure: str
    """Name of the threshold."""
    name: str | None = None
    """Feature or column, where it is of one."""
    value: float
    """The measure."""
    threshold: float
    """Its threshold."""
    sentence: str
    """Both in words."""


class Drift(Record):
    """How far rows differ from those of the fit."""

    fit_run_id: str | None
    """Identifier of the run that fitted the model; null where that is not known."""
    rows_before: Count
    """Rows of the fit."""
    rows_now: Count
    """Rows that were compared."""
    dropped_before: Share = 0.0
    """Share of rows that the fit has left out, because a feature was missing."""
    dropped_now: Share = 0.0
    """Share of rows that are left out for this reason."""
    thresholds: DriftThresholds
    """From where on drift is too large."""
    features: tuple[FeatureDrift, ...]
    """Features that are numbers, in their order; of many features those with the largest PSI."""
    other_features: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Number of the features that are numbers and not in `features`."""
    categories: tuple[CategoryDrift, ...] = ()
    """Columns of categories, in their order; of many columns those with the largest PSI."""
    other_categories: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Number of the columns of categories that are not in `categories`."""
    segment_psi: float
    """Population stability index of the shares of the segments."""
    segment_psi_chance: float
    """The same as chance alone would give, on average."""
    mean_distance_before: Number
    """Mean distance to the own segment at the fit, in scaled units."""
    mean_distance_now: Number
    """The same of these rows."""
    inertia_before: Number
    """Mean squared distance at the fit."""
    inertia_now: Number
    """The same of these rows."""
    far_before: Number
    """Share of rows at the fit beyond the distance that about 1 in 1,000 of a segment exceed."""
    far_now: Number
    """Share of these rows beyond the same distances."""
    segments: tuple[SegmentDrift, ...]
    """Segments by number; noise is last. Of many segments the largest ones."""
    alarms: tuple[Alarm, ...] = ()
    """Measures beyond their thresholds; none if the model still suits the rows."""
    other_alarms: Count = 0
    """Number of further measures beyond their thresholds, where there are many."""
