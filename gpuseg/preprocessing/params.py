"""Parameters of the preparation, as data: the estimators and the job file share these rules."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from gpuseg.errors import ConfigError
from gpuseg.preprocessing.encoding.column_counts import ColumnCounts, settle
from gpuseg.preprocessing.encoding.encoder import Encoder, Kind
from gpuseg.preprocessing.plan import FLAG, NUMBER, PreprocessingPlan
from gpuseg.validation import nearest_known

Transform = Literal["none", "log1p", "yeo-johnson"]


def _encoding(how: Any) -> Any:
    if how in ("onehot", "frequency"):
        return how
    if not isinstance(how, list | tuple) or len(how) < 2:
        raise ValueError("must be 'onehot', 'frequency', or the values in their order, two or more")
    order = [_written(value) for value in how]
    if len(set(order)) < len(order):
        raise ValueError("must name each value of the order once")
    return order


def _written(value: Any) -> str:
    """Return a value of an order as a column's are written."""
    if not isinstance(value, str | int):
        raise ValueError("must hold text, whole numbers or booleans, in their order")
    return str(value).lower() if isinstance(value, bool) else str(value)


Encoding = Annotated[str | list[str], BeforeValidator(_encoding)]
Share = Annotated[float, Field(ge=0, le=1)]


class PrepareParams(BaseModel):
    """What is done to features before clustering, in this order.

    Attributes
    ----------
    missing : {"error", "drop", "mean", "median", "zero"}
        Missing values are refused, cost their row, or are filled.
    clip : (float, float) or None
        Quantiles of the values that are there; what lies beyond them becomes them.
    transform : {"none", "log1p", "yeo-johnson"} or dict of feature to one
        Features that the dict does not name stay as they are. Yeo-Johnson bends each feature until
        it is as near to a normal distribution as can be, by maximum likelihood.
    scale : {"none", "standard", "robust", "minmax"}
        Shift and scale by mean and population standard deviation, by median and interquartile
        range, or by minimum and range.
    categorical : dict of column to {"onehot", "frequency"} or list of values
        Columns of categories: one feature for each of the most frequent; the share of the rows
        that have the same; or the place in an order.
    max_categories : int >= 2
        Features of a one-hot column at most; the last of them stands for all others.
    missing_indicator : bool
        Whether each column with gaps gets a feature beside it that is 1 where they are.
    drop_near_constant : bool
        Leave out features that are the same for 95 % of the rows or more.
    drop_correlated : float in (0, 1] or None
        Leave out a feature whose Pearson |r| with one before it is so large or larger.
    pca : float in (0, 1), int >= 1 or None
        Replace the features by principal components: by so many, or by as few as keep this share
        of the variance.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    missing: Literal["error", "drop", "mean", "median", "zero"] = "error"
    clip: tuple[Share, Share] | None = None
    transform: Transform | dict[str, Transform] = "none"
    scale: Literal["none", "standard", "robust", "minmax"] = "standard"
    categorical: dict[str, Encoding] = {}
    max_categories: Annotated[int, Field(ge=2, le=1000)] = 20
    missing_indicator: bool = False
    drop_near_constant: bool = False
    drop_correlated: Annotated[float, Field(gt=0, le=1)] | None = None
    pca: float | None = None

    @field_validator("pca", mode="before")
    @classmethod
    def _components(cls, pca: Any) -> Any:
        whole = isinstance(pca, int) and not isinstance(pca, bool) and pca >= 1
        if pca is None or whole or (isinstance(pca, float) and 0 < pca < 1):
            return pca
        raise ValueError(
            "must be a share of the variance between 0 and 1, such as 0.95, or a whole number of "
            "components >= 1"
        )

    @field_validator("clip", mode="before")
    @classmethod
    def _ends(cls, clip: Any) -> Any:
        if clip is None:
            return None
        ends = tuple(clip) if isinstance(clip, list | tuple) else ()
        if len(ends) != 2 or not all(isinstance(end, int | float) for end in ends):
            raise ValueError("must be two quantiles, such as [0.01, 0.99]")
        low, high = (float(end) for end in ends)
        if not 0 <= low < high <= 1:
            raise ValueError("must be two quantiles that rise, from 0 to 1, such as [0.01, 0.99]")
        return low, high

    @model_validator(mode="after")
    def _indicates_what_stays(self) -> "PrepareParams":
        if self.missing_indicator and self.missing in ("error", "drop"):
            raise ValueError(
                f"missing_indicator: no row with a gap stays with missing = {self.missing!r}; use "
                "'mean', 'median' or 'zero'"
            )
        return self

    @property
    def counts_first(self) -> bool:
        """Whether the data must be counted before its features are settled."""
        return bool(self.categorical) or self.missing_indicator

    def encoders(
        self, columns: Sequence[str], tallies: Mapping[str, ColumnCounts], prefix: str
    ) -> tuple[Encoder, ...]:
        """Return what becomes of each column, from what was counted in it."""
        stay = self.missing not in ("error", "drop")
        return settle(
            columns, self.categorical, tallies, self.max_categories, self.missing_indicator,
            stay, f"{prefix}categorical",
        )  # fmt: skip

    @property
    def keeps_columns(self) -> bool:
        """Whether what is clustered has a column for each feature that is asked for."""
        drops = self.drop_near_constant or self.drop_correlated is not None
        return not (self.counts_first or drops or self.pca is not None)

    def preview(self, columns: Sequence[str]) -> list[Encoder]:
        """Return what becomes of each column, as far as it is known before they are counted."""
        named: dict[str, Kind] = {"onehot": "onehot", "frequency": "frequency"}
        kinds: dict[str, Kind] = {
            name: named[how] if isinstance(how, str) else "ordinal"
            for name, how in self.categorical.items()
        }
        return [Encoder(name, kinds.get(name, "number")) for name in columns]

    def most_features(self, columns: Sequence[str]) -> int:
        """Return how many columns are held for each row at the most: features, and components."""
        numbers = [name for name in columns if name not in self.categorical]
        one_hot = [name for name in columns if self.categorical.get(name) == "onehot"]
        others = len(columns) - len(numbers) - len(one_hot)
        flags = len(numbers) * self.missing_indicator
        width = len(numbers) + flags + others + len(one_hot) * (self.max_categories + 1)
        components = 0 if self.pca is None else self.pca if self.pca >= 1 else width
        return width + int(components)

    def recipe(
        self,
        encoders: Sequence[Encoder],
        unit: bool,
        prefix: str,
        columns: str,
        transforms: str = "transform",
    ) -> PreprocessingPlan:
        """Return what is asked for, feature by feature.

        Parameters
        ----------
        encoders : what becomes of each column
        unit, columns : see `PreprocessingPlan`
        prefix : stands before the names of parameters in messages
        transforms : the name of the parameter `transform`, there

        Raises
        ------
        ConfigError
            For a transform of what is no feature.
        """
        each = self.transforms(encoders, f"{prefix}{transforms}")
        kinds: list[int] = []
        for number, encoder in enumerate(encoders):
            kind = {"onehot": number, "is missing": FLAG}.get(encoder.kind, NUMBER)
            kinds += [kind] * len(encoder.names())
        return PreprocessingPlan(
            tuple(name for encoder in encoders for name in encoder.names()),
            self.missing,
            tuple(each),
            self.scale,
            unit,
            self.clip,
            self.drop_near_constant,
            self.drop_correlated,
            self.pca,
            tuple(kinds),
            keys=prefix,
            columns=columns,
        )

    def transforms(self, encoders: Sequence[Encoder], key: str) -> list[str]:
        """Return the transform of each feature; one for all is meant for numbers alone.

        Raises
        ------
        ConfigError
            For a transform of what is no number; `key` names the parameter.
        """
        able = [e.column for e in encoders if e.kind in ("number", "frequency", "ordinal")]
        found: list[str] = []
        for encoder in encoders:
            own = "none"
            if isinstance(self.transform, str):
                own = self.transform if encoder.kind == "number" else "none"
            elif encoder.column in able and len(encoder.names()) == 1:
                own = self.transform.get(encoder.column, "none")
            found += [own if encoder.kind != "is missing" else "none"] * len(encoder.names())
        for name in {} if isinstance(self.transform, str) else self.transform:
            if name not in able:
                raise ConfigError(f"{key}.{name}: not a feature; {nearest_known(name, able)}")
        return found
