"""Check what an algorithm reports of its run, before anything is written."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gpuseg.errors import DataError, GpusegError
from gpuseg.manifest import AlgorithmResult, SweepRow
from gpuseg.segmentation.base import SegmentationAlgorithm, SegmentationResult

_HINT = "tell the author of the algorithm"


def checked_facts(
    algorithm: SegmentationAlgorithm[Any], result: SegmentationResult
) -> SegmentationResult:
    """Return the result with facts and sweep in values of JSON, as the manifest has them.

    Scalars and arrays of NumPy become numbers and lists; NaN and infinity become None.

    Raises
    ------
    GpusegError
        For values that are not JSON's, and for facts that do not follow the manifest's schema.
    """
    facts = _as_json(result.facts, algorithm.title, "facts")
    sweep = _as_json(result.sweep, algorithm.title, "sweep")
    try:
        AlgorithmResult.from_json({"title": algorithm.title, **facts})
        for row in sweep:
            SweepRow.from_json(row)
    except DataError as error:
        raise GpusegError(
            "facts.invalid", f"{algorithm.title} reports facts with an error: {error.problem}",
            rule=error.rule, hint=_HINT,
        ) from None  # fmt: skip
    return replace(result, facts=facts, sweep=sweep)


def _as_json(value: Any, title: str, path: str) -> Any:
    """Return a value of JSON; `path` says where it is."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {
            _key(key, title, path): _as_json(item, title, f"{path}.{key}")
            for key, item in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_as_json(item, title, f"{path}[{i}]") for i, item in enumerate(value)]
    raise _not_json(value, title, path)


def _key(key: Any, title: str, path: str) -> str:
    if not isinstance(key, str | int | np.integer):
        raise _not_json(key, title, f"a key of {path}")
    return str(key)


def _not_json(value: Any, title: str, path: str) -> GpusegError:
    return GpusegError(
        "facts.not_json", f"{title} reports {path} as {type(value).__name__}",
        rule="must be a value of JSON", hint=_HINT,
    )  # fmt: skip
