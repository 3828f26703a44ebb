"""The protocols as functions: bytes in, rows out; scores in, bytes out."""

from __future__ import annotations

import asyncio
import json
import struct
import tracemalloc
from dataclasses import replace
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
import pytest
from support.fitted_outputs import CASES, fitted, input_rows, job_labels, kept_rows, new_rows
from support.helpers import THOROUGH
from support.http_server import as_stream
from support.json_rows import as_json, of

import gpuseg
from gpuseg.models.loading import load_output
from gpuseg.models.scores import Scores
from gpuseg.serving.batching import MicroBatcher
from gpuseg.serving.limits import RequestLimits
from gpuseg.serving.loaded_model import LoadedModel
from gpuseg.serving.media_types import CSV, JSON, JSON_LINES, accepted
from gpuseg.serving.output_watch import OutputWatch
from gpuseg.serving.protocols import arrow_stream, open_inference, sagemaker, segments
from gpuseg.serving.protocols.answers import float_texts
from gpuseg.serving.protocols.row_texts import Choice, Field, rows_as_bytes, rows_as_list
from gpuseg.serving.request_errors import RequestError
from gpuseg.serving.request_rows import RequestRows

FEW = (
    "plain", "drop", "types_of_numbers", "large_offsets", "ordinal", "vectors_with_gaps",
    "hierarchy", "dbscan", "odd_names",
)  # fmt: skip

LIMITS = RequestLimits()


@cache
def loaded(name: str) -> LoadedModel:
    return OutputWatch(str(fitted(name))).load()


def same(got: Scores, expected: Scores) -> bool:
    """Whether scores have the same bits."""
    columns = expected.columns()
    return got.columns().keys() == columns.keys() and all(
        got.columns()[name].tobytes() == values.tobytes() for name, values in columns.items()
    )


@pytest.mark.parametrize("name", CASES if THOROUGH else FEW)
@pytest.mark.filterwarnings("ignore:column")
def test_every_form_of_rows_gets_the_labels_of_the_job(name: str) -> None:
    model, labels = loaded(name), job_labels(name)
    table = kept_rows(name)
    rows = segments.read(json.dumps({"rows": as_json(table)}).encode(), model, LIMITS)
    scored = model.score(rows, with_next=True)
    assert scored.n_wrong == 0
    assert scored.scores.segment.tobytes() == labels.segment.tobytes()
    assert scored.scores.distance.tobytes() == labels.distance.tobytes()
    arrow = model.score_table(arrow_stream.read(as_stream(table), model, LIMITS), with_next=True)
    assert same(arrow.scores, scored.scores)
    lists = [[row[column] for column in model.forms.names] for row in as_json(table)]
    body = json.dumps({"instances": lists}).encode()
    assert same(
        model.score(sagemaker.read_json(body, model, LIMITS), with_next=True).scores, scored.scores
    )


@pytest.mark.parametrize("name", CASES if THOROUGH else FEW)
@pytest.mark.filterwarnings("ignore:column")
def test_new_rows_are_scored_as_by_the_model(name: str) -> None:
    model, table = loaded(name), new_rows(name)
    expected = gpuseg.load_model(fitted(name)).score(table)
    rows = segments.read(json.dumps({"rows": as_json(table)}).encode(), model, LIMITS)
    scored = model.score(rows, with_next=True)
    assert same(scored.scores, expected)
    answer = json.loads(segments.write(scored, model))
    assert [row["segment"] for row in answer] == expected.segment.tolist()
    if expected.next_segment is None:
        assert {row["next_segment"] for row in answer} == {None}
    for level, values in expected.levels.items():
        assert [row[level] for row in answer] == values.tolist()
    shortest = np.array([row["distance"] for row in answer]).astype(np.float32)
    assert shortest.tobytes() == expected.distance.tobytes()


def test_a_matrix_has_the_columns_in_their_order() -> None:
    model = loaded("plain")
    rows = as_json(kept_rows("plain").slice(0, 4))
    data = [[row[name] for name in model.forms.names] for row in rows]
    for values in (data, list(chain.from_iterable(data))):
        tensor = {"name": "x", "shape": [4, 3], "datatype": "FP64", "data": values}
        asked = open_inference.read(json.dumps({"inputs": [tensor]}).encode(), model, LIMITS)
        scored = model.score(asked.rows, with_next=asked.with_next)
        assert scored.scores.segment.tolist() == job_labels("plain").segment[:4].tolist()


def test_values_are_those_of_their_datatype() -> None:
    model = loaded("plain")
    value = 0.1 + 2**-40
    rows = []
    for kind in ("FP32", "FP64"):
        inputs = [
            {"name": name, "shape": [1], "datatype": kind, "data": [value]}
            for name in model.forms.names
        ]
        rows.append(
            open_inference.read(json.dumps({"inputs": inputs}).encode(), model, LIMITS).rows
        )
    assert rows[0].rows == [(float(np.float32(value)),) * 3]
    assert rows[1].rows == [(value,) * 3]


def test_tensors_as_bytes() -> None:
    model, labels = loaded("all_steps"), job_labels("all_steps")
    rows = as_json(kept_rows("all_steps").slice(0, 7))
    inputs, behind = [], b""
    for column in model.columns:
        kind = open_inference.DATATYPES[column.kind]
        values = [row[column.name] for row in rows]
        size = 0
        if kind == "BYTES":
            values = ["" if value is None else value for value in values]
            parts = [struct.pack("<I", len(v.encode())) + v.encode() for v in values]
            size, behind = sum(map(len, parts)), behind + b"".join(parts)
        elif kind == "FP64":
            gap = [None] * column.width if column.shape else None
            filled = [gap if value is None else value for value in values]
            content = np.array(filled, np.float64).tobytes()
            size, behind = len(content), behind + content
        inputs.append({"name": column.name, "shape": [7, *column.shape], "datatype": kind})
        inputs[-1] |= {"parameters": {"binary_data_size": size}} if size else {"data": values}
    outputs = [{"name": "segment", "parameters": {"binary_data": True}}, {"name": "distance"}]
    text = json.dumps({"inputs": inputs, "outputs": outputs}).encode()
    asked = open_inference.read(text + behind, model, LIMITS, str(len(text)))
    scored = model.score(asked.rows, with_next=False)
    assert scored.scores.segment.tolist() == labels.segment[:7].tolist()
    body, length = open_inference.write(scored, model, "m", asked)
    assert length is not None
    first, second = json.loads(body[:length])["outputs"]
    assert first["parameters"]["binary_data_size"] == 28
    assert np.frombuffer(body[length:], "<i4").tolist() == labels.segment[:7].tolist()
    assert len(second["data"]) == 7
    for wrong in (behind[:-1], behind + b"x"):
        with pytest.raises(RequestError):
            open_inference.read(text + wrong, model, LIMITS, str(len(text)))


@pytest.mark.parametrize(
    ("datatype", "value"),
    [("INT8", 200), ("UINT8", -1), ("INT32", 1.5), ("FP64", "1"), ("BOOL", 2), ("BYTES", 1)],
)
def test_a_value_of_another_datatype_is_a_wrong_row(datatype: str, value: Any) -> None:
    model = loaded("plain")
    inputs = [
        {"name": name, "shape": [2], "datatype": "FP32", "data": [0.5, 0.5]}
        for name in model.forms.names
    ]
    good = {"BOOL": True, "BYTES": None}.get(datatype, 1)
    inputs[1] |= {"datatype": datatype, "data": [good, value]}
    asked = open_inference.read(json.dumps({"inputs": inputs}).encode(), model, LIMITS)
    scored = model.score(asked.rows, with_next=False)
    answer = json.loads(open_inference.write(scored, model, "m", asked)[0])
    named = {problem["row"]: problem for problem in answer["problems"]}
    assert named[1]["column"] == model.forms.names[1]
    assert named[1]["value"] == repr(value)
    assert datatype in named[1]["rule"]


def test_numbers_beyond_float64_are_wrong_rows() -> None:
    model = loaded("plain")
    row = as_json(kept_rows("plain").slice(0, 1))[0]
    texts = [json.dumps(row | {"spend": value}) for value in (10**400, 1.0, 2**80)]
    texts.insert(1, texts[1].replace("1.0", "1e999"))
    body = f'{{"rows": [{",".join(texts)}]}}'.encode()
    scored = model.score(segments.read(body, model, LIMITS), with_next=False)
    assert scored.rows.tolist() == [2, 3]


@pytest.mark.parametrize("text", ["", "\n", "1,2\n1,2,3\n", '"1,2,3\n', "a,b,c\n1,2,x\n"], ids=repr)
def test_unusual_csv_is_answered(text: str) -> None:
    model = loaded("plain")
    try:
        rows = sagemaker.read_csv(text.encode(), model, LIMITS)
    except RequestError as error:
        assert error.status == 400
        return
    answer = json.loads(sagemaker.write(model.score(rows, with_next=False), JSON))
    assert len(answer["predictions"]) == len(rows.rows)


def test_a_header_may_have_another_order_and_more() -> None:
    model = loaded("plain")
    row = as_json(kept_rows("plain").slice(0, 1))[0]
    names = [*reversed(model.forms.names), "more"]
    lines = [",".join(names), ",".join(str(row.get(name, "")) for name in names)]
    scored = model.score(
        sagemaker.read_csv("\n".join(lines).encode(), model, LIMITS), with_next=False
    )
    assert scored.scores.segment.tolist() == job_labels("plain").segment[:1].tolist()


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("text/*", CSV),
        ("application/jsonlines", JSON_LINES),
        ("text/csv;q=0.2, application/json;q=0.9", JSON),
        ("image/png", None),
    ],
)
def test_accepted_types(header: str, kind: str | None) -> None:
    assert accepted(header, (JSON, JSON_LINES, CSV)) == kind


def test_rows_of_one_batch_do_not_change_each_other() -> None:
    model = loaded("all_steps")
    rows = as_json(kept_rows("all_steps").slice(0, 6))
    rows[1]["country"], rows[3]["spend"], rows[4]["is_member"] = 7, "1", 1
    bodies = [json.dumps({"rows": [row]}).encode() for row in rows]

    async def together() -> list[Any]:
        batcher = MicroBatcher(asyncio.get_running_loop(), lambda scored: None)
        reads = [segments.read(body, model, LIMITS) for body in bodies]
        futures = [batcher.score(model, read, with_next=i % 2 == 0) for i, read in enumerate(reads)]
        return [segments.write(await future, model) for future in futures]

    alone = [
        segments.write(model.score(segments.read(body, model, LIMITS), with_next=True), model)
        for body in bodies
    ]
    assert asyncio.run(together()) == alone
    assert [b"problems" in answer for answer in alone] == [False, True, False, True, True, False]


def test_a_request_that_cannot_be_scored_fails_alone() -> None:
    model = loaded("plain")
    good, bad = RequestRows([(1.0, 2.0, 3.0)], True), RequestRows([(1.0,)], True)

    async def together() -> list[Any]:
        batcher = MicroBatcher(asyncio.get_running_loop(), lambda scored: None)
        futures = [batcher.score(model, rows, with_next=True) for rows in (good, bad, good)]
        return await asyncio.gather(*futures, return_exceptions=True)

    first, failed, last = asyncio.run(together())
    assert isinstance(failed, ValueError)
    expected = model.score(good, with_next=True).scores
    assert same(first.scores, expected)
    assert same(last.scores, expected)


FOUR_ROWS = {
    "json": lambda model, limits: sagemaker.read_json(b"[[],[],[],[]]", model, limits),
    "lines": lambda model, limits: sagemaker.read_json_lines(b"1\n\n2\n3\n4", model, limits),
    "csv": lambda model, limits: sagemaker.read_csv(b"1\n2\n3\n4\n", model, limits),
    "tensors": lambda model, limits: open_inference.read(
        json.dumps(
            {"inputs": [{"name": "x", "shape": [4, 3], "datatype": "INT8", "data": [1] * 12}]}
        ).encode(),
        model,
        limits,
    ),
}


@pytest.mark.parametrize("form", FOUR_ROWS)
def test_too_many_rows_are_refused_before_they_are_built(form: str) -> None:
    with pytest.raises(RequestError) as caught:
        FOUR_ROWS[form](loaded("plain"), RequestLimits(rows=2))
    assert caught.value.status == 413


_N_TINY = 2**18

TINY_ROWS = {
    "segments": (segments.read, b'{"rows":[%s]}', b"{}"),
    "segments of numbers": (segments.read, b'{"rows":[%s]}', b'{"recency":1,"orders":1,"spend":1}'),
    "instances": (sagemaker.read_json, b'{"instances":[%s]}', b"{}"),
    "list": (sagemaker.read_json, b"[%s]", b"[]"),
    "tensors": (
        open_inference.read,
        b'{"inputs":[{"name":"x","datatype":"BYTES","data":[%%s],"shape":[%d]}]}' % _N_TINY,
        b"{}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", TINY_ROWS)
def test_too_many_tiny_rows_take_no_memory(form: str) -> None:
    read, around, row = TINY_ROWS[form]
    model, body = loaded("plain"), around % b",".join([row] * _N_TINY)
    tracemalloc.start()
    try:
        with pytest.raises(RequestError) as caught:
            read(body, model, RequestLimits(rows=1000))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert caught.value.code == "request.too_many_rows"


@pytest.mark.parametrize("name", ["plain", "vectors_with_gaps", "ordinal"])
def test_rows_are_the_same_near_the_limit(name: str) -> None:
    model = loaded(name)
    rows = [*as_json(input_rows(name).slice(0, 4)), {"spend": "\ud800"}, 5, None, [1.5, [2]], {}]
    for some in (rows[:4], rows):
        body, n = json.dumps({"rows": some, "others": [[]] * 20}).encode(), len(some)
        expected = model.score(segments.read(body, model, LIMITS), with_next=False)
        rows_at_limit = segments.read(body, model, RequestLimits(rows=n))
        scored = model.score(rows_at_limit, with_next=False)
        assert same(scored.scores, expected.scores)
        assert list(map(of, scored.problems)) == list(map(of, expected.problems))
        with pytest.raises(RequestError, match="too_many_rows"):
            segments.read(body, model, RequestLimits(rows=n - 1))


def test_a_header_of_csv_is_no_row() -> None:
    model = loaded("plain")
    lines = [",".join(model.forms.names), "1,2,3", "4,5,6"]
    rows = sagemaker.read_csv("\n".join(lines).encode(), model, RequestLimits(rows=2))
    assert rows.rows == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


def test_a_run_is_a_header_whatever_its_name() -> None:
    saved = load_output(fitted("plain"))
    assert saved.manifest is not None
    manifest = saved.manifest.model_copy(update={"run_id": "a\r\nb: c"})
    assert LoadedModel(replace(saved, manifest=manifest)).run_id.isprintable()


def test_numbers_have_one_text_however_many_there_are() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 2000, dtype=np.uint32)
    odd = [0.0, -0.0, 1.0, 0.1, 1e-4, 9.9e-5, 999_999.5, 1e6, 16_777_216.0, 1e15, np.nan, -np.inf]
    values = np.concatenate([np.float32(odd), bits.view(np.float32)])
    texts = float_texts(values)
    assert [float_texts(values[i : i + 1])[0] for i in range(len(values))] == texts
    are_finite = np.isfinite(values)
    assert [text == "null" for text in texts] == (~are_finite).tolist()
    read = np.float32([float(text) for text in texts if text != "null"])
    assert read.tobytes() == values[are_finite].tobytes()


def test_a_kernel_writes_the_numbers_that_arrow_writes() -> None:
    rng = np.random.default_rng(0)
    powers = 2.0 ** np.arange(-19, 24)
    usual = [0.0, -0.0, *powers, *(powers - 2.0**-24), *(-powers), 0.1, 473655.625, 2.0**24 - 1]
    bounds = np.float32([1e-5, 2**24]).view(np.uint32)
    bits = rng.integers(*bounds, 20_000 if THOROUGH else 2_000, dtype=np.uint32)
    numbers = np.concatenate([np.float32(usual), bits.view(np.float32)])
    integers = rng.integers(-(2**31), 2**31, len(numbers)).astype(np.int32)
    integers[:3] = -(2**31), 2**31 - 1, -1
    choice = Choice(["ü", "", "second"], rng.integers(0, 3, len(numbers)))
    for odd in (numbers[0], 1e-7, 2.0**24, np.nan):  # the last ones are not the kernel's
        numbers[-1] = odd
        fields: list[Field] = [choice, "[", integers, ",", numbers, "]"]
        texts = rows_as_list(fields, len(numbers))
        assert [text.rpartition(",")[2][:-1] for text in texts] == float_texts(numbers)
        assert rows_as_bytes(fields, len(numbers)).decode() == "".join(texts)
