"""Which columns the files have, of what types, and which of them serve as what."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from gpuseg.errors import DataError
from gpuseg.io.parquet.data_file import DataFile
from gpuseg.io.storage import Storage
from gpuseg.validation import nearest_known

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def typed(files: list[DataFile]) -> list[DataFile]:
    """Give each partition column one type for all files: int64, float64 or string."""
    names = dict.fromkeys(name for file in files for name in file.constants)
    for name in names:
        texts = [file.constants.get(name, _NO_VALUE) for file in files]
        kind, read = _partition_type([text for text in texts if text != _NO_VALUE])
        for file, text in zip(files, texts, strict=True):
            if name in file.constants:
                value = None if text == _NO_VALUE else read(text)
                file.constants[name] = pa.scalar(value, kind)
    return files


def _partition_type(texts: list[str]) -> tuple[pa.DataType, Callable[[str], Any]]:
    if all(re.fullmatch(r"[+-]?\d{1,18}", text) for text in texts):
        return pa.int64(), int
    if all(map(_is_number, texts)):
        return pa.float64(), float
    return pa.string(), str


def _is_number(text: str | None) -> bool:
    return text is None or bool(re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text))


def settle_features(
    file: DataFile,
    features: Sequence[str] | None,
    others: Sequence[str | None],
    categories: Sequence[str],
) -> tuple[str, ...]:
    """Return the columns that features are made of: those named, and those of categories.

    Where none are named, all numbers but `others`.
    """
    if features is not None:
        return tuple(dict.fromkeys([*features, *categories]))
    numeric = [
        column.name
        for column in file.schema
        if is_numeric(column.type) and column.name not in others
    ]
    names = tuple(dict.fromkeys([*numeric, *categories]))
    if not names:
        raise DataError(
            "no numeric column besides id and weight; name the columns in input.features"
        )
    return names


def check_same(
    storage: Storage, first: DataFile, other: DataFile, used: Sequence[str] | None
) -> None:
    """Refuse files that differ in a used column; `used` None means in any column."""
    names = (
        used if used is not None else list(dict.fromkeys(first.schema.names + other.schema.names))
    )
    for name in names:
        types = [_type_of(file, name) for file in (first, other)]
        if types[0] != types[1]:
            a, b = (storage.relative(file.path) for file in (first, other))
            raise DataError(
                f"files with different schemas: column '{name}' is {types[0]} in {a}, but "
                f"{types[1]} in {b}; write them with one schema, or name in input.features "
                "columns that agree"
            )


def _type_of(file: DataFile, name: str) -> str:
    if name in file.constants:
        return "a partition column"
    return str(file.schema.field(name).type) if name in file.schema.names else "absent"


def check_columns(
    storage: Storage,
    files: Sequence[DataFile],
    features: Sequence[str],
    id: str | None,
    weight: str | None,
    categories: Sequence[str] = (),
    audited: Sequence[str] = (),
) -> None:
    """Refuse columns that are absent or of a type that does not serve."""
    file = files[0]
    where, known = storage.relative(file.path), [*file.schema.names, *file.constants]
    own = [f for f in features if f not in categories]
    numbers = [*(("feature", f) for f in own), *([("input.weight", weight)] if weight else [])]
    for key, name in [
        ("input.id", id),
        ("input.weight", weight),
        *(("input.features", f) for f in own),
        *(("prepare.categorical", f) for f in categories),
        *(("audit.columns", f) for f in audited),
    ]:
        if name is not None and name not in known:
            raise DataError(f"{key}: no column '{name}' in {where}; {nearest_known(name, known)}")
    if (
        id is not None
        and id in file.schema.names
        and pa.types.is_nested(file.schema.field(id).type)
    ):
        raise DataError(
            f"input.id = '{id}': column of type {file.schema.field(id).type} in {where}; an id "
            "must be a number, a string, bytes or a date"
        )
    for key, name in numbers:
        if name in file.constants:
            _check_partition_values(storage, files, key, name)
            continue
        kind = file.schema.field(name).type
        if not (is_numeric(kind) or pa.types.is_boolean(kind)):
            raise DataError(
                f"{key} '{name}': column of type {kind} in {where} is not numeric; leave it out "
                "or convert it to a number"
            )


def _check_partition_values(
    storage: Storage, files: Sequence[DataFile], key: str, name: str
) -> None:
    for file in files:
        value = file.constants[name]
        if pa.types.is_string(value.type) and not _is_number(value.as_py()):
            raise DataError(
                f"{key} '{name}': the partition value {value.as_py()!r} of "
                f"{storage.relative(file.path)} is not a number; leave it out"
            )


def is_numeric(kind: pa.DataType) -> bool:
    """Whether a column of this type can be a feature by default."""
    t = pa.types
    return bool(t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind))
