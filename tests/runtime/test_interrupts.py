"""Signals that wait until an import is complete."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from gpuseg.runtime.exit_codes import SIGNALS
from gpuseg.runtime.interrupts import (
    Interrupted,
    Signals,
    ignore_later_interrupts,
    interrupts_deferred,
    raise_if_interrupted,
)


@pytest.fixture
def arrived() -> Iterator[list[int]]:
    """The signals that this process has handled."""
    numbers: list[int] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in before:
        signal.signal(number, lambda number, frame: numbers.append(number))
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


def test_signals_are_handled_at_the_end_in_their_order(arrived: list[int]) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with interrupts_deferred():
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        assert arrived == []
    assert arrived == [signal.SIGTERM, signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_handler_may_raise_and_an_error_inside_is_not_lost(arrived: list[int]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt), interrupts_deferred():
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(ZeroDivisionError), interrupts_deferred():
        raise ZeroDivisionError
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_is_not_lost_with_an_error_inside(arrived: list[int]) -> None:
    with pytest.raises(ZeroDivisionError), interrupts_deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        raise ZeroDivisionError
    assert arrived == [signal.SIGTERM]


def test_an_interrupt_that_was_swallowed_is_raised_again(arrived: list[int]) -> None:
    raise_if_interrupted()
    signals = Signals()
    raise_if_interrupted()
    with suppress(Interrupted):
        os.kill(os.getpid(), signal.SIGINT)
    for _ in range(2):
        with pytest.raises(Interrupted):
            raise_if_interrupted()
    os.kill(os.getpid(), signal.SIGINT)  # does not disturb the cleanup
    signals.end()
    raise_if_interrupted()


def test_an_interrupt_that_python_drops_is_not_shown_but_raised_again(
    arrived: list[int], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    signals = Signals()

    class Dropping:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    Dropping()
    with pytest.raises(Interrupted):
        raise_if_interrupted()
    signals.end()
    assert capfd.readouterr().err == ""
    assert sys.unraisablehook is sys.__unraisablehook__


def test_a_signal_after_the_output_is_published_changes_nothing(arrived: list[int]) -> None:
    signals = Signals()
    with interrupts_deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        ignore_later_interrupts()
    os.kill(os.getpid(), signal.SIGINT)
    raise_if_interrupted()
    assert not signals.received
    signals.end()


def test_signals_that_are_ignored_stay_ignored(arrived: list[int]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupts_deferred():
        os.kill(os.getpid(), signal.SIGINT)
    assert arrived == []
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_change_no_handler(arrived: list[int]) -> None:
    inside: list[object] = []

    def enter() -> None:
        with interrupts_deferred():
            inside.append(signal.getsignal(signal.SIGINT))

    handler = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert inside == [handler]
