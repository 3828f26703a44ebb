"""Columns of the files: their types, and the checks of the role that each one has."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gpuseg.arrow import has_known_zone
from gpuseg.errors import DataError, set_key
from gpuseg.io.parquet.data_file import DataFile
from gpuseg.io.parquet.unify_files import ColumnUses, unify
from gpuseg.io.privacy.column_hints import missing_column_hint
from gpuseg.io.privacy.pseudonyms import Key
from gpuseg.io.storage import Storage
from gpuseg.preprocessing.encoding.vectors import is_vector

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""The value of a partition column for rows without a value."""

_DIFFER = "input.schemas_differ"


def with_partition_types(files: Sequence[DataFile], text_columns: Collection[str]) -> None:
    """Give each partition column one type for all files: int64, float64 or string.

    Values of `text_columns` are ids or categories: they are text, unless each is an integer that is
    written in the shortest way. So 007 stays 007.
    """
    names = dict.fromkeys(name for file in files for name in file.constants)
    for name in names:
        if any(isinstance(file.constants.get(name), pa.Scalar) for file in files):
            continue  # a table has types of its own
        texts = [file.constants.get(name, NO_VALUE) for file in files]
        known = [text for text in texts if text != NO_VALUE]
        kind, convert = (_key_type if name in text_columns else _partition_type)(known)
        for file, text in zip(files, texts, strict=True):
            if name in file.constants:
                value = None if text == NO_VALUE else convert(text)
                file.constants[name] = pa.scalar(value, kind)


def _key_type(texts: list[str]) -> tuple[pa.DataType, Callable[[str], Any]]:
    if all(re.fullmatch(r"0|-?[1-9]\d{0,17}", text, re.ASCII) for text in texts):
        return pa.int64(), int
    return pa.string(), str


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
    files: Sequence[DataFile],
    features: Sequence[str] | None,
    others: Sequence[str],
    categories: Sequence[str],
    index: Collection[str],
) -> SelectedFeatures:
    """Return the columns from which features are made: the named ones and the categories.

    If none are named, they are all columns that are numeric in a file, except `others` and `index`,
    or where there are none, all columns of vectors: beside ten numbers, an embedding would decide
    alone.
    """
    if features is not None:
        return SelectedFeatures(tuple(dict.fromkeys([*features, *categories])))
    columns = [
        column
        for file in one_of_each_schema(files)
        for column in file.schema
        if column.name not in others
    ]
    numeric = dict.fromkeys(column.name for column in columns if is_numeric(column.type))
    left_out = tuple(name for name in numeric if name in index and name not in categories)
    vectors = tuple(dict.fromkeys(column.name for column in columns if is_vector(column.type)))
    chosen = [name for name in numeric if name not in left_out]
    if not chosen and not categories:
        chosen, vectors = list(vectors), ()
    names = tuple(dict.fromkeys([*chosen, *categories]))
    if not names:
        raise _none_numeric()
    return SelectedFeatures(names, left_out, vectors)


def features_of_types(
    names: Sequence[str], types: Mapping[str, pa.DataType], categories: Collection[str]
) -> tuple[str, ...]:
    """Return those default features that are numbers or vectors in all files, and the categories.

    Raises
    ------
    DataError
        If there is none.
    """
    kept = tuple(
        name
        for name in names
        if name in categories or is_numeric(types[name]) or is_vector(types[name])
    )
    if not kept:
        raise _none_numeric()
    return kept


def _none_numeric() -> DataError:
    return DataError(
        "features.none_numeric",
        "no numeric column except id, weight and index",
        hint="name the columns in `features`",
        parameter="features",
    )


def one_of_each_schema(files: Sequence[DataFile]) -> list[DataFile]:
    """Return the first file of each schema; files that are partitioned otherwise differ too."""
    groups: list[DataFile] = []
    for file in files:
        if not any(
            file.constants.keys() == group.constants.keys() and file.schema.equals(group.schema)
            for group in groups
        ):
            groups.append(file)
    return groups


def unify_columns(
    storage: Storage,
    files: Sequence[DataFile],
    used: Sequence[str],
    keys: Collection[str],
    hidden: str | None,
) -> dict[str, pa.DataType]:
    """Return the type of each used column that is stored; set the conversions of the files.

    Parameters
    ----------
    keys : collection of str
        Columns whose values are compared with each other: ids and categories.
    hidden : str or None
        A column whose values no message may have.

    Raises
    ------
    DataError
        For a column that some files do not have, and types that cannot be unified.
    """
    first = files[0]
    for other in one_of_each_schema(files)[1:]:
        for name in used:
            if _presence(first, name) != _presence(other, name):
                words = [_presence(file, name) or str(file.types[name]) for file in (first, other)]
                a, b = (storage.relative(file.path) for file in (first, other))
                raise DataError(
                    _DIFFER,
                    f"files have different schemas: column '{name}' is {words[0]} in {a}, but "
                    f"{words[1]} in {b}",
                    hint="write them with one schema, or name only columns that agree in "
                    "`features`",
                )
    stored = {name: name in keys for name in used if name not in first.constants}
    types, conversions = unify(storage, files, ColumnUses(stored, _DIFFER, {}, hidden))
    for file, changes in zip(files, conversions, strict=True):
        file.conversions.update(changes)
    return types


def _presence(file: DataFile, name: str) -> str:
    """Return in words why a column is not stored; empty if it is."""
    if name in file.constants:
        return "a partition column"
    return "" if name in file.types else "absent"


def check_columns(
    storage: Storage,
    files: Sequence[DataFile],
    features: Sequence[str],
    id: str | None,
    weight: str | None,
    categories: Sequence[str] = (),
    audited: Sequence[str] = (),
    *,
    id_key: Key | None = None,
) -> None:
    """Refuse columns that no file has."""
    columns = dict.fromkeys(
        name for file in one_of_each_schema(files) for name in (*file.types, *file.constants)
    )
    file = storage.relative(files[0].path)
    for parameter, name in [
        ("id", id),
        ("weight", weight),
        *(("features", f) for f in features if f not in categories),
        *(("categorical", f) for f in categories),
        *(("audit_columns", f) for f in audited),
    ]:
        if name is not None and name not in columns:
            raise DataError(
                f"{parameter}.missing_column",
                f"no column '{name}' in {file}",
                hint=missing_column_hint(name, [*columns], file, id_key),
                parameter=parameter,
            )


def check_types(
    storage: Storage,
    files: Sequence[DataFile],
    types: Mapping[str, pa.DataType],
    features: Sequence[str],
    id: str | None,
    weight: str | None,
    categories: Collection[str] = (),
    audited: Collection[str] = (),
) -> None:
    """Refuse columns whose type in all files does not suit them."""
    for parameter, rule, names in (
        ("id", "an id must be a number, a string, bytes or a date", [id] if id else []),
        ("categorical", "categories must be text, whole numbers or booleans", categories),
        ("audit_columns", "groups must be text, whole numbers or booleans", audited),
    ):
        for name in names:
            if name in types and _is_nested(types[name]):
                raise DataError(
                    f"{parameter}.nested",
                    f"column of type {types[name]} in {_file_with(storage, files, name, types)}",
                    value=name,
                    rule=rule,
                    parameter=parameter,
                )
    if id is not None and id in types:
        schema = pa.schema([(id, types[id])])
        refuse_unknown_zones(schema, [id], _file_with(storage, files, id, types))
    numbers = [("features", name) for name in features if name not in categories]
    for parameter, name in [*numbers, *([("weight", weight)] if weight is not None else [])]:
        if name not in types:
            _check_partition_values(storage, files, parameter, name)
            continue
        kind = types[name]
        if parameter == "features" and is_vector(kind):
            continue
        if not (is_numeric(kind) or pa.types.is_boolean(kind)):
            raise DataError(
                f"{parameter}.not_numeric",
                f"column '{name}' of type {kind} in {_file_with(storage, files, name, types)} is "
                "not numeric",
                hint=_hint_of_type(parameter, name, kind, bool(categories)),
                parameter=parameter,
            )


def _hint_of_type(parameter: str, name: str, kind: pa.DataType, has_categories: bool) -> str:
    """Return the next step for a column that is not numeric."""
    if pa.types.is_null(kind):
        return "the column has no value in any row; name another one, or leave it out"
    if parameter == "weight":
        return "name another column, or write its numbers as numbers"
    if pa.types.is_temporal(kind):
        return "convert it to a number, such as days since a date, or leave it out"
    if has_categories or pa.types.is_nested(kind):
        encode = "name it in `categorical`"
    else:
        encode = set_key("categorical", {name: "onehot"})
    return (
        f"if it has categories, {encode}; if its numbers are text, such as with a decimal comma, "
        "write them as numbers; or leave it out"
    )


def _file_with(
    storage: Storage, files: Sequence[DataFile], name: str, types: Mapping[str, pa.DataType]
) -> str:
    """Return the first file whose column has the type of all files, for messages."""
    having = (file for file in files if file.types[name] == types[name])
    return storage.relative(next(having, files[0]).path)


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
