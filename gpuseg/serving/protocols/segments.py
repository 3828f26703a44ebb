"""gpuseg's own protocol: rows as objects, ``POST /segments``."""

from collections.abc import Mapping

from gpuseg.serving.limits import RequestLimits
from gpuseg.serving.loaded_model import LoadedModel, RequestScores
from gpuseg.serving.protocols.answers import (
    NULL,
    float_texts,
    in_place,
    int_texts,
    json_text,
    with_answers,
)
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
    rows = in_place(_rows(scored, model.segment_names), scored)
    answers = f"[{','.join(rows)}]"
    if not scored.n_wrong:
        return answers.encode()
    return with_answers(scored, "segments", answers)


def _rows(scored: RequestScores, names: Mapping[int, str]) -> list[str]:
    scores = scored.scores
    segments = scores.segment.tolist()
    n_rows = len(segments)
    starts = {segment: _start(segment, names.get(segment)) for segment in set(segments)}
    nothing = [NULL] * n_rows
    columns = [
        [starts[segment] for segment in segments],
        float_texts(scores.distance),
        [',"next_segment":'] * n_rows,
        nothing if scores.next_segment is None else int_texts(scores.next_segment),
        [',"confidence":'] * n_rows,
        nothing if scores.confidence is None else float_texts(scores.confidence),
    ]
    for name, level in scores.levels.items():
        columns += [[f',"{name}":'] * n_rows, int_texts(level)]
    columns.append(["}"] * n_rows)
    return list(map("".join, zip(*columns, strict=True)))


def _start(segment: int, name: str | None) -> str:
    shown = NULL if name is None else json_text(name)
    return f'{{"segment":{segment},"name":{shown},"distance":'
