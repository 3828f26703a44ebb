"""The texts of errors, compared with a file: a change of a text shows in its diff.

``pytest tests/contracts/test_error_texts.py --update-texts`` writes the file again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.bad_jobs import (
    BROKEN_RULES,
    CASES,
    MALFORMED_OVERRIDES,
    MINIMAL,
    UNKNOWN_KEYS,
    WRONG_VALUES,
    changed,
)
from support.refused_refreshes import KEY_VARIABLE, REFUSED, make_folder, refresh
from support.refused_submissions import REFUSED_SUBMISSIONS, submit_refused, write_rows

import gpuseg
from gpuseg.errors import GpusegError
from gpuseg.jobs.job_file import load_job
from gpuseg.printable import printable_value
from gpuseg.runtime import cluster

TEXTS = Path(__file__).with_name("error_texts.txt")


def text_of(function: Callable[..., Any], *arguments: Any) -> str:
    """Return the error that a call raises: its code and its text."""
    with pytest.raises(GpusegError) as caught:
        function(*arguments)
    codes = [part.code for part in caught.value.parts]
    lines = str(caught.value).splitlines()
    return "\n".join(f"    {code}: {line}" for code, line in zip(codes, lines, strict=True))


def all_texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each case."""
    for key in UNKNOWN_KEYS:
        yield f"unknown key {key}", text_of(load_job, changed(key, {}))
    for key, value in WRONG_VALUES:
        yield f"{key} = {printable_value(value)}", text_of(load_job, changed(key, value))
    for name, (job, *_) in BROKEN_RULES.items():
        yield name, text_of(load_job, job)
    for override in MALFORMED_OVERRIDES:
        yield f"--set {override}", text_of(load_job, MINIMAL, [override])
    for i, (name, case) in enumerate(CASES.items()):
        where = folder / str(i)
        where.mkdir()
        text = text_of(gpuseg.run, case.write(where)).replace(str(where), "<folder>")
        if not case.stable:  # what a library or this machine says
            text = re.sub(r"\(.*?\)", "(…)", text)
        yield name, text
    where = folder / "submissions"
    where.mkdir()
    write_rows(where)
    for name, submission in REFUSED_SUBMISSIONS.items():
        text = text_of(submit_refused, where, submission).replace(str(where), "<folder>")
        yield f"submit, {name}", re.sub(r"about \d+ MiB|at most \d+ on this", "about …", text)
    where = folder / "refreshes"
    where.mkdir()
    make_folder(where)
    for name, (_, sections) in REFUSED.items():
        text = text_of(partial(refresh, where, **sections))
        yield f"refresh, {name}", text.replace(str(where), "<folder>")


@pytest.mark.slow
def test_texts_of_errors(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "a secret of more than sixteen characters")
    seconds = cluster._CONNECT_SECONDS
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 1)
    texts = "\n".join(f"{name}\n{text}\n" for name, text in all_texts(tmp_path))
    texts = texts.replace("answers within 1 s", f"answers within {seconds} s")
    if request.config.getoption("--update-texts"):
        TEXTS.write_text(texts)
    assert texts.splitlines() == TEXTS.read_text().splitlines()
