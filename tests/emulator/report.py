"""What the emulator says when a kernel goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """One thing that went wrong.

    Attributes
    ----------
    kind : str
        ``argument`` and ``launch``: the call. ``deadlock``, ``divergent barrier``, ``not in
        mask``, ``absent lane``, ``mixed intrinsics``, ``bad width``: threads that do things
        together. ``bad size``: an asynchronous copy. In check mode also ``race``, ``out of
        bounds``, ``uninitialised``, ``misaligned``, ``write to const``, ``foreign variable``,
        ``wrong memory`` (of an asynchronous copy) and, in arithmetic, ``overflow``, ``shift``,
        ``division``.
    message : str
        Which block, thread, argument and element.
    place : str
        File and line, as in ``norms.cu:12``; empty where no line is to blame.
    """

    kind: str
    message: str
    place: str = ""

    def __str__(self) -> str:
        return f"{self.kind}{f' at {self.place}' if self.place else ''}: {self.message}"


class EmulatorError(Exception):
    """A kernel did, or a launch asked for, what a GPU would not do or would do wrongly."""

    def __init__(self, launch: str, reports: Sequence[Report]) -> None:
        super().__init__("\n  ".join([launch, *map(str, reports)]))
        self.reports = tuple(reports)


class BuildError(Exception):
    """A kernel file does not compile."""
