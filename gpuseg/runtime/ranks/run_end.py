"""How a run ended on rank 0, for the other ranks: they end in the same way."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event
from typing import NoReturn

from gpuseg.errors import ConfigError, DataError, GpusegError, ResourceError
from gpuseg.runtime.exit_codes import INTERRUPTED
from gpuseg.runtime.interrupts import Interrupted, code_of_interrupt

_ERRORS = {kind.exit_code: kind for kind in (GpusegError, ConfigError, DataError, ResourceError)}


class RankEnded(SystemExit):
    """The end of this process with the exit code of rank 0, which was told to end.

    Attributes
    ----------
    text : str
        What the command line prints.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code)
        self.text = text


@dataclass(frozen=True)
class RunEnd:
    """How a run ended.

    Attributes
    ----------
    code : int
        Exit code.
    error : str
        Code of the error; empty if there was none.
    text : str
        What rank 0 says of it.
    run_id : str
        Of the output that was published.
    """

    code: int = 0
    error: str = ""
    text: str = ""
    run_id: str = ""

    @classmethod
    def by(cls, error: BaseException, rank: str) -> RunEnd:
        """Return the end by an exception on the rank with a name."""
        if (code := code_of_interrupt()) is not None:  # the exception may be any
            return cls(code, "", f"{rank} was told to end")
        if isinstance(error, GpusegError):
            return cls(error.exit_code, error.code, f"{rank} has ended the run: {error}")
        if isinstance(error, Interrupted | KeyboardInterrupt):
            return cls(INTERRUPTED, "", f"{rank} was interrupted")
        if isinstance(error, SystemExit) and isinstance(error.code, int):
            return cls(error.code, "", f"{rank} has ended the run")
        return cls(1, "ranks.rank_zero_failed", f"{rank} has failed ({type(error).__name__})")

    def raise_error(self) -> NoReturn:
        """End this rank as rank 0 has ended."""
        if self.error:
            raise _ERRORS.get(self.code, GpusegError)(self.error, self.text)
        if self.code == INTERRUPTED:
            raise Interrupted
        raise RankEnded(self.code, self.text)


_received = Event()
_end: RunEnd | None = None


def receive_end(end: RunEnd) -> None:
    """Take the end that rank 0 tells: its client calls this in the process of each worker."""
    global _end
    _end = end
    _received.set()


def await_end(seconds: float) -> RunEnd | None:
    """Return the end that rank 0 has told; None if it does not within some seconds."""
    return _end if _received.wait(seconds) else None


def expect_end() -> None:
    """Forget the end of an earlier run in this process."""
    global _end
    _end = None
    _received.clear()
