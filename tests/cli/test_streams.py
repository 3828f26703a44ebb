"""Standard streams that are full, closed, broken or of another encoding; the first Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.helpers import THOROUGH, call, customers, job, manifest_of, toml, write_files

from gpuseg.cli import jobs
from gpuseg.jobs.stages import publish
from gpuseg.manifest import Manifest
from gpuseg.standard_streams import take_output_error, unfailing_streams

PROGRAM = [sys.executable, "-m", "gpuseg"]


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    table = customers(60).rename_columns(["customer", "σ [/x]", "b", "c"])
    source = write_files(tmp_path / "in", [table])
    path = tmp_path / "job.toml"
    path.write_text(toml(job(source, tmp_path / "out", input={"features": None})))
    return path


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line, "bash", *PROGRAM],
        capture_output=True, text=True, env={**os.environ, **environment}, timeout=120,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("streams", "code"), [
    ("> /dev/full", 4),
    ("<&- >&- 2>&-", 0),
    ("| true", 0),
    *[("1< /dev/null", 4), ("> /dev/full 2> /dev/full", 4), (">&-", 0)] * THOROUGH,
])  # fmt: skip
def test_a_command_that_only_prints(streams: str, code: int) -> None:
    done = shell(f'"$@" --version {streams}')
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)


@pytest.mark.slow
@pytest.mark.parametrize("streams", [
    "> /dev/full 2> /dev/full", "2>&1 | true", *["<&- >&- 2>&-"] * THOROUGH,
])  # fmt: skip
def test_a_run_is_published_whatever_becomes_of_its_streams(
    tmp_path: Path, job_file: Path, streams: str
) -> None:
    done = shell(f'"$@" run {job_file} {streams}')
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert (tmp_path / "out" / "_SUCCESS").exists()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_run_prints_in_any_encoding(
    tmp_path: Path, job_file: Path, encoding: str,
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    shown = tmp_path / "shown.txt"
    monkeypatch.setenv("COLUMNS", "1")
    for option in ("--overwrite", "--json"):
        with shown.open("w", encoding=encoding) as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            outcome = call(capfd, "run", job_file, "--overwrite", option)
        assert (outcome.code, "warning" in outcome.err) == (0, False)
    assert json.loads(shown.read_text(encoding)) == manifest_of(tmp_path / "out")


@pytest.mark.slow
def test_a_terminal_without_size_or_abilities(tmp_path: Path, job_file: Path) -> None:
    outer, inner = pty.openpty()  # of 0 columns and 0 lines
    child = subprocess.Popen(
        [*PROGRAM, "run", str(job_file)], stdin=inner, stdout=inner, stderr=inner,
        env={**os.environ, "TERM": "dumb"},
    )  # fmt: skip
    os.close(inner)
    shown = bytearray()
    while chunk := _read(outer):
        shown += chunk
    os.close(outer)
    assert child.wait(timeout=60) == 0
    assert b"Traceback" not in shown and str(tmp_path / "out").encode() in shown


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # all have closed the other end
        return b""


INTERRUPT_AT_IMPORT = """
import os, signal, sys

class Finder:
    def find_spec(name, path=None, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder)
from gpuseg.__main__ import main
sys.argv = ["gpuseg", "--version"]
main()
"""


@pytest.mark.parametrize("name", ["gpuseg.cli.app", "typer", "gpuseg.standard_streams"])
def test_ctrl_c_while_the_command_starts(name: str) -> None:
    code = INTERRUPT_AT_IMPORT.format(name=name)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (130, "", False)


@pytest.mark.parametrize("fault", ["table", "report"])
def test_what_is_shown_cannot_fail_a_run(
    tmp_path: Path, job_file: Path, fault: str,
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def fail(*arguments: Any) -> str:
        raise ValueError("a fault of the display")

    if fault == "table":
        monkeypatch.setattr(jobs, "print_table", fail)
    else:
        monkeypatch.setattr(publish, "render_report", fail)
    outcome = call(capfd, "run", job_file)
    assert (outcome.code, "warning" in outcome.err) == (0, True)
    manifest = manifest_of(tmp_path / "out")
    assert len(Manifest.from_json(manifest).warnings) == (fault == "report")
    assert (tmp_path / "out" / "_report.html").exists()


def test_the_first_error_of_standard_output_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w", encoding="ascii") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        with unfailing_streams():
            print("σ" * 100_000)
            error = take_output_error()
            assert error is not None and take_output_error() is None
        assert sys.stdout is full
        monkeypatch.undo()


def test_standard_output_that_is_no_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a notebook: it is used as it is."""
    with unfailing_streams():
        print("σ")
        assert take_output_error() is None
    assert capsys.readouterr().out == "σ\n"


INTERRUPTED = """
import signal, sys
from gpuseg.standard_streams import unfailing_streams

class Interrupted(BaseException):
    pass

def interrupt(signal_number, frame):
    global is_armed
    if is_armed:
        is_armed = False
        raise Interrupted

is_armed = False
signal.signal(signal.SIGINT, interrupt)
number = 0
with unfailing_streams():
    while number < 20_000:
        try:
            is_armed = True
            while number < 20_000:
                number += 1
                print("line", number, file=sys.stderr, flush=True)
            is_armed = False
        except Interrupted:
            pass
    signal.signal(signal.SIGINT, signal.SIG_IGN)
"""


def test_an_interrupt_writes_no_line_twice() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        lines = [process.stderr.readline()]
        for line in process.stderr:
            lines.append(line)
            if len(lines) % 10 == 0:
                process.send_signal(signal.SIGINT)
    assert process.returncode == 0
    assert lines[0] == "line 1\n"
    assert len(set(lines)) == len(lines) > 10_000
