"""Changes of a model registry in other processes, which run at the same time or are killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from gpuseg.model_registry.registry import ModelRegistry

Options = Mapping[str, Any]


def change_at_the_same_time(
    url: str, output: Path, options: Options, n_processes: int, n_changes: int
) -> None:
    """Let several processes add versions to the model `shop`, and promote them."""
    context = get_context("forkserver")
    ready = context.Barrier(n_processes)
    processes = [
        context.Process(target=_change, args=(url, output, options, n_changes, ready, i))
        for i in range(n_processes)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * n_processes


def _change(
    url: str, output: Path, options: Options, n_changes: int, ready: Any, number: int
) -> None:
    registry = ModelRegistry(url, storage_options=options)
    ready.wait(60)
    for _ in range(n_changes):
        version = registry.add("shop", output, alias=f"newest_of_{number}")
        registry.promote("shop", version)


def add_and_be_killed(url: str, output: Path, options: Options, step: int) -> bool:
    """Add a version in a process that is killed before its n-th step, if it has so many.

    A step is a flush to the disk or a request to S3 that writes. Returns whether it was killed.
    """
    process = get_context("forkserver").Process(
        target=_add_until, args=(url, output, options, step)
    )
    process.start()
    process.join(120)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def _add_until(url: str, output: Path, options: Options, step: int) -> None:
    from aiobotocore.client import AioBaseClient

    left = step

    def count() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    flush, call = os.fsync, AioBaseClient._make_api_call

    def counted_flush(file: int) -> None:
        count()
        flush(file)

    async def counted_call(client: Any, operation: str, arguments: Any) -> Any:
        if operation.startswith(("Put", "Delete", "Create", "Upload", "Complete")):
            count()
        return await call(client, operation, arguments)

    os.fsync = counted_flush
    AioBaseClient._make_api_call = counted_call
    ModelRegistry(url, storage_options=options).add("shop", output, alias="champion")
