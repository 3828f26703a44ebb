"""Where a job runs, from where and to where: what can be settled without reading anything."""

import os
from dataclasses import dataclass

from gpuseg.backends.cuda import device
from gpuseg.backends.registry import BackendChoice, choose_backend
from gpuseg.errors import ConfigError, ResourceError
from gpuseg.io.output.base import check_free
from gpuseg.io.privacy.pseudonyms import Key
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.jobs.job import JobSpec
from gpuseg.jobs.schema import InputSpec, RuntimeSpec, TransactionsSpec
from gpuseg.runtime.cluster import ClusterSpec


@dataclass(frozen=True)
class ResolvedJob:
    """Where a job runs, from where and to where.

    Attributes
    ----------
    choice : BackendChoice
        The backend, and why.
    cluster : ClusterSpec
    source, target : Storage
        Of the input, or the transactions, and the output.
    id_key : Key or None
        Of the hashes that are written in place of ids.
    """

    choice: BackendChoice
    cluster: ClusterSpec
    source: Storage
    target: Storage
    id_key: Key | None


def settle(spec: JobSpec) -> ResolvedJob:
    """Settle where a job runs; nothing is read or written.

    Raises
    ------
    ConfigError, ResourceError
        For a backend or a cluster that is not there, and an output that may not be written.
    """
    choice = choose_backend(spec.runtime.backend, spec.runtime.cluster)
    given: InputSpec | TransactionsSpec = spec.transactions or spec.input
    key = "transactions.path" if spec.transactions else "input.path"
    id_key = None
    if given.id_hash_key_env is not None:
        section = "transactions" if spec.transactions else "input"
        id_key = Key.from_env(given.id_hash_key_env, f"{section}.id_hash_key_env")
    source = Storage.from_url(given.path, given.storage_options, key)
    cluster = _cluster(spec.runtime)
    target = Storage.from_url(spec.output.path, spec.output.storage_options, "output.path")
    _refuse_overlap(source, target, key)
    with wrap_store_errors("output.path", target.url):
        check_free(target, spec.output.overwrite)
    return ResolvedJob(choice, cluster, source, target, id_key)


def _cluster(runtime: RuntimeSpec) -> ClusterSpec:
    """Return where to run; with one worker a GPU where those are asked for."""
    n_workers = runtime.n_workers
    if runtime.cluster == "cuda":
        if lacking := device.unavailable():
            raise ResourceError(
                f"runtime.cluster = 'cuda': {lacking.what}; {lacking.step}, or use cluster = 'dask'"
            )
        n_gpus = len(device.devices())
        n_workers = n_workers or n_gpus
        if n_workers > n_gpus:
            raise ResourceError(
                f"runtime.n_workers = {n_workers}, and CUDA finds {n_gpus} GPUs: with cluster = "
                f"'cuda' each worker has one of its own; use n_workers <= {n_gpus}"
            )
    limit = runtime.memory_limit
    return ClusterSpec(
        runtime.cluster,
        n_workers,
        runtime.threads_per_worker,
        None if limit is None else int(limit),
    )


def _refuse_overlap(source: Storage, target: Storage, key: str) -> None:
    """Refuse an output that would replace its input, or lie in it, or hold it."""
    if source.is_local != target.is_local:
        return
    a, b = ((os.path.realpath(s.root) if s.is_local else s.root) + "/" for s in (source, target))
    if a.startswith(b) or b.startswith(a):
        raise ConfigError(
            f"output.path = {target.url!r}: overlaps {key} = {source.url!r}; "
            "write to a folder of its own"
        )
