"""Frames: pieces of a file that are complete or not there, by their length and checksum."""

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

_LENGTH_BYTES = 8
_CHECKSUM_BYTES = 16
_HEAD_BYTES = _LENGTH_BYTES + _CHECKSUM_BYTES
_READ_BYTES = 2**20


def head_of(content: bytes) -> bytes:
    """Return what comes before the content in a frame."""
    length = len(content).to_bytes(_LENGTH_BYTES, "little")
    return length + _checksum(length, content)


def framed(content: bytes) -> bytes:
    """Return a frame."""
    return head_of(content) + content


def frames_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of frames up to one that is torn or damaged; nothing after it counts."""
    while len(head := file.read(_HEAD_BYTES)) == _HEAD_BYTES:
        length = head[:_LENGTH_BYTES]
        content = _read(file, int.from_bytes(length, "little"))
        if content is None or head[_LENGTH_BYTES:] != _checksum(length, content):
            return
        yield content


def _read(file: BinaryIO, n_bytes: int) -> bytes | None:
    """Read so many bytes, None if there are fewer; a damaged length takes no memory."""
    pieces = []
    while n_bytes:
        piece = file.read(min(n_bytes, _READ_BYTES))
        if not piece:
            return None
        pieces.append(piece)
        n_bytes -= len(piece)
    return b"".join(pieces)


def _checksum(length: bytes, content: bytes) -> bytes:
    digest = hashlib.blake2b(length, digest_size=_CHECKSUM_BYTES)
    digest.update(content)
    return digest.digest()
