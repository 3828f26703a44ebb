"""The preparation of features as a scikit-learn transformer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import (
    _check_feature_names,
    _check_feature_names_in,
    _check_n_features,
    check_is_fitted,
)

from gpuseg.backends import registry
from gpuseg.errors import ConfigError, DataError
from gpuseg.estimators._inputs.arrays import as_matrix, checked_threads, plain
from gpuseg.preprocessing.encoding.column_counts import ColumnCounts
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.preprocessing.fit import fit_preprocessing
from gpuseg.preprocessing.params import PreprocessingParams
from gpuseg.preprocessing.pipeline import (
    FeaturePipeline,
    as_arrow,
    encode,
    frame_columns,
    is_frame,
)
from gpuseg.runtime.executor import LocalExecutor
from gpuseg.sharding.shard import Shard
from gpuseg.validation import nearest_known, validated

if TYPE_CHECKING:
    from typing import Self


class Preprocessor(TransformerMixin, BaseEstimator):
    """Fill, clip, transform and scale features, as a job's `[prepare]` does, to the bit.

    What is found in `fit` is replayed on new rows. Results are float32 and do not depend on the
    backend or the number of threads.

    Parameters
    ----------
    missing : {"error", "mean", "median", "zero"}, default "error"
        Missing values (NaN) are refused, or filled.
    clip : (float, float) or None, default None
        Quantiles of each feature, from 0 to 1; what lies beyond them becomes them.
    transforms : {"none", "log1p", "yeo-johnson"} or dict of feature name to one, default "none"
        Features that the dict does not name stay as they are; a job's `prepare.transform`.
        Yeo-Johnson's λ is that of the greatest likelihood.
    scale : {"none", "standard", "robust", "minmax"}, default "standard"
        By mean and population standard deviation, by median and interquartile range, or by
        minimum and range; a feature that would be divided by 0 is refused.
    categorical : dict of column name to {"onehot", "frequency"} or list of values, or None
        Columns of categories, which X must then hold as a frame or table: one column for each of
        the most frequent values; the share of the rows with the same; or the place in the list.
        With "standard" scale a one-hot column counts as much as one number.
    max_categories : int, default 20
        Columns of a one-hot category at most; the last stands for all others.
    missing_indicator : bool, default False
        Whether each column of numbers with gaps gets one more, 1 where they are.
    drop_near_constant : bool, default False
        Leave out features that are the same for 95 % of the rows or more.
    drop_correlated : float or None, default None
        Leave out a feature whose Pearson |r| with one before it is so large or larger. This and
        the share above are found in a sample of 20,000 rows.
    pca : float, int or None, default None
        Principal components at last: so many, or as few as keep this share of the variance.
    backend : {"auto", "numpy", "numba", "cuda"}, default "auto"
    n_threads : int or None, default None
        None uses every processor this process may use.

    Attributes
    ----------
    features_ : list of str, those that were kept, categories as their columns
    dropped_ : dict of str to str, those that were not, and why
    fill_ : float32 (d,), for each of `features_`; NaN where nothing is filled
    clip_ : float32 (2, d), the bounds; infinite where nothing is clipped
    lambdas_ : float64 (d,), of Yeo-Johnson; 1 where there is none
    shift_, scale_ : float64 (d,)
    components_ : float64 (n_components, d), with `pca`
    explained_variance_ratio_ : float64 (n_components,), with `pca`
    n_features_in_ : int
    feature_names_in_ : str (n_features,), where X has string column names
    backend_ : str, the backend used
    """

    def __init__(
        self,
        *,
        missing: str = "error",
        clip: tuple[float, float] | None = None,
        transforms: str | dict[str, str] = "none",
        scale: str = "standard",
        categorical: dict[str, str | list[str]] | None = None,
        max_categories: int = 20,
        missing_indicator: bool = False,
        drop_near_constant: bool = False,
        drop_correlated: float | None = None,
        pca: float | None = None,
        backend: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        self.missing = missing
        self.clip = clip
        self.transforms = transforms
        self.scale = scale
        self.categorical = categorical
        self.max_categories = max_categories
        self.missing_indicator = missing_indicator
        self.drop_near_constant = drop_near_constant
        self.drop_correlated = drop_correlated
        self.pca = pca
        self.backend = backend
        self.n_threads = n_threads

    def fit(self, X: ArrayLike, y: None = None) -> Self:
        """Find what fills, bounds, shifts and scales.

        Parameters
        ----------
        X : array-like (n_samples, n_features), frame or Arrow table
            Taken as float32.
        y : ignored, for scikit-learn's sake

        Raises
        ------
        ConfigError
            For a parameter outside its rule; a ValueError.
        DataError
            For columns that are not numbers, values that are missing where none may be, infinite or
            outside a transform's domain, and constant features that would be scaled; a
            ValueError.
        """
        self._fitted(X)
        return self

    def fit_transform(self, X: ArrayLike, y: None = None) -> NDArray[np.float32]:
        """Fit to X, and return it prepared, float32 (n_samples, n_features_out)."""
        return self._fitted(X)

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return rows prepared as those of the fit were, float32 (n_samples, n_features_out).

        Raises
        ------
        DataError
            For values that are missing and are not filled, infinite or outside a transform's
            domain, and columns of another type than at the fit; a ValueError.

        Warns
        -----
        UserWarning
            Of categories that were not there at the fit.
        """
        check_is_fitted(self)
        replay = self._replay
        x, _ = self._features(X, replay.encoders, reset=False)
        return replay.transform_features(np.ascontiguousarray(x[:, self._kept]), self.backend_)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Return the names of the columns that `transform` returns.

        Those of the features that were kept; for a category "column=value"; "pca0", "pca1", …
        """
        check_is_fitted(self)
        _check_feature_names_in(self, input_features)
        if self._replay.feature_transform.projection is None:
            return np.array(self.features_, object)
        count = self._replay.feature_transform.n_columns
        return np.array([f"pca{i}" for i in range(count)], object)

    def inverse_transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return prepared rows, such as centres, in the units of `features_`, float64 (n, d).

        Components, scale and transform are undone; what was filled or clipped stays so. Features
        of a category stay shares of it.
        """
        check_is_fitted(self)
        scaled, width = np.asarray(X, np.float64), self._replay.feature_transform.n_columns
        if scaled.ndim != 2 or scaled.shape[1] != width:
            raise DataError(
                f"X has shape {scaled.shape}: must be (n, {width}), as the rows that transform "
                "returns"
            )
        return self._replay.feature_transform.inverse(scaled)

    def _fitted(self, X: ArrayLike) -> NDArray[np.float32]:
        params, backend = self._params(), registry.choose_backend(self.backend).name
        x, encoders = self._features(X, None, reset=True)
        if len(x) == 1 and params.scale != "none":
            raise DataError(
                f"X has 1 sample: scale = {params.scale!r} needs features that vary; give more "
                "rows, or set scale = 'none'"
            )
        recipe = params.plan(encoders, False)
        executor, shard = LocalExecutor(self.n_threads), Shard(x)
        executor.load(lambda own, env: own, [shard])
        found = fit_preprocessing(executor, backend, recipe, lambda _, row: f"row {row}")
        if not np.isfinite(shard.x).all():
            raise DataError(
                "X, once prepared, has values beyond float32 (3.4e38): scale it, clip it, or leave "
                "out the features with the largest values"
            )
        p = found.feature_transform
        self.backend_, self._kept, self.dropped_ = backend, found.kept, found.dropped
        self._replay = FeaturePipeline(encoders, found.features, p)
        self.features_ = list(found.features)
        self.fill_, self.clip_, self.shift_, self.scale_ = p.fill, p.bounds(), p.shift, p.scale
        self.lambdas_ = p.powers()
        if found.components is not None and p.projection is not None:
            self.components_ = p.projection.components
            self.explained_variance_ratio_ = found.components.shares
        return shard.x

    def _features(
        self, X: Any, encoders: tuple[Encoder, ...] | None, reset: bool
    ) -> tuple[NDArray[np.float32], tuple[Encoder, ...]]:
        """Return the features of X, float32 (n, d), and their encoders, settled where None."""
        params = self._params()
        if not params.needs_counts:
            x = np.array(as_matrix(X, self, reset=reset))
            return x, tuple(Encoder(name) for name in self._names())
        columns = self._columns(X, params, reset)
        if encoders is None:
            tallies = {name: ColumnCounts() for name in columns}
            for name, column in columns.items():
                tallies[name].add(column, name, name in params.categorical)
            encoders = params.fit_encoders(list(columns), tallies)
        names = [name for encoder in encoders for name in encoder.feature_names()]
        return encode(encoders, names, columns), encoders

    def _columns(self, X: Any, params: PreprocessingParams, reset: bool) -> dict[str, pa.Array]:
        """Return the columns of X by name, as Arrow's."""
        if not params.categorical:
            x = as_matrix(X, self, reset=reset)
            return {name: pa.array(x[:, f]) for f, name in enumerate(self._names())}
        if not is_frame(X):
            raise DataError(
                f"categorical = {sorted(params.categorical)}: X must then be a data frame or an "
                f"Arrow table with these columns, and is {type(X).__name__}"
            )
        found = frame_columns(X)
        table = pa.table({name: as_arrow(column, name) for name, column in found.items()})
        _check_feature_names(self, table, reset=reset)
        _check_n_features(self, np.empty((1, len(found))), reset=reset)
        names = self._names()
        for name in params.categorical:
            if name not in names:
                raise ConfigError(
                    f"categorical.{name}: no column of X; {nearest_known(name, names)}"
                )
        return {name: table[name].combine_chunks() for name in names}

    def _names(self) -> list[str]:
        names = getattr(self, "feature_names_in_", [f"x{f}" for f in range(self.n_features_in_)])
        return [str(name) for name in names]

    def _params(self) -> PreprocessingParams:
        checked_threads(self.n_threads)
        if self.missing == "drop":
            raise ConfigError(
                "missing = 'drop': a transformer returns every row; drop those rows before, or use "
                "'mean', 'median' or 'zero'"
            )
        values = {
            "missing": self.missing,
            "clip": self.clip,
            "transform": self.transforms,
            "scale": plain(self.scale),
            "categorical": self.categorical or {},
            "max_categories": plain(self.max_categories),
            "missing_indicator": self.missing_indicator,
            "drop_near_constant": self.drop_near_constant,
            "drop_correlated": plain(self.drop_correlated),
            "pca": plain(self.pca),
        }
        return validated(PreprocessingParams, values)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing != "error"
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
