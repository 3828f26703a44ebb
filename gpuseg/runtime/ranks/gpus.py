"""Give each rank of a machine a GPU of its own, before anything of CUDA starts."""

from __future__ import annotations

import os
import re
from pathlib import Path

from gpuseg.runtime.ranks.environment import RankEnvironment

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_DEVICES = Path("/dev")
_DEVICE = re.compile(r"nvidia\d+")


def choose_gpu(environment: RankEnvironment) -> None:
    """Let this process see only the GPU of its local rank, unless its launcher has given it one.

    A rank that has none of its own sees as many as before.
    """
    visible = _visible()
    if len(visible) > 1 and environment.local_rank < len(visible) and environment.local_size > 1:
        os.environ[_VISIBLE] = visible[environment.local_rank]


def why_no_gpu(environment: RankEnvironment) -> str:
    """Return why ranks must not choose a GPU by themselves; empty if each may have its own."""
    n_gpus = len(_devices()) if environment.local_size > 1 else 0
    if 0 < n_gpus < environment.local_size:
        return f"{environment.local_size} ranks of this machine share {n_gpus} GPUs"
    return ""


def _visible() -> list[str]:
    """Return the names of the GPUs that this process may use."""
    given = os.environ.get(_VISIBLE)
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    return [str(number) for number in range(len(_devices()))]


def _devices() -> list[str]:
    if not _DEVICES.is_dir():
        return []
    return [path.name for path in _DEVICES.iterdir() if _DEVICE.fullmatch(path.name)]
