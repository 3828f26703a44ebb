"""How the ids of two outputs are compared, by their types."""

from typing import Any

import numpy as np
import pyarrow as pa

from gpuseg.errors import DataError
from gpuseg.lineage.byte_keys import ByteKeys
from gpuseg.lineage.integer_keys import IntegerKeys

Keys = Any
"""Keys of ids: an array of NumPy, or a column of Arrow."""

IdKeys = IntegerKeys | ByteKeys

_WIDEST = 64


def keys_of_types(older: pa.DataType, newer: pa.DataType, bytes_per_id: int = 0) -> IdKeys:
    """Return how ids of two types are compared.

    Integers of any width are compared as numbers, text of any type by its bytes in UTF-8, and
    bytes as they are. Ids of another type, such as dates, must have one type, and are compared as
    text.

    Raises
    ------
    DataError
        If the types have no id in common.
    """
    a, b = _plain(older), _plain(newer)
    if pa.types.is_integer(a) and pa.types.is_integer(b):
        return IntegerKeys(_wider(a, b))
    if a == b or (_is_text(a) and _is_text(b)) or (_is_bytes(a) and _is_bytes(b)):
        # An extension type, such as that of a UUID, stays what it is.
        is_extension = isinstance(newer, pa.BaseExtensionType)
        return ByteKeys(newer if is_extension else b, bytes_per_id)
    raise DataError(
        "migration.id_types",
        f"the ids are {older} in the older output and {newer} in the new one, so that no customer "
        "could be compared",
        hint=f"write the ids of the input as {older}",
        parameter="id",
    )


def _wider(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    if a == b:
        return a
    kind = np.promote_types(str(a), str(b))  # the names of integers are those of NumPy
    return pa.int64() if kind.kind == "f" else pa.from_numpy_dtype(kind)


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values of a column, without dictionaries, views and extensions."""
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.string()
    return pa.binary() if pa.types.is_binary_view(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    t = pa.types
    return bool(t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind))
