"""gpuseg's own protocol: rows as objects, ``POST /segments``."""

from collections.abc import Mapping

import numpy as np

from gpuseg.models.scores import Scores
from gpuseg.serving.limits import RequestLimits
from gpuseg.serving.loaded_model import LoadedModel, RequestScores
from gpuseg.serving.protocols.answers import NULL, in_place, json_text, with_answers
from gpuseg.serving.protocols.row_texts import Choice, Field, rows_as_bytes, rows_as_list
from gpuseg.serving.request_rows import RequestRows


def read(body: bytes, model: LoadedModel, limits: RequestLimits) -> RequestRows:
    """Return the rows of ``{"rows": [{column: value}, …]}``.

    Raises
    ------
    RequestError
        For a body of another form, and for too many rows; a row of another form is one of the
        problems.
    """
    return model.forms.read_objects(body, limits)


def write(scored: RequestScores, model: LoadedModel) -> bytes:
    """Return ``[{"segment", "name", "distance", "next_segment", "confidence"}, …]``.

    A hierarchy with several levels adds a key for each. If rows are wrong, this is the value of
    ``segments`` of an object that says what is wrong, with null for these rows.
    """
    fields = _fields(scored.scores, model.segment_names)
    n_rows = len(scored.scores.segment)
    if not scored.n_wrong:
        return b"[%b]" % rows_as_bytes([*fields, ","], n_rows)[:-1]
    rows = in_place(rows_as_list(fields, n_rows), scored)
    return with_answers(scored, "segments", f"[{','.join(rows)}]")


def _fields(scores: Scores, names: Mapping[int, str]) -> list[Field]:
    segments = sorted(set(scores.segment.tolist()))
    starts = [_start(segment, names.get(segment)) for segment in segments]
    fields: list[Field] = [
        Choice(starts, np.searchsorted(segments, scores.segment)),
        scores.distance,
        ',"next_segment":',
        NULL if scores.next_segment is None else scores.next_segment,
        ',"confidence":',
        NULL if scores.confidence is None else scores.confidence,
    ]
    for name, level in scores.levels.items():
        fields += [f',"{name}":', level]
    return [*fields, "}"]


def _start(segment: int, name: str | None) -> str:
    shown = NULL if name is None else json_text(name)
    return f'{{"segment":{segment},"name":{shown},"distance":'
