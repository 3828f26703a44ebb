"""Rows and answers as Arrow IPC streams."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from gpuseg import arrow_compute as pc
from gpuseg.arrow import from_numpy, is_text
from gpuseg.printable import printable_text
from gpuseg.serving.arrow_messages import refuse_compression
from gpuseg.serving.limits import RequestLimits
from gpuseg.serving.loaded_model import LoadedModel, RequestScores
from gpuseg.serving.protocols.answers import wrong_rows
from gpuseg.serving.request_errors import RequestError, malformed

_FILES = {b"ARROW1": "a file of Arrow IPC (Feather)", b"PAR1": "a Parquet file"}
"""Files that are taken for streams, by their first bytes."""

_PROBLEM = "problem"
"""The column of an answer that says why a row has no scores."""


def read(body: bytes, model: LoadedModel, limits: RequestLimits) -> pa.Table:
    """Return the columns of a stream that the model needs; the stream may have more.

    Raises
    ------
    RequestError
        For what is not such a stream, for too many rows, for a column that is missing, and for
        compressed buffers.
    """
    for start, kind in _FILES.items():
        if body.startswith(start):
            raise malformed(
                "body.not_arrow",
                f"the body is {kind}: must be a stream of Arrow IPC, as pyarrow.ipc.new_stream "
                "writes it",
            )
    try:
        refuse_compression(body)
        with pa.ipc.open_stream(pa.py_buffer(body)) as stream:
            schema, names = stream.schema, model.forms.names
            has_only_numbers = model.has_only_numbers(schema)
            has_others = not has_only_numbers and schema.names != list(names)
            if has_others:
                _check_names(schema.names, names)
                schema = pa.schema([schema.field(name) for name in names])
            batches, n_rows = [], 0
            for batch in stream:
                n_rows += batch.num_rows
                limits.check_rows(n_rows)
                batches.append(batch.select(names) if has_others else batch)
            table = pa.Table.from_batches(batches, schema)
        table.validate(full=True)
    except (pa.ArrowException, ValueError, OSError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise malformed(
            "body.not_arrow", f"the body is not a stream of Arrow IPC: {reason}"
        ) from None
    if not has_only_numbers:
        for name, kind in zip(names, schema.types, strict=True):
            if not pa.types.is_primitive(kind):
                _check_expanded(name, table[name], limits)
    return table


def write(scored: RequestScores, columns: Sequence[str] | None = None) -> bytes:
    """Return a stream with the columns of `Scores`.

    If rows are wrong, their values are null, and the column ``problem`` says why; the metadata of
    the schema have ``error`` and ``code``.

    Parameters
    ----------
    columns : sequence of str, optional
        The columns to write, by default all.
    """
    arrays = {name: from_numpy(values) for name, values in scored.scores.columns().items()}
    table = pa.table({name: arrays[name] for name in columns or arrays})
    if scored.n_wrong:
        table = _with_problems(table, scored)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _with_problems(table: pa.Table, scored: RequestScores) -> pa.Table:
    place = np.full(scored.n_rows, -1, np.int64)
    place[scored.rows] = np.arange(len(table))
    indices = pa.array(place, mask=place < 0)
    texts: list[str | None] = [None] * scored.n_rows
    for number in np.flatnonzero(place < 0).tolist():
        texts[number] = "as an earlier row: the problems of the first rows are told"
    for problem in reversed(scored.problems):  # the first one of a row stays
        texts[problem.row] = printable_text(f"{problem.describe()}: {problem.rule}")
    facts: dict[str, Any] = wrong_rows(scored)
    metadata = {key: str(facts[key]) for key in ("error", "code", "wrong_rows")}
    taken = table.take(indices).append_column(_PROBLEM, pa.array(texts, pa.string()))
    return taken.replace_schema_metadata(metadata)


def _check_names(names: Sequence[str], needed: Sequence[str]) -> None:
    for name in needed:
        if name not in names:
            raise malformed("column.missing", f"there is no column {name!r}")
        if names.count(name) > 1:
            raise malformed("column.duplicate", f"two columns have the name {name!r}")


def _check_expanded(name: str, column: pa.ChunkedArray, limits: RequestLimits) -> None:
    """Refuse text that is longer than a body may be once each row has its own.

    A dictionary, or a view, has a long text once, however many rows have it.
    """
    n_bytes = sum(map(_text_bytes, column.chunks))
    if n_bytes > limits.body_bytes:
        raise RequestError(
            413,
            "request.too_large",
            f"column {name!r} has {n_bytes:,} bytes of text, but may have {limits.body_bytes:,}",
        )


def _text_bytes(chunk: pa.Array) -> int:
    kind = chunk.type
    if isinstance(chunk, pa.ExtensionArray):
        return _text_bytes(chunk.storage)
    if pa.types.is_string_view(kind):  # the first four bytes of a view are its length
        views = np.frombuffer(chunk.buffers()[1], np.int32)[::4] if len(chunk) else np.empty(0)
        return int(views[chunk.offset : chunk.offset + len(chunk)].sum(dtype=np.int64))
    if not pa.types.is_dictionary(kind):
        return 0
    values = chunk.dictionary
    if not is_text(values.type):
        return 0
    if pa.types.is_string_view(values.type):
        values = values.cast(pa.large_string())
    lengths = pc.cast(pc.binary_length(values), pa.int64())
    return pc.sum(lengths.take(chunk.indices)).as_py() or 0
