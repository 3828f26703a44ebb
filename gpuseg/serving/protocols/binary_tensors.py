"""The extension of the Open Inference Protocol for tensors as bytes behind the JSON.

A header says where the JSON ends. The tensors follow in the order of the inputs or outputs that
have ``binary_data_size``: numbers little-endian, row-major; texts each behind its length.
"""

import struct
from typing import Any

import numpy as np

from gpuseg.serving.request_errors import RequestError, malformed

LENGTH_HEADER = "inference-header-content-length"

EXTENSION = "binary_tensor_data"

_MAX_DIGITS = 20
"""Digits of a length; Python refuses to read numbers of thousands."""

_DTYPES = {
    "BOOL": "?", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
    **{f"INT{8 * n}": f"<i{n}" for n in (1, 2, 4, 8)},
    **{f"UINT{8 * n}": f"<u{n}" for n in (1, 2, 4, 8)},
}  # fmt: skip


def split_body(body: bytes, length: str) -> tuple[bytes, memoryview]:
    """Return the JSON of a body, and the bytes of its tensors; `length` is that of the JSON.

    Raises
    ------
    RequestError
    """
    if not length:
        return body, memoryview(b"")
    is_number = length.isascii() and length.isdigit() and len(length) <= _MAX_DIGITS
    if not is_number or int(length) > len(body):
        raise malformed(
            "body.wrong_form", f"the header {LENGTH_HEADER} must be a length within the body"
        )
    return body[: int(length)], memoryview(body)[int(length) :]


class TensorBytes:
    """The bytes of the tensors of a request, which are taken one after the other."""

    def __init__(self, content: memoryview) -> None:
        self._content = content

    def take(self, name: str, datatype: str, size: Any) -> list[Any]:
        """Return the values of the next tensor, which has `size` bytes.

        Raises
        ------
        RequestError
        """
        if type(size) is not int or not 0 <= size <= len(self._content):
            raise _wrong(name, f"binary_data_size {size!r} is not within the body")
        content, self._content = self._content[:size], self._content[size:]
        if datatype == "BYTES":
            return _texts(name, content)
        dtype = np.dtype(_DTYPES[datatype])
        if size % dtype.itemsize:
            raise _wrong(name, f"{size} bytes are not values of {datatype}")
        values: list[Any] = np.frombuffer(content, dtype).tolist()
        return values

    def check_end(self) -> None:
        """Refuse bytes that no tensor has taken.

        Raises
        ------
        RequestError
        """
        if self._content:
            raise malformed("body.wrong_form", "the body goes on after its last tensor")


def as_bytes(values: Any) -> bytes:
    """Return the bytes of an output, int32 or float32 (n,)."""
    return bytes(values.astype(values.dtype.newbyteorder("<")).tobytes())


def _texts(name: str, content: memoryview) -> list[str]:
    values, at = [], 0
    while at < len(content):
        if at + 4 > len(content):
            raise _wrong(name, "a text has no length")
        (length,) = struct.unpack_from("<I", content, at)
        at += 4
        if at + length > len(content):
            raise _wrong(name, "a text is longer than the tensor")
        try:
            values.append(bytes(content[at : at + length]).decode())
        except UnicodeDecodeError:
            raise _wrong(name, "a text is not in UTF-8") from None
        at += length
    return values


def _wrong(name: str, problem: str) -> RequestError:
    return malformed("input.wrong_bytes", f"input {name!r}: {problem}")
