"""Preprocessing of features as a scikit-learn transformer."""

from __future__ import annotations

import re
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from functools import partial, reduce
from itertools import accumulate
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
from gpuseg.errors import ConfigError, DataError, literal, parameter_names
from gpuseg.estimators._column_summaries import ColumnSummaries
from gpuseg.estimators._inputs.arrays import as_matrix, read_stream
from gpuseg.estimators._inputs.origins import find_origin
from gpuseg.estimators._inputs.vectors import has_vectors, with_fixed_sizes
from gpuseg.estimators._numpy_scalars import python_values
from gpuseg.estimators._unknown_params import refuses_unknown
from gpuseg.estimators._warnings import warn_caller
from gpuseg.formatting import count
from gpuseg.numerics.origin import subtract_origin
from gpuseg.numerics.to_float32 import to_float32
from gpuseg.optional import is_dask
from gpuseg.preprocessing.encoding.encoder import Encoder, feature_origins, with_origins
from gpuseg.preprocessing.fit import fit_preprocessing, summarize_raw
from gpuseg.preprocessing.missing_values import FILL
from gpuseg.preprocessing.params import PreprocessingParams
from gpuseg.preprocessing.pipeline import (
    FeaturePipeline,
    as_arrow,
    encode,
    frame_columns,
    is_frame,
)
from gpuseg.runtime.executor import LocalExecutor
from gpuseg.sharding import row_passes as passes
from gpuseg.sharding.shard import Shard
from gpuseg.validation import check_n_threads, nearest_known, validated

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

    from gpuseg.runtime.executor import Executor

_NAMES = {"transform": "transforms", "features": "X"}
"""Names of parameters here, by their names in `PreprocessingParams` and in errors."""

_MISSING = ("error", "mean", "median", "zero")
"""Values of `missing`; a transformer cannot drop rows."""

_ELEMENT = re.compile(r"(.*)\[[\d,]+\]", re.DOTALL)
"""The name of an element of a vector."""

_MISSING_HINT = "drop those rows first, or use 'mean', 'median' or 'zero'"

_HINTS = {
    "feature.missing": _MISSING_HINT,
    "category.missing": "with 'mean', 'median' or 'zero' a missing category is a category of its "
    "own (missing numbers are filled); or drop those rows first",
    "feature.infinite": f"fix the data, or make these values missing, and {FILL}",
}
"""The next steps of a transformer, which cannot drop rows, by the code of the error."""


class Preprocessor(TransformerMixin, BaseEstimator):
    """Fill, clip, transform and scale features, with the same bits as a job's `[prepare]`.

    `fit` learns the parameters from the data, and `transform` applies them to new rows. Results are
    float32; they do not depend on the backend or the number of threads.

    Parameters
    ----------
    missing : {"error", "mean", "median", "zero"}, default "error"
        Refuse missing values (NaN), or fill them.
    clip : (float, float) or None, default None
        Two quantiles from 0 to 1; values beyond them are replaced by them.
    transforms : {"none", "log1p", "yeo-johnson"} or dict of feature name to one, default "none"
        Transform of all features, or by feature; features that are not in the dict stay as they
        are. It is `prepare.transform` of a job. λ of Yeo-Johnson maximizes the likelihood.
    scale : {"none", "standard", "robust", "minmax"}, default "standard"
        By mean and population standard deviation, by median and interquartile range, or by
        minimum and range. As in scikit-learn, a feature without spread is divided by 1.
    categorical : dict of column name to {"onehot", "frequency"} or list of values, or None
        Categorical columns; X must be a frame or a table. "onehot" makes one feature for each of
        the most frequent values, "frequency" is the share of the rows with the same value, and a
        list gives the order of the values. With "standard" scale, the one-hot features of a
        column together weigh as much as one number.
    max_categories : int, default 20
        Maximum features of a one-hot column; the last one stands for all other values.
    missing_indicator : bool, default False
        Whether each numeric column with missing values gets a feature that is 1 where they are.
    drop_near_constant : bool, default False
        Drop features with the same value in at least 95 % of the rows.
    drop_correlated : float or None, default None
        Drop a feature if its Pearson |r| with an earlier feature is at least this. This and the
        share above are estimated from a sample of 20,000 rows.
    pca : float, int or None, default None
        Principal components, as the last step: a number of them, or the share of the variance
        that they keep.
    backend : {"auto", "numpy", "numba", "cuda"}, default "auto"
    n_threads : int or None, default None
        None uses every processor this process may use.

    Attributes
    ----------
    features_ : list of str, the features that were kept; a category is several features
    dropped_ : dict of str to str, the features that were dropped, with the reason
    fill_ : float64 (d,), replacement of missing values by feature; NaN where nothing is filled
    clip_ : float64 (2, d), the bounds; infinite where nothing is clipped
    lambdas_ : float64 (d,), λ of Yeo-Johnson; 1 where there is none
    shift_, scale_ : float64 (d,)
    components_ : float64 (n_components, d), with `pca`
    explained_variance_ratio_ : float64 (n_components,), with `pca`
    n_features_in_ : int
    feature_names_in_ : str (n_features,), if X has string column names
    backend_ : str, the backend used

    Examples
    --------
    >>> import gpuseg
    >>> X = [[1.0, 10.0], [2.0, 20.0], [3.0, float("nan")]]
    >>> model = gpuseg.Preprocessor(missing="mean", scale="minmax").fit(X)
    >>> model.transform(X).tolist()
    [[0.0, 0.0], [0.5, 1.0], [1.0, 0.5]]
    >>> model.inverse_transform([[0.5, 0.5]]).tolist()
    [[2.0, 15.0]]
    """

    @refuses_unknown
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

    def fit(self, X: ArrayLike, y: None = None, *, client: Any = None) -> Self:
        """Learn the parameters of all steps from X.

        Parameters
        ----------
        X : array-like (n_samples, n_features), frame, Arrow table or Dask collection
            Read as float32. The rows of Dask arrays and frames stay on the workers.
        y : ignored, for compatibility with scikit-learn
        client : distributed.Client or None
            For Dask collections; None means the current one.

        Returns
        -------
        Preprocessor
            The estimator itself.

        Raises
        ------
        ConfigError
            For a parameter outside its rule; a ValueError.
        DataError
            For columns that are not numbers, and values that are missing (unless they are filled),
            infinite or outside a transform's domain; a ValueError.
        ResourceError
            For a backend that cannot run here, and a Dask collection without a client.
        """
        with _parameter_names():
            self._fit_rows(X, client)
        return self

    def fit_transform(self, X: ArrayLike, y: None = None, *, client: Any = None) -> Any:
        """Fit to X, and return its rows transformed, as `transform` does.

        Parameters and errors are those of `fit`.
        """
        with _parameter_names():
            rows = self._fit_rows(X, client)
        return self.transform(X) if rows is None else rows

    def transform(self, X: ArrayLike) -> Any:
        """Return transformed rows, float32 (n_samples, n_features_out).

        Those of a Dask array are a lazy Dask array; those of a Dask frame are a lazy Dask frame
        whose columns are named as `get_feature_names_out` says.

        Parameters
        ----------
        X : as in `fit`

        Raises
        ------
        DataError
            For values that are missing and not filled, infinite or outside a transform's domain,
            and columns of another type than in `fit`; a ValueError.

        Warns
        -----
        UserWarning
            For categories that were not in the data of `fit`.
        """
        check_is_fitted(self)
        if is_dask(X):
            from gpuseg.estimators._inputs.dask import map_table

            names = [str(name) for name in self.get_feature_names_out()]
            return map_table(Preprocessor._transform_rows, self, X, np.float32, names)
        return self._transform_rows(X)

    def _transform_rows(self, X: ArrayLike) -> NDArray[np.float32]:
        pipeline = self._pipeline
        with _parameter_names():
            x, _ = self._read_features(X, self._prepare_params, pipeline.encoders, reset=False)
            kept = np.ascontiguousarray(x[:, self._kept])
            return pipeline.transform_features(kept, self.backend_)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Return the names of the columns that `transform` returns, object (n_features_out,).

        They are the kept features, "column=value" for a one-hot category, or "pca0", "pca1", …
        """
        check_is_fitted(self)
        _check_feature_names_in(self, input_features)
        transform = self._pipeline.feature_transform
        if transform.projection is None:
            return np.array(self.features_, object)
        return np.array([f"pca{i}" for i in range(transform.n_columns)], object)

    def inverse_transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return transformed rows, such as centers, in the units of `features_`, float64 (n, d).

        It inverts components, scale and transform. Filled and clipped values stay as they are;
        the features of a category stay shares of it.

        Warns
        -----
        UserWarning
            For values that no row has: Yeo-Johnson is bounded where λ < 0 or λ > 2. Beyond its
            bound the result is NaN.
        """
        check_is_fitted(self)
        scaled, width = np.asarray(X, np.float64), self._pipeline.feature_transform.n_columns
        if scaled.ndim != 2 or scaled.shape[1] != width:
            raise DataError(
                "x.wrong_width",
                f"X has shape {scaled.shape}",
                rule=f"must be (n, {width}), as the rows that transform returns",
            )
        values = self._pipeline.feature_transform.inverse(scaled)
        beyond = self._pipeline.feature_transform.is_beyond_range(scaled)
        if beyond.any():
            values[beyond] = np.nan
            names = [self.features_[f] for f in np.flatnonzero(beyond.any(axis=0)).tolist()]
            warn_caller(
                f"{count(int(beyond.sum()), 'value')} of {', '.join(map(repr, names))} became NaN: "
                "no value has this Yeo-Johnson transform",
                UserWarning,
            )
        return values

    def _fit_rows(self, X: Any, client: Any) -> NDArray[np.float32] | None:
        """Fit to X, and return its rows transformed; None for a Dask collection."""
        params, backend = self._params(), registry.choose_backend(self.backend).name
        if is_dask(X):
            self._fit_collection(X, params, backend, client)
            return None
        x, encoders = self._read_features(X, params, None, reset=True)
        executor, shard = LocalExecutor(self.n_threads), Shard(x)
        executor.load(lambda shard, context: shard, [shard])
        self._fit_shards(executor, params, backend, encoders)
        return shard.x

    def _fit_collection(
        self, X: Any, params: PreprocessingParams, backend: str, client: Any
    ) -> None:
        """Fit to a Dask collection, whose rows stay on the workers."""
        from gpuseg.estimators._inputs import dask as collections

        collections.read_header(X, self)
        sent = copy(self)
        if params.needs_counts:
            summarize = partial(_summarize_part, transformer=sent, params=params)
            summaries = collections.map_present_partitions(client, X, summarize)
            encoders = reduce(ColumnSummaries.merge, summaries).fit_encoders(params)
        else:
            encoders = self._encoders_of_numbers(params, collections.find_origin(client, X, self))
        read = partial(_read_part, transformer=sent, params=params, encoders=encoders)
        n_features = sum(len(encoder.feature_names()) for encoder in encoders)
        with collections.load_features(client, X, read, n_features) as executor:
            self._fit_shards(executor, params, backend, encoders)

    def _fit_shards(
        self,
        executor: Executor,
        params: PreprocessingParams,
        backend: str,
        encoders: tuple[Encoder, ...],
    ) -> None:
        """Fit to the features in the shards, which are then transformed."""
        plan = _by_element(params, encoders).plan(encoders, False)
        plan = replace(plan, scales_constants=True)
        starts = list(accumulate(executor.map(passes.n_rows), initial=0))
        summary = summarize_raw(
            executor, backend, plan, lambda shard, row: f"row {starts[shard] + row}"
        )
        fit = fit_preprocessing(executor, backend, plan, summary)
        if not all(executor.map(passes.all_finite)):
            raise DataError(
                "x.beyond_float32",
                "transformed rows of X have values beyond float32 (3.4e38)",
                hint="scale or clip the features, or leave out those with the largest values",
            )
        p = fit.feature_transform
        self.backend_, self._prepare_params = backend, params
        self._kept, self.dropped_ = fit.kept, fit.dropped
        self._pipeline = FeaturePipeline(encoders, fit.features, p)
        self.features_ = list(fit.features)
        self.fill_, self.clip_ = p.add_origin(p.fill), p.add_origin(p.bounds())
        self.shift_, self.scale_ = p.add_origin(p.shift), p.scale
        self.lambdas_ = p.powers()
        if fit.components is not None and p.projection is not None:
            self.components_ = p.projection.components
            self.explained_variance_ratio_ = fit.components.shares

    def _read_features(
        self, X: Any, params: PreprocessingParams, encoders: tuple[Encoder, ...] | None, reset: bool
    ) -> tuple[NDArray[np.float32], tuple[Encoder, ...]]:
        """Return the features of X, float32 (n, d), and their encoders, fitted where None."""
        X = read_stream(X) if reset else X
        if not params.needs_counts:
            return self._read_numbers(X, params, encoders, reset)
        columns = self._read_columns(X, params, reset)
        if encoders is None:
            encoders = ColumnSummaries.of(columns, params).fit_encoders(params)
        names = [name for encoder in encoders for name in encoder.feature_names()]
        return encode(encoders, names, columns), encoders

    def _read_numbers(
        self, X: Any, params: PreprocessingParams, encoders: tuple[Encoder, ...] | None, reset: bool
    ) -> tuple[NDArray[np.float32], tuple[Encoder, ...]]:
        """Return X, all of whose columns are numbers, as `_read_features` does."""
        if encoders is None:
            origin = find_origin(X, self)
        else:
            origin = feature_origins(encoders, [encoder.column for encoder in encoders])
        x = as_matrix(X, self, reset=reset, keep_float64=origin is not None)
        if encoders is None:
            encoders = self._encoders_of_numbers(params, origin)
            origin = feature_origins(encoders, [encoder.column for encoder in encoders])
        if origin is None:
            return np.array(to_float32(x)), encoders
        return subtract_origin(x, origin), encoders

    def _encoders_of_numbers(
        self, params: PreprocessingParams, origin: NDArray[np.float64] | None
    ) -> tuple[Encoder, ...]:
        """Return the encoders of the columns, with the origins of those that may have one."""
        names = self._names()
        encoders = tuple(Encoder(name) for name in names)
        if origin is None:
            return encoders
        origins = dict(zip(names, origin.tolist(), strict=True))
        by_element = _by_element(params, encoders)
        movable = by_element.columns_with_origin(encoders, translation_invariant=False)
        return tuple(with_origins(encoders, {name: origins[name] for name in movable}))

    def _read_columns(
        self, X: Any, params: PreprocessingParams, reset: bool
    ) -> dict[str, pa.Array]:
        """Return the columns of X by name, as Arrow arrays."""
        if not params.categorical and not has_vectors(X):
            x = as_matrix(X, self, reset=reset, keep_float64=True)
            return {name: pa.array(x[:, f]) for f, name in enumerate(self._names())}
        if not is_frame(X):
            raise DataError(
                "categorical.not_a_frame",
                f"X is {type(X).__name__}",
                rule="must be a data frame or an Arrow table with the categorical columns "
                f"{literal(str(sorted(params.categorical)))}",
            )
        frame = frame_columns(X)
        table = pa.table({name: as_arrow(column, name) for name, column in frame.items()})
        table = with_fixed_sizes(table) if reset else table
        _check_feature_names(self, table, reset=reset)
        _check_n_features(self, np.empty((1, len(frame))), reset=reset)
        names = self._names()
        for name in params.categorical:
            if name not in names:
                raise ConfigError(
                    "categorical.missing_column",
                    f"X has no column {name!r}",
                    hint=nearest_known(name, names),
                    parameter="categorical",
                )
        return {name: table[name].combine_chunks() for name in names}

    def _names(self) -> list[str]:
        names = getattr(self, "feature_names_in_", [f"x{f}" for f in range(self.n_features_in_)])
        return [str(name) for name in names]

    def _params(self) -> PreprocessingParams:
        check_n_threads(self.n_threads)
        if self.missing == "drop":
            raise ConfigError(
                "missing.drop",
                value=self.missing,
                rule="a transformer returns every row",
                hint=_MISSING_HINT,
                parameter="missing",
            )
        if self.missing not in _MISSING:
            raise ConfigError(
                "parameter.invalid_value",
                value=self.missing,
                rule="must be 'error', 'mean', 'median' or 'zero'",
                parameter="missing",
            )
        values = {
            "missing": self.missing,
            "clip": self.clip,
            "transform": self.transforms,
            "scale": self.scale,
            "categorical": self.categorical or {},
            "max_categories": self.max_categories,
            "missing_indicator": self.missing_indicator,
            "drop_near_constant": self.drop_near_constant,
            "drop_correlated": self.drop_correlated,
            "pca": self.pca,
        }
        return validated(PreprocessingParams, python_values(values, values))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing != "error"
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _by_element(params: PreprocessingParams, encoders: Sequence[Encoder]) -> PreprocessingParams:
    """Return the parameters with the transform of a vector for each element that is a number."""
    if not isinstance(params.transform, dict):
        return params
    transform = dict(params.transform)
    for encoder in encoders:
        vector = _ELEMENT.fullmatch(encoder.column)
        if vector and vector[1] in params.transform and encoder.column not in transform:
            transform[encoder.column] = params.transform[vector[1]]
            transform.pop(vector[1], None)
    return params.model_copy(update={"transform": transform})


def _summarize_part(
    part: Any, transformer: Preprocessor, params: PreprocessingParams
) -> ColumnSummaries:
    """Return the summaries of a partition, on a worker."""
    return ColumnSummaries.of(transformer._read_columns(part, params, reset=False), params)


def _read_part(
    part: Any, transformer: Preprocessor, params: PreprocessingParams, encoders: tuple[Encoder, ...]
) -> NDArray[np.float32]:
    """Return the features of a partition, on a worker."""
    return transformer._read_features(part, params, encoders, reset=False)[0]


@contextmanager
def _parameter_names() -> Iterator[None]:
    """Give the errors raised inside the names and the values of this transformer's parameters."""
    with parameter_names(_NAMES):
        try:
            yield
        except DataError as error:
            error.hint = _HINTS.get(error.code, error.hint)
            raise
