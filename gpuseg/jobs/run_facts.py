"""What the manifests of all runs say: the processors and the seconds of the stages."""

from collections.abc import Mapping
from typing import Any

from gpuseg.backends.cuda import gpus
from gpuseg.formatting import count


def devices_of(executor: Mapping[str, Any], backend: str) -> tuple[str, ...]:
    """Return the processors of the workers; GPUs are those of the caller's machine.

    `executor` is what `Executor.describe` returns.
    """
    workers = count(executor["n_workers"], "worker")
    threads = count(executor["threads_per_worker"], "thread")
    gpu_names = gpus.devices() if backend == "cuda" else []
    return (
        *(f"cpu: {machine}, {workers} × {threads}" for machine in executor["machines"]),
        *(f"gpu: {gpu}" for gpu in gpu_names),
    )


def rounded_seconds(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds of each stage and their total, rounded to milliseconds.

    In the manifest they end before publishing.
    """
    stages = {name: round(value, 3) for name, value in seconds.items()}
    return {**stages, "total": round(sum(seconds.values()), 3)}
