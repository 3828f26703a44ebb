"""Run the methods of a backend in streams of the device."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from gpuseg.backends.cuda.launcher import Launcher


class _HasLauncher(Protocol):
    _launcher: Launcher


S = TypeVar("S", bound=_HasLauncher)
P = ParamSpec("P")
R = TypeVar("R")


def on_stream(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Run a method in a stream, see `Launcher.stream`.

    So several threads overlap the copies of their rows with each other's kernels.
    """

    @wraps(method)
    def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._launcher.stream():
            return method(self, *args, **kwargs)

    return run
