"""gpuseg score --stdin: lines of JSON in a pipe, of a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.fitted_outputs import fitted, new_rows
from support.helpers import THOROUGH, Outcome, call
from support.json_rows import as_json

_SECONDS = 60
"""Against a process that hangs."""


@pytest.fixture
def lines() -> list[bytes]:
    return [json.dumps(row).encode() + b"\n" for row in as_json(new_rows("plain"))]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gpuseg.cli", "score", str(fitted("plain")), *arguments]


def score(content: bytes, *arguments: str) -> tuple[int, list[Any], str]:
    done = subprocess.run(
        command("--stdin", *arguments), input=content, capture_output=True, check=False,
        timeout=_SECONDS,
    )  # fmt: skip
    return (
        done.returncode,
        [json.loads(line) for line in done.stdout.splitlines()],
        str(done.stderr),
    )


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command("--stdin", *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, bufsize=0,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_lines_of_a_file(lines: list[bytes]) -> None:
    code, full, errors = score(b"".join([*lines, b"x\n"]), "--confidence")
    assert code == 3
    assert "1 of" in errors
    assert full[-1]["error"]["line"] == len(lines) + 1
    keys = {"id", "segment", "name", "distance", "next_segment", "confidence"}
    assert all(line.keys() == keys for line in full[:-1])
    assert [line["id"] for line in full[:-1]] == [json.loads(line)["customer"] for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, *[signal.SIGTERM] * THOROUGH])
def test_each_line_is_answered_at_once_and_an_interrupt_ends_it(
    lines: list[bytes], number: int
) -> None:
    with started("--id", "") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in lines[:3]:
            process.stdin.write(line)
            scored = json.loads(process.stdout.readline())
            assert scored.keys() == {"segment", "name", "distance"}
        process.send_signal(number)
        assert process.wait(_SECONDS) == 130


@pytest.mark.slow
def test_a_reader_that_goes_ends_it_without_a_word(lines: list[bytes]) -> None:
    with started() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(lines[0])
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(lines[0])
        assert process.wait(_SECONDS) == 0
        assert process.stderr.read() == b""


@pytest.mark.skipif(not THOROUGH, reason="a process takes seconds")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_a_full_disk_is_an_error(lines: list[bytes]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command("--stdin"), input=lines[0], stdout=full, stderr=subprocess.PIPE, check=False,
            timeout=_SECONDS,
        )  # fmt: skip
    assert done.returncode == 4


@pytest.mark.skipif(not THOROUGH, reason="a process takes seconds")
def test_a_closed_standard_input_has_no_lines() -> None:
    shell = " ".join(map(repr, command("--stdin"))) + " <&-"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, check=False, timeout=_SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    "arguments",
    [
        ["INPUT", "--stdin"],
        ["INPUT", "OUTPUT", "--stdin"],
        ["--stdin", "--json"],
        ["--stdin", "--overwrite"],
        ["--stdin", "--cluster", "dask"],
        ["--stdin", "--set", "runtime.backend=numpy"],
        [],
        ["INPUT"],
    ],
)
def test_wrong_arguments(capfd: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    outcome: Outcome = call(capfd, "score", fitted("plain"), *arguments)
    assert (outcome.code, outcome.out) == (2, "")


def test_models_without_confidence(capfd: pytest.CaptureFixture[str]) -> None:
    assert call(capfd, "score", fitted("dbscan"), "--stdin", "--confidence").code == 2


def test_no_model(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call(capfd, "score", tmp_path, "--stdin").code == 3
