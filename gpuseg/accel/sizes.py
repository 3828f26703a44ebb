"""How large an X is, before it is validated."""

from __future__ import annotations

from typing import Any


def shape_of(X: Any) -> tuple[int, ...]:
    """Return the shape of an array, a frame or nested lists; () of anything else."""
    shape = getattr(X, "shape", None)
    if isinstance(shape, tuple) and all(isinstance(size, int) for size in shape):
        return shape
    if not isinstance(X, list | tuple):
        return ()
    return (len(X), *shape_of(X[0])) if X else (0,)
