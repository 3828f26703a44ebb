"""Drawn bodies of requests that score rows: nearly right, mutated, hostile, and lying."""

import io
import json
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from support.http_server import ARROW, as_stream

from fuzzing.mutations import HOSTILE_NUMBERS, HOSTILE_TEXTS, mutated_bytes, mutated_tree

JSON, LINES, CSV = "application/json", "application/jsonlines", "text/csv"

MEDIA_TYPES = (
    JSON, LINES, CSV, ARROW, "application/x-ndjson", "application/json; charset=utf-8",
    "application/json; charset=utf-16", "application/vnd.apache.arrow.file", "text/plain",
    "application/octet-stream", "application/x-www-form-urlencoded", "multipart/form-data", "",
    "*/*", "json", ";", "application/json;;charset=", "text/csv; header=present",
    "\xff", "a" * 5000,
)  # fmt: skip

Body = tuple[str, str, bytes]
"""Path, media type, content."""

Rows = Sequence[dict[str, Any]]

_ROWS = (1, 1, 2, 7, 100)

_MANY_NULLS = pa.Array.from_buffers(pa.null(), 2**31 - 1, [None])
"""More rows than any memory holds, in a few bytes."""


def correct_bodies(rows: Rows, table: pa.Table, model_name: str) -> list[Body]:
    """Return a body of each route and media type, all with the same rows."""
    values = [list(row.values()) for row in rows]
    instances = {"instances": [{"features": row} for row in values]}
    lines = "\n".join(json.dumps({"features": row}) for row in values)
    text = "\n".join(",".join("" if v is None else str(v) for v in row) for row in values)
    infer = f"/v2/models/{model_name}/infer"
    return [
        ("/segments", JSON, _dumped({"rows": list(rows)})),
        ("/segments", ARROW, as_stream(table)),
        ("/invocations", JSON, _dumped(instances)),
        ("/invocations", LINES, lines.encode()),
        ("/invocations", CSV, text.encode()),
        (infer, JSON, _dumped(tensors(rows))),
    ]


def tensors(rows: Rows) -> dict[str, Any]:
    """Return the rows as inputs of the Open Inference Protocol, one for each column."""
    inputs = []
    for name in rows[0]:
        data = [row[name] for row in rows]
        kind = "BYTES" if any(isinstance(value, str) for value in data) else "FP64"
        flat = [x for value in data for x in (value if isinstance(value, list) else [value])]
        shape = [len(rows)] if len(flat) == len(rows) else [len(rows), len(flat) // len(rows)]
        inputs.append({"name": name, "shape": shape, "datatype": kind, "data": flat})
    return {"id": "1", "inputs": inputs}


def drawn_body(draw: random.Random, rows: Rows, table: pa.Table, model_name: str) -> Body:
    """Return a body of a drawn route, changed in a drawn way."""
    n = min(draw.choice(_ROWS), len(rows))
    start = draw.randrange(len(rows) - n + 1)
    chosen, part = rows[start : start + n], table.slice(start, n)
    bodies = correct_bodies(chosen, part, model_name)
    path, media_type, content = draw.choice(bodies)
    change = draw.choice((_with_bytes, _with_tree, _with_tree, _with_odd_json, _with_odd_arrow))
    if change is _with_odd_arrow:
        path, media_type = "/segments", ARROW
        content = _with_odd_arrow(draw, part)
    else:
        content = change(draw, content)
    if draw.random() < 0.1:
        media_type = draw.choice(MEDIA_TYPES)
    if draw.random() < 0.05:
        path = draw.choice(bodies)[0]
    return path, media_type, content


def _dumped(values: Any) -> bytes:
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _with_bytes(draw: random.Random, content: bytes) -> bytes:
    return mutated_bytes(draw, content)


def _with_tree(draw: random.Random, content: bytes) -> bytes:
    """Change places of the values of JSON, of each line that has some."""
    try:
        tree = json.loads(content)
    except ValueError:
        return mutated_bytes(draw, content)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        tree = mutated_tree(draw, tree)
    text = json.dumps(tree, ensure_ascii=draw.random() < 0.5)
    return text.encode("utf-8", "surrogatepass")


def _with_odd_json(draw: random.Random, content: bytes) -> bytes:
    depth = draw.choice((100, 2_000, 100_000))
    number = draw.choice((
        b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"1e-999", b"9" * 400, b"-0",
        b"9" * 6000, b"0x10", b"1_000", b"01", b".5", b"5.", b"+1", b"1e", b"9223372036854775808",
        b"18446744073709551616", b"true", b"null", b'""', b"{}", b"[]", b"1e5", b"12.0",
    ))  # fmt: skip
    at = content.find(b": ") + 2
    end = min((i for i in (content.find(c, at) for c in (b",", b"}")) if i > 0), default=at)
    long = b'"' + draw.choice((b"a", "é".encode(), b"\\u0000", b"\\ud800", b"\xff")) * 10**6 + b'"'
    return draw.choice((
        lambda: content[:at] + number + content[end:],
        lambda: content.replace(b"0", number, 1),
        lambda: content[:at] + long + content[end:],
        lambda: b"[" * depth,
        lambda: b'{"rows":' * depth,
        lambda: b'{"rows": ' + b"[" * depth + b"]" * depth + b"}",
        lambda: content[:at] + b"[" * depth + b"]" * depth + content[end:],
        lambda: b'{"rows": [' + b"{}," * 20_000 + b"{}]}",
        lambda: content.replace(b'"shape": [', b'"shape": [' + b"9223372036854775807," * 99_999, 1),
        lambda: b'{"rows": []}',
        lambda: b'{"inputs": []}',
        lambda: b'{"instances": []}',
        lambda: b"",
        lambda: draw.choice((b"null", b"1", b'"x"', b"[]", b"{}", b" ", b"\n\n", b",,,\n")),
        lambda: b"\xef\xbb\xbf" + content,
        lambda: content.decode("utf-8", "replace").encode("utf-16"),
        lambda: content.decode("utf-8", "replace").encode("utf-32"),
        lambda: content.replace(b"{", b'{"rows": 1, "rows": 2, ', 1),
        lambda: content + content,
        lambda: content + b"\0",
        lambda: b'"' * 100_000,
        lambda: b"1," * 100_000,
        lambda: b"\n" * 100_000,
    ))()  # fmt: skip


def _with_odd_arrow(draw: random.Random, table: pa.Table) -> bytes:
    content = as_stream(draw.choice(_TABLES)(draw, table))
    match draw.randrange(8):
        case 0:
            return mutated_bytes(draw, content)
        case 1:
            return _with_lying_numbers(draw, content)
        case 2:
            return content[: draw.randrange(len(content) + 1)]
        case 3:
            return content + draw.choice((content, b"\0" * 9, b"\xff\xff\xff\xff\0\0\0\0"))
        case 4:
            compressed = as_stream(table, options=_compression(draw))
            return _with_lying_numbers(draw, compressed) if draw.random() < 0.5 else compressed
        case 5:
            sink = io.BytesIO()
            with pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
            return sink.getvalue()
        case _:
            return content


def _compression(draw: random.Random) -> pa.ipc.IpcWriteOptions:
    return pa.ipc.IpcWriteOptions(compression=draw.choice(("lz4", "zstd")))


def _with_lying_numbers(draw: random.Random, content: bytes) -> bytes:
    """Change whole numbers of the metadata: lengths, offsets, counts of rows and of buffers."""
    data = bytearray(content)
    for _ in range(draw.randint(1, 3)):
        width, kind = draw.choice(((4, "<i"), (8, "<q"), (2, "<h")))
        at = draw.randrange(max(len(data) // width, 1)) * width
        if at + width > len(data):
            continue
        largest = 2 ** (8 * width - 1) - 1
        value = draw.choice((0, 1, -1, 2, 7, largest, -largest - 1, largest // 2, 1 << (4 * width)))
        data[at : at + width] = struct.pack(kind, value)
    return bytes(data)


def _with_other_column(draw: random.Random, table: pa.Table) -> pa.Table:
    """Give a column other values, of any type."""
    n = len(table)
    offsets = pa.array(np.arange(n + 1), pa.int32())
    numbers = pa.array(draw.choices([x for x in HOSTILE_NUMBERS if type(x) is float], k=n))
    texts = [text for text in HOSTILE_TEXTS if text != "\ud800"]
    column = draw.choice((
        lambda: numbers,
        lambda: pa.array(draw.choices(texts, k=n)),
        lambda: pa.array(draw.choices(texts, k=n)).dictionary_encode(),
        lambda: pa.array(["a" * 10**6] * n),
        lambda: pa.nulls(n),
        lambda: pa.nulls(n, pa.int64()),
        lambda: pa.array([True] * n),
        lambda: pa.array([b"\xff"] * n),
        lambda: pa.array(range(n), pa.int8()),
        lambda: pa.array([2**64 - 1] * n, pa.uint64()),
        lambda: pa.array(np.zeros(n, np.float16)),
        lambda: pa.array([1] * n, pa.decimal128(38, 10)),
        lambda: pa.array([0] * n, pa.timestamp("ns", "UTC")),
        lambda: pa.array([0] * n, pa.duration("s")),
        lambda: pa.array([[1.0, 2.0]] * n),
        lambda: pa.array([[]] * n, pa.list_(pa.float64())),
        lambda: pa.array([[1.0] * 3] * n, pa.list_(pa.float32(), 3)),
        lambda: pa.ListArray.from_arrays(offsets, pa.array([None] * n, pa.float64())),
        lambda: pa.array([{"a": 1}] * n),
        lambda: pa.array([[("a", 1)]] * n, pa.map_(pa.string(), pa.int64())),
        lambda: pa.array(["x"] * n, pa.large_string()),
        lambda: pa.array(["x"] * n, pa.string_view()),
        lambda: pa.RunEndEncodedArray.from_arrays(pa.array([n], pa.int32()), pa.array([1.0])),
    ))()  # fmt: skip
    i = draw.randrange(table.num_columns)
    return table.set_column(i, table.column_names[i], column)


_TABLES: tuple[Callable[[random.Random, pa.Table], pa.Table], ...] = (
    lambda draw, table: table,
    _with_other_column,
    _with_other_column,
    _with_other_column,
    lambda draw, table: table.slice(0, 0),
    lambda draw, table: table.select([]),
    lambda draw, table: table.drop_columns([draw.choice(table.column_names)]),
    lambda draw, table: table.append_column(draw.choice(HOSTILE_TEXTS[:5]), table.column(0)),
    lambda draw, table: table.append_column(table.column_names[0], table.column(0)),
    lambda draw, table: table.select(draw.sample(table.column_names, table.num_columns)),
    lambda draw, table: pa.table(dict.fromkeys(table.column_names, _MANY_NULLS)),
    lambda draw, table: pa.concat_tables([table] * 2000),
)
"""Ways to draw a table from one that is right."""
