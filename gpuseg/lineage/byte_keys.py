"""Ids that are text or bytes, or are compared as text, as columns of Arrow."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import from_numpy, plain, to_numpy
from gpuseg.lineage.labels import ABSENT, REPEATED

Labels = NDArray[np.int32]

_KEYS = pa.large_binary()

_WORD = 8


class ByteKeys:
    """Operations on ids that are compared as bytes.

    Parameters
    ----------
    type : DataType
        The type of the ids in the changes.
    bytes_per_id : int
        About as many as the ids have, for plans of memory.
    """

    def __init__(self, type: pa.DataType, bytes_per_id: int) -> None:
        self.type = type
        self.bytes_per_id = bytes_per_id

    def from_arrow(self, column: pa.Array) -> pa.LargeBinaryArray:
        """Return the keys of ids; none is null."""
        column = plain(column)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        kind = column.type
        if not (_is_bytes(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            column = column.cast(pa.large_string())
        if pa.types.is_fixed_size_binary(kind):
            column = column.cast(pa.binary())
        return column.cast(_KEYS)

    def to_arrow(self, keys: pa.LargeBinaryArray) -> pa.Array:
        """Return the ids of keys, in their type."""
        kind = getattr(self.type, "storage_type", self.type)
        if not _is_bytes(kind):
            keys = keys.cast(pa.large_string())
        elif pa.types.is_fixed_size_binary(kind):
            keys = keys.cast(pa.binary())
        ids = keys.cast(kind)
        if isinstance(self.type, pa.BaseExtensionType):
            return pa.ExtensionArray.from_storage(self.type, ids)
        return ids

    def from_statistics(self, value: Any) -> bytes | None:
        """Return the key of a least or greatest id in a footer; None if it is not one."""
        if isinstance(value, str):
            return value.encode()
        return value if isinstance(value, bytes) else None

    def rising(self, keys: pa.LargeBinaryArray) -> bool:
        """Return whether each key is above the one before."""
        if len(keys) < 2:
            return True
        return pc.all(pc.greater(keys.slice(1), keys.slice(0, len(keys) - 1))).as_py() is True

    def are_within(self, keys: pa.LargeBinaryArray, low: bytes, high: bytes) -> bool:
        """Return whether no key is below `low` or above `high`."""
        ends = pc.min_max(keys)
        return not len(keys) or (ends["min"].as_py() >= low and ends["max"].as_py() <= high)

    def key_at(self, keys: pa.LargeBinaryArray, position: int) -> bytes:
        """Return one key."""
        key: bytes = keys[position].as_py()
        return key

    def concatenate(self, pieces: Sequence[pa.LargeBinaryArray]) -> pa.LargeBinaryArray:
        """Return the keys of all pieces."""
        if not pieces:
            return pa.nulls(0, _KEYS)
        return pieces[0] if len(pieces) == 1 else pa.concat_arrays(pieces)

    def take(self, keys: pa.LargeBinaryArray, rows: NDArray[Any]) -> pa.LargeBinaryArray:
        """Return the keys of rows, bool (n,) or positions."""
        return keys.filter(from_numpy(rows)) if rows.dtype == bool else keys.take(from_numpy(rows))

    def above(self, keys: pa.LargeBinaryArray, bound: bytes) -> NDArray[np.bool_]:
        """Return which keys are above a bound."""
        above: NDArray[np.bool_] = to_numpy(pc.greater(keys, pa.scalar(bound, _KEYS)))
        return above

    def sorted_order(self, keys: pa.LargeBinaryArray) -> NDArray[np.int64]:
        """Return the positions of the keys in their order.

        Arrow compares text by text, which takes five times as long as sorting whole words of it.
        Only keys whose first words are equal are compared by the next ones.
        """
        if len(keys) < 2:
            return np.arange(len(keys))
        ends = pc.min_max(keys)
        start = _common_start(ends["min"].as_py(), ends["max"].as_py())
        words = _Words(keys)
        first = words.at(start, slice(None))
        order = np.argsort(first)
        group = np.cumsum(np.concatenate([[False], np.diff(first[order]) != 0]))
        while (tied := _tied(group)).any():
            start += _WORD
            rows = order[tied]
            is_last = int(words.lengths[rows].max()) <= start
            # A key is above its own start, also if the rest of it is zeros.
            next_word = words.lengths[rows] if is_last else words.at(start, rows)
            place = np.lexsort((next_word, group[tied]))
            order[tied] = rows[place]
            if is_last:
                break
            differs = np.zeros(len(order), bool)
            word, of = next_word[place], group[tied]
            differs[np.flatnonzero(tied)[1:]] = (word[1:] != word[:-1]) & (of[1:] == of[:-1])
            group += np.cumsum(differs)
        return order

    def sort(self, keys: pa.LargeBinaryArray, labels: Labels) -> tuple[pa.LargeBinaryArray, Labels]:
        """Sort rows by key."""
        order = self.sorted_order(keys)
        return self.take(keys, order), labels[order]

    def equal_to_previous(self, keys: pa.LargeBinaryArray) -> NDArray[np.bool_]:
        """Return for each key but the first whether it equals the one before."""
        return to_numpy(pc.equal(keys.slice(1), keys.slice(0, max(len(keys) - 1, 0))))

    def align(
        self,
        before: tuple[pa.LargeBinaryArray, Labels],
        now: tuple[pa.LargeBinaryArray, Labels],
    ) -> tuple[pa.LargeBinaryArray, Labels, Labels]:
        """Return all keys of two outputs once, in any order, and their labels in each."""
        (a, a_labels), (b, b_labels) = before, now
        if a.equals(b) and self.rising(a):
            return a, a_labels, b_labels
        encoded = pa.concat_arrays([a, b]).dictionary_encode()
        codes, n_keys = to_numpy(encoded.indices), len(encoded.dictionary)
        return (
            encoded.dictionary,
            _by_key(codes[: len(a)], a_labels, n_keys),
            _by_key(codes[len(a) :], b_labels, n_keys),
        )


class _Words:
    """The bytes of keys, as integers whose order is theirs."""

    def __init__(self, keys: pa.LargeBinaryArray) -> None:
        _, offsets, data = keys.buffers()
        count = len(keys) + 1
        self._offsets = np.frombuffer(offsets, np.int64)[keys.offset : keys.offset + count]
        self.lengths = np.diff(self._offsets)
        first, stop = (int(self._offsets[0]), int(self._offsets[-1]))
        padded = np.zeros(stop - first + _WORD, np.uint8)
        if data is not None:
            padded[: stop - first] = np.frombuffer(data, np.uint8, stop - first, first)
        self._first = first
        self._words = np.lib.stride_tricks.sliding_window_view(padded, _WORD)

    def at(self, start: int, rows: Any) -> NDArray[np.uint64]:
        """Return the word of each row from a byte on; zeros follow its end."""
        rest = np.clip(self.lengths[rows] - start, 0, _WORD)
        place = self._offsets[:-1][rows] - self._first + np.minimum(start, self.lengths[rows])
        words: Any = self._words[place].copy().view(">u8")[:, 0].astype(np.uint64)
        unused = (_WORD - rest).astype(np.uint64) * np.uint64(8)
        shown: NDArray[np.uint64] = np.where(rest > 0, words >> unused << unused, np.uint64(0))
        return shown


def _common_start(a: bytes, b: bytes) -> int:
    """Return the number of first bytes that are the same in both."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((place for place, (x, y) in pairs if x != y), min(len(a), len(b)))


def _tied(group: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which sorted rows share their group with another one."""
    same = group[1:] == group[:-1]
    tied: NDArray[np.bool_] = np.concatenate([same, [False]]) | np.concatenate([[False], same])
    return tied


def _by_key(codes: NDArray[Any], labels: Labels, n_keys: int) -> Labels:
    """Return the label of each key: absent, that of its row, or repeated."""
    by_key = np.full(n_keys, ABSENT)
    by_key[codes] = labels
    if np.count_nonzero(by_key != ABSENT) != len(codes):
        by_key[np.bincount(codes, minlength=n_keys) > 1] = REPEATED
    return by_key


def _is_bytes(kind: pa.DataType) -> bool:
    t = pa.types
    return bool(t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind))
