"""The order of ids, and rows with one id as one."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpuseg.lineage.byte_keys import ByteKeys
from gpuseg.lineage.integer_keys import IntegerKeys, sorted_once
from gpuseg.lineage.labels import ABSENT, REPEATED

FEW = settings(deadline=None, max_examples=60)

SEGMENTS = st.integers(int(REPEATED), 2**31 - 1)

PIECES = st.sampled_from([b"", b"\0", b"a", b"\xff", b"abcdefgh", b"abcdefgi", b"common-start"])


@FEW
@given(st.lists(st.lists(PIECES, max_size=4).map(b"".join), max_size=20), st.integers(0, 3))
@example([b"a\0", b"a", b"a\0\0", b"a"], 1)
@example([b"abcdefgh", b"abcdefgh\0", b"abcdefg", b"abcdefghabcdefgh", b"abcdefgh"], 0)
def test_bytes_are_sorted_as_python_sorts_them(values: list[bytes], skipped: int) -> None:
    keys = pa.array(values, pa.large_binary()).slice(skipped)
    order = ByteKeys(pa.binary(), 8).sorted_order(keys)
    assert sorted(order.tolist()) == list(range(len(keys)))
    assert keys.take(pa.array(order)).to_pylist() == sorted(values[skipped:])


@pytest.mark.parametrize(
    ("kind", "least", "greatest"),
    [(pa.int64(), -(2**63), 2**63 - 1), (pa.uint64(), 0, 2**64 - 1), (pa.int64(), -9, 9)],
)
@FEW
@given(data=st.data())
def test_integers_are_sorted_once(
    kind: pa.DataType, least: int, greatest: int, data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.tuples(st.integers(least, greatest), SEGMENTS), max_size=20))
    keys = IntegerKeys(kind)
    columns: Any = list(zip(*rows, strict=True)) or [(), ()]
    ids, labels = np.array(columns[0], keys.dtype), np.array(columns[1], np.int32)
    once, segments = sorted_once(keys, ids, labels)
    times = Counter(i for i, _ in rows)
    expected = {i: segment if times[i] == 1 else int(REPEATED) for i, segment in rows}
    assert once.tolist() == sorted(expected)
    assert segments.tolist() == [expected[i] for i in once.tolist()]


@FEW
@given(st.lists(st.text(max_size=3), unique=True), st.lists(st.text(max_size=3), unique=True))
def test_text_of_both_outputs_is_aligned(older: list[str], newer: list[str]) -> None:
    keys = ByteKeys(pa.string(), 8)
    sides = [
        (keys.from_arrow(pa.array(ids, pa.string())), np.arange(len(ids), dtype=np.int32))
        for ids in (older, newer)
    ]
    ids, before, now = keys.align(sides[0], sides[1])
    assert sorted(keys.to_arrow(ids).to_pylist()) == sorted({*older, *newer})
    for text, a, b in zip(keys.to_arrow(ids).to_pylist(), before, now, strict=True):
        assert a == (older.index(text) if text in older else ABSENT)
        assert b == (newer.index(text) if text in newer else ABSENT)
