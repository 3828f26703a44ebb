"""The preparation of features as a scikit-learn transformer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from gpuseg.backends import registry
from gpuseg.backends.scale import Scale
from gpuseg.engine.params import PrepareParams
from gpuseg.engine.preparation import Recipe, fit_preparation
from gpuseg.engine.shard import Shard
from gpuseg.errors import DataError, JobError
from gpuseg.estimators.inputs import as_matrix, checked_threads, plain
from gpuseg.runtime.executor import InProcess
from gpuseg.validation import validated

if TYPE_CHECKING:
    from typing import Self


class Preparer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Fill, clip, transform and scale features, as a job's `[prepare]` does, to the bit.

    What is found in `fit` is replayed on new rows. Results are float32 and do not depend on the
    backend or the number of threads.

    Parameters
    ----------
    missing : {"error", "mean", "median", "zero"}, default "error"
        Missing values (NaN) are refused, or filled.
    clip : (float, float) or None, default None
        Quantiles of each feature, from 0 to 1; what lies beyond them becomes them.
    transforms : {"none", "log1p"} or dict of feature name to one, default "none"
        Features that the dict does not name stay as they are; a job's `prepare.transform`.
    scale : {"none", "standard", "robust", "minmax"}, default "standard"
        By mean and population standard deviation, by median and interquartile range, or by
        minimum and range; a feature that would be divided by 0 is refused.
    backend : {"auto", "numpy", "numba", "cuda"}, default "auto"
    n_threads : int or None, default None
        None uses every processor this process may use.

    Attributes
    ----------
    fill_ : float32 (n_features,), NaN where nothing is filled
    clip_ : float32 (2, n_features), the bounds; infinite where nothing is clipped
    shift_, scale_ : float64 (n_features,)
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
        backend: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        self.missing = missing
        self.clip = clip
        self.transforms = transforms
        self.scale = scale
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
        JobError
            For a parameter outside its rule; a ValueError.
        DataError
            For columns that are not numbers, values that are missing where none may be, infinite or
            outside a transform's domain, and constant features that would be scaled; a
            ValueError.
        """
        self._fitted(X)
        return self

    def fit_transform(self, X: ArrayLike, y: None = None) -> NDArray[np.float32]:
        """Fit to X, and return it prepared, float32 (n_samples, n_features)."""
        return self._fitted(X)

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return rows prepared as those of the fit were, float32 (n_samples, n_features).

        Raises
        ------
        DataError
            For values that are missing and are not filled, infinite or outside a transform's
            domain; a ValueError.
        """
        check_is_fitted(self)
        x = np.array(as_matrix(X, self, reset=False))
        infinite = np.isinf(x).any(axis=1)  # clipping would hide it
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            registry.get(self.backend_).prepare(x, self._preparation)
        bad = np.flatnonzero(infinite | ~np.isfinite(x).all(axis=1))
        if bad.size:
            raise DataError(
                f"X has {bad.size} rows with values that are missing, infinite or outside the "
                f"domain of a transform, first row {bad[0]}; mend those rows, or fit with missing "
                "= 'mean', 'median' or 'zero'"
            )
        return x

    def inverse_transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return prepared rows, such as centres, in the units of the input, float64 (n, d).

        Scale and transform are undone; what was filled or clipped stays so.
        """
        check_is_fitted(self)
        scaled = np.asarray(X, np.float64)
        if scaled.ndim != 2 or scaled.shape[1] != self.n_features_in_:
            raise DataError(
                f"X has shape {scaled.shape}: must be (n, {self.n_features_in_}), as the rows that "
                "transform returns"
            )
        return Scale(self._preparation).to_input_units(scaled)

    def _fitted(self, X: ArrayLike) -> NDArray[np.float32]:
        params, backend = self._params(), registry.choose(self.backend).name
        x = np.array(as_matrix(X, self, reset=True))
        if len(x) == 1 and params.scale != "none":
            raise DataError(
                f"X has 1 sample: scale = {params.scale!r} needs features that vary; give more "
                "rows, or set scale = 'none'"
            )
        names = tuple(map(str, self._names()))
        recipe = Recipe(
            names,
            params.missing,
            params.transforms(names, "transforms"),
            params.scale,
            clip=params.clip,
            keys="",
            columns="X",
        )
        executor, shard = InProcess(self.n_threads), Shard(x)
        executor.place(lambda own, env: own, [shard])
        found = fit_preparation(executor, backend, recipe, lambda _, row: f"row {row}")
        self.backend_, self._preparation = backend, found.preparation
        p = found.preparation
        self.fill_, self.clip_, self.shift_, self.scale_ = p.fill, p.bounds(), p.shift, p.scale
        return shard.x

    def _names(self) -> Any:
        return getattr(self, "feature_names_in_", [f"x{f}" for f in range(self.n_features_in_)])

    def _params(self) -> PrepareParams:
        checked_threads(self.n_threads)
        if self.missing == "drop":
            raise JobError(
                "missing = 'drop': a transformer returns every row; drop those rows before, or use "
                "'mean', 'median' or 'zero'"
            )
        values = {
            "missing": self.missing,
            "clip": self.clip,
            "transform": self.transforms,
            "scale": plain(self.scale),
        }
        return validated(PrepareParams, values)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing != "error"
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
