"""cuDF's place in the tests: what reads for it where there is no GPU, and how both are called.

The stand-in has of pylibcudf what `gpuseg.io.parquet.cudf_reader` uses, as cuDF 26.10 declares it.
It reads with Arrow, into arrays that NumPy cannot reach, and is no kinder than cuDF: below a null
lies anything, nothing is there before the stream is done, and nobody looks at a page's checksum.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from emulator.strict_arrays import DeviceArray, StrictLauncher

from gpuseg.backends import registry
from gpuseg.backends.cuda import gpus
from gpuseg.io.parquet.cudf_reader import load_on_gpu
from gpuseg.io.parquet.dataset import Dataset
from gpuseg.io.parquet.shard_plan import ShardPlan, load_shard
from gpuseg.jobs.reader_choice import left_to_arrow
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Shard

Array = npt.NDArray[Any]

TypeId = IntEnum(
    "TypeId",
    "EMPTY INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64 FLOAT32 FLOAT64 BOOL8 STRING",
    start=0,
)


@dataclass
class HostColumn:
    """A column of cuDF's: its values as bytes, and a bit for each that is there."""

    kind: TypeId
    rows: int
    values: DeviceArray
    mask: DeviceArray | None

    def type(self) -> Any:
        return SimpleNamespace(id=lambda: self.kind)

    def size(self) -> int:
        return self.rows

    def offset(self) -> int:
        return 0

    def data(self) -> DeviceArray:
        return self.values

    def null_mask(self) -> DeviceArray | None:
        return self.mask


class Options:
    """What to read of which file."""

    def __init__(self, paths: list[str]) -> None:
        assert all(isinstance(path, str) for path in paths)
        (self.path,) = paths
        self.names: list[str] = []
        self.groups: list[list[int]] = []

    def use_pandas_metadata(self, value: bool) -> Options:
        assert not value, "an index comes along"
        return self

    def build(self) -> Options:
        return self

    def set_column_names(self, names: list[str]) -> None:
        assert isinstance(names, list)
        self.names = names

    def set_row_groups(self, groups: list[list[int]]) -> None:
        self.groups = groups


class CudfStandIn:
    """pylibcudf.

    Attributes
    ----------
    asked : list of Options
    failing : Exception or None
        What the next call raises.
    changed : callable
        What happens to a table when it has been read.
    """

    TypeId = TypeId

    def __init__(self) -> None:
        self.asked: list[Options] = []
        self.failing: Exception | None = None
        self.changed: Callable[[pa.Table], pa.Table] = lambda table: table
        self._under_way: list[tuple[DeviceArray, Array]] = []
        self.io = SimpleNamespace(
            SourceInfo=list,
            parquet=SimpleNamespace(
                ParquetReaderOptions=SimpleNamespace(builder=Options),
                read_parquet=self._read,
            ),
        )
        stream = SimpleNamespace(synchronize=self._synchronize)
        self.utils = SimpleNamespace(CUDF_DEFAULT_STREAM=stream)

    def _read(self, options: Options) -> Any:
        self.asked.append(options)
        if self.failing is not None:
            raise self.failing
        try:
            with pq.ParquetFile(options.path) as file:
                table = file.read_row_groups(options.groups[0], columns=options.names)
        except (pa.ArrowException, OSError) as error:
            raise RuntimeError(f"CUDF failure at: page_data.cu: {error}") from None
        table = self.changed(table).select(options.names)
        return SimpleNamespace(
            column_names=lambda: list(table.column_names),
            columns=tuple(self._column(column.combine_chunks()) for column in table.columns),
        )

    def _column(self, column: pa.Array) -> HostColumn:
        name = "BOOL8" if pa.types.is_boolean(column.type) else str(column.type).upper()
        known = {"FLOAT": "FLOAT32", "DOUBLE": "FLOAT64"}
        kind = TypeId[known.get(name, name)]
        if kind == TypeId.STRING:
            return HostColumn(kind, len(column), self._later(np.zeros(8, np.uint8)), None)
        zero = pa.scalar(False if kind == TypeId.BOOL8 else 0, column.type)
        values = column.fill_null(zero).to_numpy(zero_copy_only=False)
        there = column.is_valid().to_numpy(zero_copy_only=False)
        raw = values.view(np.uint8).reshape(len(values), -1).copy()
        raw[~there] = np.random.default_rng(0).integers(0, 256, raw[~there].shape)
        bits = np.packbits(there, bitorder="little")
        mask = None if there.all() else self._later(np.append(bits, np.zeros(64, np.uint8)))
        return HostColumn(kind, len(values), self._later(raw.reshape(-1)), mask)

    def _later(self, values: Array) -> DeviceArray:
        """Return memory that gets its values when the stream is done."""
        there = DeviceArray(np.full_like(values, 0xA5))
        self._under_way.append((there, values))
        return there

    def _synchronize(self) -> None:
        for there, values in self._under_way:
            there.values[:] = values
        self._under_way.clear()


def install(patch: pytest.MonkeyPatch) -> tuple[StrictLauncher, CudfStandIn]:
    """Let this process have a GPU whose arrays NumPy cannot reach, and a cuDF that reads there."""
    launcher, cudf = StrictLauncher(), CudfStandIn()
    patch.setattr(gpus, "unavailable", lambda: None)
    patch.setattr(gpus, "devices", lambda: ["a GPU"])
    patch.setattr(gpus, "launcher", lambda: launcher)
    patch.setitem(sys.modules, "pylibcudf", cudf)
    registry.get.cache_clear()
    return launcher, cudf


def load_on_host(data: Dataset, plan: ShardPlan, env: TaskContext) -> Shard:
    """Read a shard as a job does where there is cuDF; return it with its rows fetched."""
    categories = {encoder.column: "" for encoder in plan.encoders if encoder.categories}
    by_arrow = left_to_arrow(data, categories)
    if not data.storage.is_local or by_arrow.keys() >= {*data.features}:
        return load_shard(plan, env)
    shard = load_on_gpu(plan, env, tuple(by_arrow), must=True)
    b = registry.get("cuda")
    assert not isinstance(shard.x, np.ndarray)
    weight = None if shard.weight is None else b.to_host(shard.weight)
    return Shard(b.to_host(shard.x), weight, kept=shard.kept, source=plan)
