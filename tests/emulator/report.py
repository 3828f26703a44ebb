"""Reports and exceptions of the emulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """One error.

    Attributes
    ----------
    kind : str
        ``argument`` and ``launch``: errors of the call. ``deadlock``, ``divergent barrier``, ``not
        in mask``, ``absent lane``, ``mixed intrinsics``, ``bad width``: errors of collective
        operations. ``bad size``: an asynchronous copy. In check mode also ``race``, ``out of
        bounds``, ``uninitialized``, ``misaligned``, ``write to const``, ``foreign variable``,
        ``wrong memory`` (of an asynchronous copy) and, in arithmetic, ``overflow``, ``shift``,
        ``division``.
    message : str
        The block, thread, argument and element.
    location : str
        File and line, as in ``norms.cu:12``; empty where no line is at fault.
    """

    kind: str
    message: str
    location: str = ""

    def __str__(self) -> str:
        return f"{self.kind}{f' at {self.location}' if self.location else ''}: {self.message}"


class EmulatorError(Exception):
    """A kernel or a launch did what is an error, or undefined, on a GPU."""

    def __init__(self, launch: str, reports: Sequence[Report]) -> None:
        super().__init__("\n  ".join([launch, *map(str, reports)]))
        self.reports = tuple(reports)


class BuildError(Exception):
    """A kernel file does not compile."""
