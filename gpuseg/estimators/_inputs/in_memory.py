"""Rows in the memory of this process or of its GPU, as one shard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
from numpy.typing import ArrayLike, NDArray

from gpuseg.estimators._inputs.arrays import as_weights, read_stream
from gpuseg.estimators._inputs.gpu import to_device_of
from gpuseg.estimators._inputs.loaded_rows import LoadedRows
from gpuseg.estimators._inputs.origins import origin_of
from gpuseg.estimators._inputs.row_format import RowFormat
from gpuseg.runtime.executor import BLOCK_ROWS, LocalExecutor
from gpuseg.sharding.shard import Shard

_FEW_ROWS_BYTES = 2**28
"""Spare memory where there are so few rows that looking how much is free would take longer."""


@dataclass(frozen=True)
class InMemoryRows(LoadedRows):
    """See `LoadedRows`.

    Attributes
    ----------
    shard : Shard
        The only shard.
    """

    shard: Shard

    @property
    def spare_bytes(self) -> int:
        if self.shard.n_rows <= BLOCK_ROWS:
            return _FEW_ROWS_BYTES
        return int(psutil.virtual_memory().available // 4)

    def like(self, values: NDArray[Any]) -> Any:
        return to_device_of(self.X, values)

    def labels(self, model: int, predict: Callable[[Any], Any]) -> Any:
        return self.like(self.shard.labels_by_model[model])


@contextmanager
def load_in_memory(
    estimator: Any,
    X: Any,
    sample_weight: ArrayLike | None,
    row_format: RowFormat,
    n_threads: int | None,
    reset: bool = True,
) -> Iterator[InMemoryRows]:
    """Load X as one shard; see `_inputs.load.load_batch`."""
    if reset:
        X = read_stream(X)
        row_format = row_format.with_origin(origin_of(row_format.column_ranges(X, estimator)))
    x = row_format.read(X, estimator, reset=reset)
    shard = Shard(x, as_weights(sample_weight, len(x)))
    executor = LocalExecutor(n_threads)
    executor.load(lambda shard, context: shard, [shard])
    yield InMemoryRows(X, executor, True, row_format.origin, shard)
