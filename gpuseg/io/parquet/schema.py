"""Columns of the files: their types, and the checks of the role that each one has."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gpuseg.arrow import has_known_zone
from gpuseg.errors import DataError
from gpuseg.io.parquet.data_file import DataFile
from gpuseg.io.storage import Storage
from gpuseg.preprocessing.encoding.vectors import is_vector
from gpuseg.validation import nearest_known

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def with_partition_types(files: list[DataFile]) -> list[DataFile]:
    """Give each partition column one type for all files: int64, float64 or string."""
    names = dict.fromkeys(name for file in files for name in file.constants)
    for name in names:
        if any(isinstance(file.constants.get(name), pa.Scalar) for file in files):
            continue  # a table has types of its own
        texts = [file.constants.get(name, _NO_VALUE) for file in files]
        kind, convert = _partition_type([text for text in texts if text != _NO_VALUE])
        for file, text in zip(files, texts, strict=True):
            if name in file.constants:
                value = None if text == _NO_VALUE else convert(text)
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


@dataclass(frozen=True)
class SelectedFeatures:
    """Columns from which features are made.

    Attributes
    ----------
    names : tuple of str
    index : tuple of str
        Numeric columns that are left out only because they are the index of a frame.
    vectors : tuple of str
        Columns of vectors that are left out because there are numbers.
    """

    names: tuple[str, ...]
    index: tuple[str, ...] = ()
    vectors: tuple[str, ...] = ()


def select_features(
    file: DataFile,
    features: Sequence[str] | None,
    others: Sequence[str],
    categories: Sequence[str],
    index: Collection[str],
) -> SelectedFeatures:
    """Return the columns from which features are made: the named ones and the categories.

    If none are named, they are all numeric columns except `others` and `index`, or where there are
    none, all columns of vectors: beside ten numbers, an embedding would decide alone.
    """
    if features is not None:
        return SelectedFeatures(tuple(dict.fromkeys([*features, *categories])))
    numeric = [
        column.name
        for column in file.schema
        if is_numeric(column.type) and column.name not in others
    ]
    left_out = tuple(name for name in numeric if name in index and name not in categories)
    vectors = tuple(
        column.name
        for column in file.schema
        if is_vector(column.type) and column.name not in others
    )
    chosen = [name for name in numeric if name not in left_out]
    if not chosen and not categories:
        chosen, vectors = list(vectors), ()
    names = tuple(dict.fromkeys([*chosen, *categories]))
    if not names:
        raise DataError(
            "features.none_numeric",
            "no numeric column except id, weight and index",
            hint="name the columns in `features`",
            parameter="features",
        )
    return SelectedFeatures(names, left_out, vectors)


def check_same(
    storage: Storage,
    first: DataFile,
    other: DataFile,
    used: Sequence[str],
    index: Collection[str] | None,
) -> None:
    """Refuse files that differ in a used column.

    `index` is None where the features are named. Otherwise files must agree in all columns except
    those of `index` that are not used.
    """
    names = list(used)
    if index is not None:
        names += [name for name in first.schema.names + other.schema.names if name not in index]
        names = list(dict.fromkeys(names))
    for name in names:
        if _type_of(first, name) != _type_of(other, name):
            types = [_type_in_words(file, name) for file in (first, other)]
            a, b = (storage.relative(file.path) for file in (first, other))
            raise DataError(
                "input.schemas_differ",
                f"files have different schemas: column '{name}' is {types[0]} in {a}, but "
                f"{types[1]} in {b}",
                hint="write them with one schema, or name only columns that agree in `features`",
            )


def _type_of(file: DataFile, name: str) -> pa.DataType | str:
    if name in file.constants:
        return "a partition column"
    return file.types.get(name, "absent")


def _type_in_words(file: DataFile, name: str) -> str:
    return str(_type_of(file, name))


def check_columns(
    storage: Storage,
    files: Sequence[DataFile],
    features: Sequence[str],
    id: str | None,
    weight: str | None,
    categories: Sequence[str] = (),
    audited: Sequence[str] = (),
) -> None:
    """Refuse columns that are missing or have an unsuitable type."""
    file = files[0]
    path, columns = storage.relative(file.path), dict.fromkeys([*file.types, *file.constants])
    numeric = [f for f in features if f not in categories]
    for parameter, name in [
        ("id", id),
        ("weight", weight),
        *(("features", f) for f in numeric),
        *(("categorical", f) for f in categories),
        *(("audit_columns", f) for f in audited),
    ]:
        if name is not None and name not in columns:
            raise DataError(
                f"{parameter}.missing_column",
                f"no column '{name}' in {path}",
                hint=nearest_known(name, columns),
                parameter=parameter,
            )
    for parameter, rule, names in (
        ("id", "an id must be a number, a string, bytes or a date", [id]),
        ("categorical", "categories must be text, whole numbers or booleans", categories),
        ("audit_columns", "groups must be text, whole numbers or booleans", audited),
    ):
        for name in names:
            if name in file.types and _is_nested(file.types[name]):
                raise DataError(
                    f"{parameter}.nested",
                    f"column of type {file.types[name]} in {path}",
                    value=name,
                    rule=rule,
                    parameter=parameter,
                )
    if id is not None and id in file.schema.names:
        refuse_unknown_zones(file.schema, [id], path)
    for parameter, name in [*(("features", f) for f in numeric), ("weight", weight)]:
        if name is None:
            continue
        if name in file.constants:
            _check_partition_values(storage, files, parameter, name)
            continue
        kind = file.types[name]
        if parameter == "features" and is_vector(kind):
            continue
        if not (is_numeric(kind) or pa.types.is_boolean(kind)):
            raise DataError(
                f"{parameter}.not_numeric",
                f"column '{name}' of type {kind} in {path} is not numeric",
                hint="leave it out or convert it to a number",
                parameter=parameter,
            )


def _check_partition_values(
    storage: Storage, files: Sequence[DataFile], parameter: str, name: str
) -> None:
    for file in files:
        value = file.constants[name]
        if pa.types.is_string(value.type) and not _is_number(value.as_py()):
            raise DataError(
                f"{parameter}.partition_not_numeric",
                f"column '{name}': the partition value {value.as_py()!r} of "
                f"{storage.relative(file.path)} is not a number",
                hint="leave the column out",
                parameter=parameter,
            )


def _is_nested(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(getattr(kind, "storage_type", kind)))


def refuse_unknown_zones(schema: pa.Schema, names: Sequence[str], path: str) -> None:
    """Refuse columns of times in a time zone that does not exist.

    Raises
    ------
    DataError
    """
    for name in names:
        kind = schema.field(name).type
        if not has_known_zone(kind):
            raise DataError(
                "column.unknown_time_zone",
                f"column '{name}' of type {kind} in {path}: this machine does not know the time "
                "zone",
                hint="write the times in UTC or without a time zone, or install the time zones "
                "(package tzdata)",
            )


def is_numeric(kind: pa.DataType) -> bool:
    """Return whether a column of this type is a feature by default."""
    t = pa.types
    return bool(t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind))
