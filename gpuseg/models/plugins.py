"""Load the packages beside gpuseg that have algorithms and models."""

import os
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from threading import RLock
from typing import Any

from gpuseg.errors import ResourceError

ENTRY_POINTS = "gpuseg.algorithms"
"""Group of entry points; each one has the name of its algorithm, and is an instance of
`SegmentationAlgorithm`. Its module registers the class of the models."""

_LOCK = RLock()
_LOADED: dict[str, "list[Plugin]"] = {}


def _unlock_in_child() -> None:
    """Let a forked child load the plug-ins that another thread of its parent was loading."""
    global _LOCK
    if _LOCK.acquire(blocking=False):
        _LOCK.release()
    else:
        _LOCK = RLock()
        _LOADED.clear()


os.register_at_fork(after_in_child=_unlock_in_child)


@dataclass(frozen=True)
class Plugin:
    """An entry point that was loaded, or failed to.

    Attributes
    ----------
    name : str
    distribution : str
        The package that has it.
    value : object
        What the entry point is; None if it failed.
    problem : str
        Why it failed; empty if it did not.
    """

    name: str
    distribution: str
    value: Any = None
    problem: str = ""

    def error(self) -> ResourceError:
        """Return the error of an algorithm that is requested and failed to load."""
        return ResourceError(
            "algorithm.not_loaded",
            f"its package {self.distribution} cannot be loaded ({self.problem})",
            value=self.name,
            parameter="algorithm",
            hint="install a version of the package that suits this version of gpuseg",
        )


def load_plugins() -> tuple[Plugin, ...]:
    """Return all plug-ins; each is loaded once in a process.

    A plug-in that asks for the plug-ins while it is loaded gets those before it.
    """
    with _LOCK:
        if ENTRY_POINTS not in _LOADED:
            loaded = _LOADED[ENTRY_POINTS] = []
            for entry in entry_points(group=ENTRY_POINTS):
                loaded.append(_load(entry))
        return tuple(_LOADED[ENTRY_POINTS])


def same_class(a: type, b: type) -> bool:
    """Whether two classes are one, perhaps defined again, as by a cell of a notebook."""
    return (a.__module__, a.__qualname__) == (b.__module__, b.__qualname__)


def _load(entry: EntryPoint) -> Plugin:
    distribution = entry.value.partition(":")[0] if entry.dist is None else entry.dist.name
    try:
        return Plugin(entry.name, distribution, entry.load())
    except (ImportError, AttributeError, SyntaxError) as error:
        return Plugin(entry.name, distribution, problem=f"{type(error).__name__}: {error}")
