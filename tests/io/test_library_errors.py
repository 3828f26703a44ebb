"""What libraries raise where they read the user's bytes: each becomes an error of gpuseg."""

from __future__ import annotations

import errno
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from support.errors import raises
from support.helpers import customers, in_turn

import gpuseg
from gpuseg.errors import DataError, GpusegError, ResourceError
from gpuseg.io.library_errors import LIBRARY_ERRORS, reading
from gpuseg.io.parquet.dataset import open_dataset
from gpuseg.io.parquet.shard_plan import load_shard
from gpuseg.io.storage import Storage
from gpuseg.runtime.executor import TaskContext

NOT_TEXT = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

ERRORS: dict[str, tuple[Exception, type[GpusegError]]] = {
    **{
        f"Arrow{name}": (getattr(pa, f"Arrow{name}")("damaged"), DataError)
        for name in (
            *("Invalid", "IndexError", "NotImplementedError", "KeyError", "TypeError"),
            *("CapacityError", "Cancelled", "SerializationError"),
        )
    },
    "ArrowMemoryError": (pa.ArrowMemoryError("malloc"), ResourceError),
    "MemoryError": (MemoryError(), ResourceError),
    "OSError": (OSError("damaged"), DataError),
    "EIO": (OSError(errno.EIO, "input/output error"), DataError),
    "EMFILE": (OSError(errno.EMFILE, "too many open files"), ResourceError),
    "EAGAIN": (OSError(errno.EAGAIN, "try again"), ResourceError),
    "ENOMEM": (OSError(errno.ENOMEM, "no memory"), ResourceError),
    "no thread": (RuntimeError("can't start new thread"), ResourceError),
    "TimeoutError": (TimeoutError("slow"), DataError),
    "EOFError": (EOFError("cut"), DataError),
    "zlib.error": (zlib.error("damaged"), DataError),
    "UnicodeDecodeError": (NOT_TEXT, DataError),
    "ValueError": (ValueError("damaged"), DataError),
    "TypeError": (TypeError("damaged"), DataError),
    "KeyError": (KeyError("damaged"), DataError),
    "IndexError": (IndexError("damaged"), DataError),
    "OverflowError": (OverflowError("damaged"), DataError),
    "RuntimeError": (RuntimeError("damaged"), DataError),
    "RecursionError": (RecursionError("damaged"), DataError),
    "AttributeError": (AttributeError("damaged"), DataError),
    "BufferError": (BufferError("damaged"), DataError),
}


@pytest.mark.parametrize("name", ERRORS)
def test_each_class_becomes_an_error_that_names_the_file(name: str) -> None:
    error, kind = ERRORS[name]
    with pytest.raises(kind) as caught, reading("a.parquet", "file.damaged", " is bad", "repair"):
        raise error
    assert "a.parquet" in str(caught.value)


def test_every_class_of_arrow_is_known() -> None:
    classes = [one for name, one in vars(pa).items() if name.startswith("Arrow")]
    errors = [one for one in classes if isinstance(one, type) and issubclass(one, Exception)]
    assert len(errors) > 9
    assert all(issubclass(error, LIBRARY_ERRORS) for error in errors)


class Faulty(MemoryFileSystem):
    """Files of which one operation fails."""

    protocol = "gpuseg-faulty"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    cachable = False
    operation = ""
    error: Exception = ValueError()

    @classmethod
    def fail(cls, operation: str) -> None:
        if operation == cls.operation:
            raise cls.error

    def find(self, *arguments: Any, **options: Any) -> Any:
        self.fail("find")
        return super().find(*arguments, **options)

    def info(self, path: str, **options: Any) -> Any:
        self.fail("info")
        return super().info(path, **options)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode != "rb":
            return super()._open(path, mode, **options)
        self.fail("open")
        return _FaultyFile(self.cat_file(path))


class _FaultyFile(io.BytesIO):
    """Bytes that cannot be read, or of which only the second half can: a footer without pages."""

    def read(self, size: int | None = -1, /) -> bytes:
        Faulty.fail("read")
        if self.tell() < len(self.getbuffer()) // 2:
            Faulty.fail("read first half")
        return super().read(size)


@pytest.fixture(scope="module")
def faulty() -> Iterator[None]:
    fsspec.register_implementation("gpuseg-faulty", Faulty, clobber=True)
    Faulty.operation = ""
    fs = Faulty()
    lines = pa.table({
        "who": np.arange(60) % 20, "paid": np.arange(60.0), "at": ["2025-01-01"] * 60,
    })  # fmt: skip
    for name, table in {"in": customers(600), "lines": lines, "ages": lines.slice(0, 20)}.items():
        with fs.open(f"/{name}.parquet", "wb") as file:
            pq.write_table(table, file)
        with fs.open(f"/{name}.csv", "wb") as file:
            pyarrow.csv.write_csv(table, file)
    yield
    Faulty.store.clear()


def read_input(suffix: str, folder: Path) -> None:
    data = open_dataset(Storage.from_url("gpuseg-faulty://in.parquet", {}, "input_path"))
    (plan,) = data.plan_shards(1, drop_missing=False)
    load_shard(plan, TaskContext())


def read_lines(suffix: str, folder: Path) -> None:
    path = f"gpuseg-faulty://lines{suffix}"
    gpuseg.features.from_transactions(path, customer="who", time="at", amount="paid")


def read_join(suffix: str, folder: Path) -> None:
    pq.write_table(
        pa.table({"who": [1, 2], "paid": [1.0, 2.0], "at": ["2025-01-01"] * 2}),
        folder / "lines.parquet",
    )
    roles = {"customer": "who", "time": "at", "amount": "paid"}
    gpuseg.run(
        {
            "transactions": {"path": str(folder / "lines.parquet"), **roles},
            "join": [{"path": f"gpuseg-faulty://ages{suffix}", "id": "who", "columns": ["paid"]}],
            "output": {"path": str(folder / "out")},
        }
    )


BOUNDARIES: dict[str, tuple[Callable[[str, Path], None], str]] = {
    "input": (read_input, ".parquet"),
    "lines": (read_lines, ".parquet"),
    "lines of CSV": (read_lines, ".csv"),
    "join": (read_join, ".parquet"),
    "join of CSV": (read_join, ".csv"),
}


@pytest.mark.usefixtures("faulty")
@pytest.mark.parametrize(
    ("boundary", "operation"),
    in_turn(BOUNDARIES, ["find", "info", "open", "read", "read first half"], step=2),
)
def test_each_class_at_each_boundary(tmp_path: Path, boundary: str, operation: str) -> None:
    read, suffix = BOUNDARIES[boundary]
    for name, (error, _) in ERRORS.items():
        Faulty.operation, Faulty.error = operation, error
        try:
            with pytest.raises(GpusegError):
                read(suffix, tmp_path)
        except type(error) as other:
            raise AssertionError(f"{name} reached the user") from other
        finally:
            Faulty.operation = ""


def test_a_remote_file_that_is_no_parquet_file_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no Parquet file" * 10)
    folder = DirFileSystem(str(tmp_path), fsspec.filesystem("file"))
    storage = Storage("dir://", folder, "")
    opened: list[Any] = []
    open_file = storage.fs.open

    def open_and_keep(*arguments: Any) -> Any:
        opened.append(open_file(*arguments))
        return opened[-1]

    monkeypatch.setattr(storage.fs, "open", open_and_keep)
    with raises("file.not_parquet"):
        storage.open_parquet("a.parquet")
    assert opened and all(file.closed for file in opened)
