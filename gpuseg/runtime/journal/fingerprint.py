"""Fingerprints of calls: the same for the same call in each attempt of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import PurePath
from types import FunctionType, MethodType
from typing import Any

import numpy as np

from gpuseg.runtime.varies_by_run import VariesByRun, WritesFiles

_DIGEST_BYTES = 16
_MAX_DEPTH = 40


def name_of(function: Callable[..., Any]) -> str:
    """Return the qualified name of a function, that of a partial one included."""
    while isinstance(function, partial):
        function = function.func
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    return f"{module}.{name}" if name else _type_name(function)


class CallFingerprint:
    """The fingerprint of values that are added one after the other.

    Numbers, texts, arrays, sequences, mappings, sets, dataclasses and functions count by their
    content, all others by their type.

    Parameters
    ----------
    placeholders : mapping of str to str
        Texts, such as paths of temporary folders, and what stands for them.

    Attributes
    ----------
    writes_files : bool
        Whether a value tells where files are to be written.
    """

    def __init__(self, placeholders: Mapping[str, str]) -> None:
        self._placeholders = placeholders
        self._digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        self.writes_files = False

    def add(self, value: Any) -> CallFingerprint:
        """Add a value."""
        self._add(value, 0)
        return self

    def digest(self) -> bytes:
        """Return the fingerprint of all that was added."""
        return self._digest.digest()

    def _add(self, value: Any, depth: int) -> None:
        self.writes_files |= isinstance(value, WritesFiles)
        if value is None or isinstance(value, bool | np.generic):
            self._put("value", repr(value))
        elif isinstance(value, VariesByRun) or depth > _MAX_DEPTH:
            self._put("type", _type_name(value))
        elif isinstance(value, Enum):
            self._put("enum", f"{_type_name(value)}.{value.name}")
        elif isinstance(value, int | float | complex | date | time | timedelta | Decimal):
            self._put("value", repr(value))
        elif isinstance(value, str | PurePath):
            self._put("text", self._replaced(str(value)))
        elif isinstance(value, bytes | bytearray):
            self._put_bytes("bytes", value)
        elif isinstance(value, np.ndarray):
            self._add_array(value, depth)
        elif isinstance(value, Sequence):
            self._put("sequence", str(len(value)))
            for item in value:
                self._add(item, depth + 1)
        elif isinstance(value, Mapping):
            self._add_unordered("mapping", value.items(), depth)
        elif isinstance(value, Set):
            self._add_unordered("set", value, depth)
        else:
            self._add_object(value, depth)

    def _add_array(self, array: Any, depth: int) -> None:
        if array.dtype.hasobject:
            self._put("array", str(array.shape))
            self._add(array.tolist(), depth + 1)
        else:
            self._put_bytes(f"array {array.dtype.str} {array.shape}", np.ascontiguousarray(array))

    def _add_unordered(self, kind: str, items: Any, depth: int) -> None:
        digests = []
        for item in items:
            one = CallFingerprint(self._placeholders)
            one._add(item, depth + 1)
            self.writes_files |= one.writes_files
            digests.append(one.digest())
        self._put_bytes(kind, b"".join(sorted(digests)))

    def _add_object(self, value: Any, depth: int) -> None:
        if isinstance(value, partial):
            self._put("partial", name_of(value))
            self._add((value.func, value.args, value.keywords), depth + 1)
        elif isinstance(value, MethodType):
            self._put("method", name_of(value))
            self._add(value.__self__, depth + 1)
        elif isinstance(value, FunctionType):
            self._put("function", name_of(value))
            for cell in value.__closure__ or ():
                self._add(cell.cell_contents, depth + 1)
        elif is_dataclass(value) and not isinstance(value, type):
            self._put("record", _type_name(value))
            for each in fields(value):
                if each.compare:
                    self._add(getattr(value, each.name), depth + 1)
        elif hasattr(type(value), "model_fields"):  # of pydantic
            self._put("record", _type_name(value))
            self._add(vars(value), depth + 1)
        else:
            self._put("type", name_of(value) if isinstance(value, type) else _type_name(value))

    def _replaced(self, text: str) -> str:
        for part, placeholder in self._placeholders.items():
            text = text.replace(part, placeholder)
        return text

    def _put(self, kind: str, text: str) -> None:
        self._put_bytes(kind, text.encode(errors="surrogatepass"))

    def _put_bytes(self, kind: str, content: Any) -> None:
        view = memoryview(content).cast("B") if len(content) else b""
        self._digest.update(f"{kind} {len(view)}:".encode())
        self._digest.update(view)


def _type_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
