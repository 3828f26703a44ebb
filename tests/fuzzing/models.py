"""Fuzzer of saved models: valid folders, changed as bytes, as JSON, in headers and by links.

A case loads a model and predicts some rows with it. It may end with a `DataError` only, and no file
outside the folder may be opened.
"""

from __future__ import annotations

import json
import os
import random
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import gpuseg
from fuzzing.limited_memory import limited_memory
from fuzzing.mutations import mutated_bytes, mutated_tree
from gpuseg.errors import DataError, GpusegError

ROWS = 600

NUMBERS, MIXED = ["spend", "orders"], ["spend", "orders", "channel", "tier"]

PREPARED = {"missing": "mean", "clip": [0.01, 0.99], "transform": "yeo-johnson"}
ENCODED = {
    "missing": "median", "missing_indicator": True,
    "categorical": {"channel": "onehot", "tier": ["low", "mid", "high"]},
}  # fmt: skip

JOBS: dict[str, tuple[list[str], dict[str, Any], dict[str, Any]]] = {
    "kmeans": (NUMBERS, {"missing": "zero"}, {"n_clusters": 3}),
    "prepared": (NUMBERS, PREPARED, {"n_clusters": 3}),
    "encoded": (MIXED, ENCODED, {"n_clusters": 4}),
    "frequency": (
        MIXED, {"missing": "zero", "categorical": {"channel": "frequency", "tier": "onehot"},
                "max_categories": 2, "pca": 3}, {"n_clusters": 2},
    ),
    "vector": (
        ["vector", "orders"], {"missing": "mean", "missing_indicator": True}, {"n_clusters": 3},
    ),
    "far": (["spend", "since"], {"missing": "median"}, {"n_clusters": 3}),
    "cosine": (NUMBERS, {"missing": "mean"}, {"n_clusters": 3, "metric": "cosine"}),
    "dbscan": (NUMBERS, {"missing": "mean"}, {"algorithm": "dbscan", "eps": 0.2}),
    "manhattan": (
        NUMBERS, {"missing": "mean"}, {"algorithm": "dbscan", "eps": 0.3, "metric": "manhattan"},
    ),
    "hierarchical": (
        NUMBERS, {"missing": "mean"},
        {"algorithm": "hierarchical", "levels": [2, 4], "micro_segments": 20},
    ),
}  # fmt: skip
"""Features, `[prepare]` and `[segment]` of each model."""

CANARY = "canary"
"""Part of the paths of all files outside the folder of a case."""

LONG_HEADER = 2**40

Change = Callable[[random.Random, Path], None]


def fuzzer() -> ModelFuzzer:
    """Make the fuzzer."""
    return ModelFuzzer()


class ModelFuzzer:
    """Tries changed folders of models."""

    seconds = 20.0

    def __init__(self) -> None:
        self._models: dict[str, dict[str, bytes]] = {}
        self._rows: dict[str, pa.Table] = {}

    def prepare(self, folder: Path) -> None:
        """Fit a model of each kind, and plant files that no case may open."""
        table = customers()
        source = folder / CANARY / "in.parquet"
        source.parent.mkdir()
        pq.write_table(table, source)
        for name, (features, prepare, segment) in JOBS.items():
            output = folder / CANARY / name
            gpuseg.run({
                "input": {"path": str(source), "id": "customer", "features": features},
                "prepare": prepare, "segment": segment, "output": {"path": str(output)},
            })  # fmt: skip
            files = {path.name: path.read_bytes() for path in (output / "_model").iterdir()}
            self._models[name], self._rows[name] = files, table.select(features).slice(0, 40)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                gpuseg.load_model(output).predict(self._rows[name], n_threads=1)
        self._canaries = folder / CANARY
        _install_hook()

    def try_case(self, draw: random.Random, folder: Path) -> None:
        """Change a model, load it, and predict."""
        name = draw.choice(list(self._models))
        for file, content in self._models[name].items():
            (folder / file).write_bytes(content)
        for _ in range(draw.choice((1, 1, 1, 2))):
            change, weight = zip(*self._changes().items(), strict=True)
            draw.choices(change, weight)[0](draw, folder)
        opened: list[str] = []
        options = {"return_distance": draw.random() < 0.5, "backend": draw.choice(BACKENDS)}
        try:
            with limited_memory(), _watched_files(opened), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = gpuseg.load_model(folder)
                result = model.predict(self._rows[name], n_threads=1, **options)
                _check_result(result, model, len(self._rows[name]))
        except DataError:
            pass
        except GpusegError as error:
            raise AssertionError(f"{type(error).__name__}: {error}") from error
        assert not opened, f"opened outside: {opened[:3]}"

    def _changes(self) -> dict[Change, int]:
        return {**CHANGES, self._replace_by_link: 1}

    def _replace_by_link(self, draw: random.Random, folder: Path) -> None:
        path = draw.choice(_files(folder))
        path.unlink()
        other = self._canaries / draw.choice(list(JOBS)) / "_model" / path.name
        path.symlink_to(draw.choice((other, Path("/dev/zero"), Path(path.name), Path("nowhere"))))


_watchers: list[list[str]] = []
"""Lists to which files outside the folder of a case are added when they are opened."""


@cache
def _install_hook() -> None:
    """Watch which files are opened; a hook stays for ever, so there is one, idle between cases."""
    sys.addaudithook(_watch)


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _watchers:
        path = os.fsdecode(arguments[0]) if not isinstance(arguments[0], int) else ""
        if CANARY in path or path.startswith(("/dev/zero", "/etc/passwd")):
            _watchers[-1].append(path)


@contextmanager
def _watched_files(opened: list[str]) -> Iterator[None]:
    _watchers.append(opened)
    try:
        yield
    finally:
        _watchers.pop()


BACKENDS = ("numpy", "numba", "numba")


def customers() -> pa.Table:
    """Return customers with missing values and categories."""
    rng = np.random.default_rng(0)
    place = rng.integers(4, size=ROWS)
    gaps = rng.random(ROWS) < 0.05
    return pa.table({
        "customer": np.arange(ROWS),
        "spend": pa.array(place * 5.0 + rng.normal(size=ROWS), mask=gaps),
        "orders": (place % 2) * 7.0 + rng.exponential(size=ROWS),
        "since": 1e10 + place * 5.0,
        "channel": np.array(["web", "shop", "app", "mail"])[place],
        "tier": np.array(["low", "mid", "high"])[rng.integers(3, size=ROWS)],
        "vector": pa.array(list(rng.normal([1e10, 0.0], 1.0, (ROWS, 2))), mask=gaps),
    })  # fmt: skip


def change_description(draw: random.Random, folder: Path) -> None:
    """Change one place of model.json."""
    path = folder / "model.json"
    if is_small_file(path):
        _rewrite(path, lambda tree: mutated_tree(draw, tree))


def change_key(draw: random.Random, folder: Path) -> None:
    """Change the value of one key of model.json; each is as likely as another."""
    path = folder / "model.json"

    def changed(tree: Any) -> Any:
        if not tree or not isinstance(tree, dict):
            return tree
        key = draw.choice(sorted(tree))
        return {**tree, key: mutated_tree(draw, tree[key])}

    if is_small_file(path):
        _rewrite(path, changed)


def change_bytes(draw: random.Random, folder: Path) -> None:
    """Change the bytes of a file."""
    path = draw.choice(_files(folder))
    if is_small_file(path):
        path.write_bytes(mutated_bytes(draw, path.read_bytes()))


def change_header(draw: random.Random, folder: Path) -> None:
    """Change the header of the arrays, or its length."""
    path = folder / "model.safetensors"
    if not is_small_file(path):
        return
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0] if len(content) > 8 else 0
    try:
        header = mutated_tree(draw, json.loads(content[8 : 8 + length]))
    except ValueError:
        return
    text = json.dumps(header, ensure_ascii=draw.random() < 0.8).encode("utf-8", "surrogatepass")
    length_written = draw.choice([len(text)] * 8 + [0, len(text) - 1, len(text) + 1, LONG_HEADER])
    path.write_bytes(struct.pack("<Q", max(length_written, 0)) + text + content[8 + length :])


def change_values(draw: random.Random, folder: Path) -> None:
    """Change the values of the arrays, and keep their header."""
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes()) if is_small_file(path) else bytearray()
    start = 8 + struct.unpack("<Q", content[:8])[0] if len(content) > 8 else len(content)
    for _ in range(draw.randint(1, 6)):
        if len(content) - start >= 8:
            at = start + draw.randrange((len(content) - start) // 4 - 1) * 4
            value = draw.choice((0.0, -1.0, 1e308, -1e308, 5e-324, float("nan"), float("inf"), 7.0))
            kind = draw.choice(("<d", "<f")) if abs(value) < 1e38 else "<d"
            packed = struct.pack(kind, value)
            content[at : at + len(packed)] = packed
    if is_small_file(path):
        path.write_bytes(content)


def change_core_file(draw: random.Random, folder: Path) -> None:
    """Write another table in place of core rows."""
    paths = [path for path in _files(folder) if path.suffix not in (".json", ".safetensors")]
    if not paths or not is_small_file(paths[0]):
        return
    try:
        table = pq.read_table(pa.BufferReader(paths[0].read_bytes()))
    except (pa.ArrowException, OSError):
        return
    column = draw.randrange(table.num_columns)
    name, values = table.schema.names[column], table.column(column)
    nan = pa.array([float("nan")] * len(table), pa.float32())
    other = draw.choice((
        lambda: table.slice(0, 0),
        lambda: table.drop_columns([name]),
        lambda: table.append_column("more", values),
        lambda: table.set_column(column, name, pa.nulls(len(table), values.type)),
        lambda: table.set_column(column, name, values.cast(pa.float64())),
        lambda: table.set_column(column, name, nan),
        lambda: table.set_column(column, name, pa.array([10**6] * len(table), values.type)),
        lambda: pa.concat_tables([table] * 50),
    ))()  # fmt: skip
    pq.write_table(other, paths[0])


def remove_file(draw: random.Random, folder: Path) -> None:
    """Remove a file, or put a folder in its place."""
    path = draw.choice(_files(folder))
    path.unlink()
    if draw.random() < 0.5:
        path.mkdir()


def replace_by_special_file(draw: random.Random, folder: Path) -> None:
    """Put a FIFO or a huge empty file in the place of a file."""
    path = draw.choice(_files(folder))
    if draw.random() < 0.5:
        path.unlink()
        os.mkfifo(path)
    elif is_small_file(path):
        os.truncate(path, 2**40)


def odd_json(draw: random.Random, folder: Path) -> None:
    """Write model.json in a form that not every reader accepts."""
    path = folder / "model.json"
    if not is_small_file(path):
        return
    content = path.read_bytes()
    depth = draw.choice((100, 10_000, 1_000_000))
    path.write_bytes(draw.choice((
        b"\xef\xbb\xbf" + content,
        content.decode("utf-8", "replace").encode("utf-16"),
        content.replace(b"2", b"9" * draw.choice((30, 400, 6000)), 1),
        content.replace(b"{", b'{"format": 2, "format": 3,', 1),
        content.replace(b"[", b"[" * depth, 1).replace(b"]", b"]" * depth, 1),
        content.replace(b"0.", b"1e999, 0."),
        content.replace(b"false", b"NaN"),
        content.replace(b"spend", b"\\ud800"),
        content.replace(b"spend", b"\xff"),
        content + content,
        b"[" * depth,
        b'{"a":' * depth,
    )))  # fmt: skip


CHANGES: dict[Change, int] = {
    change_description: 8, change_key: 4, change_bytes: 3,
    change_header: 3, change_values: 4, change_core_file: 2, remove_file: 1,
    replace_by_special_file: 1, odd_json: 2,
}  # fmt: skip
"""Changes of a folder with a model, each with how often it is drawn."""


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.is_dir()) or [folder / "none"]


def is_small_file(path: Path) -> bool:
    """Whether a file is regular, and not one that another change has made huge."""
    return path.is_file() and path.stat().st_size < 2**24


def _rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    try:
        tree = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return
    text = json.dumps(change(tree), ensure_ascii=False)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))


def _check_result(result: Any, model: Any, n_rows: int) -> None:
    labels = result[0] if isinstance(result, tuple) else result
    assert labels.shape == (n_rows,)
    assert ((labels >= -1) & (labels < model.n_clusters)).all(), "a segment that does not exist"
