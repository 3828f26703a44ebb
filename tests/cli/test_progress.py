"""Progress: plain lines off a terminal, bars on one."""

import io
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

import pytest

from gpuseg import progress


def use(shown: progress.Progress) -> None:
    with shown.stage("read", 100) as stage:
        threads = [Thread(target=shown.advance, args=(25,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with shown.stage("fit", None, "iterations") as stage:
        stage.advance(1)
        stage.status("inertia 5")
    shown.log("warning: [bold] is printed as it is")
    shown.stop()


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    use(progress.PlainLines())
    out, err = capsys.readouterr()
    assert out == ""
    read, fit, message = err.splitlines()
    assert read.startswith("read ") and read.endswith("s  100 rows")
    assert fit.startswith("fit ") and fit.endswith("1 iteration  inertia 5")
    assert message == "warning: [bold] is printed as it is"


def test_bars_show_what_lines_show(capsys: pytest.CaptureFixture[str]) -> None:
    use(progress.Bars())
    err = capsys.readouterr().err
    for text in ("read", "100 rows", "1 iteration", "inertia 5", "[bold] is printed"):
        assert text in err


def test_lines_off_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert type(progress.for_standard_error()) is progress.PlainLines


def test_rows_outside_a_stage_are_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress.PlainLines()
    shown.advance(5)
    with shown.stage("read", 100):
        pass
    assert capsys.readouterr().err.rstrip().endswith(" s")


def test_rows_read_again_are_not_counted_again(capsys: pytest.CaptureFixture[str]) -> None:
    """A shard whose worker was lost is read a second time, in whatever stage that happens."""
    shown = progress.PlainLines()
    with shown.stage("read", 100):
        for _ in range(7):
            shown.advance(25)
    with shown.stage("fit", None, "passes") as stage:
        stage.advance(3)
        shown.advance(50)
    read, fit = capsys.readouterr().err.splitlines()
    assert read.endswith("s  100 rows")
    assert fit.endswith("s  3 passes")


@pytest.mark.parametrize("make", [progress.PlainLines, progress.Bars])
def test_a_stage_that_failed_does_not_look_done(
    make: Callable[[], progress.Progress], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = make()
    with pytest.raises(KeyboardInterrupt), shown.stage("read", 100):
        shown.advance(25)
        raise KeyboardInterrupt
    shown.stop()
    err = capsys.readouterr().err
    assert "25 rows" in err and "not finished" in err
    assert "✓" not in err


@pytest.mark.parametrize("display", [progress.PlainLines, progress.Bars])
def test_lines_cannot_command_the_terminal(
    display: type[progress.Progress], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = display()
    shown.log("warning: column '\x1b[31m\u202e' [bold]")
    shown.stop()
    err = capsys.readouterr().err
    assert r"'\x1b[31m\u202e' [bold]" in err


def test_without_standard_error_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    use(progress.for_standard_error())


def test_lines_that_cannot_be_written_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    with suppress(OSError), open("/dev/full", "w", buffering=1) as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stderr", full)
        shown = progress.for_standard_error()
        use(shown)
        monkeypatch.undo()
    assert type(shown) is progress.PlainLines


def test_lines_after_standard_error_is_closed_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", closed := io.StringIO())
    closed.close()
    use(progress.PlainLines())
