"""Resolve backend, cluster, input and output of a job without reading data."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gpuseg.backends.cuda import gpus
from gpuseg.backends.registry import BackendChoice, choose_backend
from gpuseg.errors import ConfigError, ResourceError, literal
from gpuseg.io.input_paths import has_file_inside, open_paths, overlaps
from gpuseg.io.output.base import check_free
from gpuseg.io.privacy.pseudonyms import Key
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.jobs.run_sections import RunSections, output_storage
from gpuseg.jobs.schema import RANKS, RuntimeSpec
from gpuseg.output_kind import OutputKind
from gpuseg.runtime.cluster import ClusterSpec, has_dask_certificates
from gpuseg.runtime.ranks.environment import has_rank, rank_environment
from gpuseg.runtime.ranks.gpus import why_no_gpu
from gpuseg.runtime.scheduler_file import SUFFIX, read_address
from gpuseg.runtime.tls_files import ENCRYPTED


@dataclass(frozen=True)
class ResolvedJob:
    """Backend, cluster, input and output of a job.

    Attributes
    ----------
    backend : BackendChoice
    cluster : ClusterSpec
    source, target : Storage
        Of the input, or the transactions, and of the output.
    id_key : Key or None
        Key of the hashes that are written in place of ids.
    """

    backend: BackendChoice
    cluster: ClusterSpec
    source: Storage
    target: Storage
    id_key: Key | None


def resolve_job(
    spec: RunSections, kind: OutputKind, replaces: Collection[OutputKind] = ()
) -> ResolvedJob:
    """Resolve backend, cluster, input and output, of a kind; nothing is read or written.

    Parameters
    ----------
    replaces : collection of OutputKind
        Other kinds of outputs that may be replaced.

    Raises
    ------
    ConfigError, ResourceError
        For a backend or a cluster that is not available, and an output that must not be written.
    """
    runtime, section = spec.runtime, "input" if spec.transactions is None else "transactions"
    backend = choose_backend(runtime.backend, runtime.no_gpu_reason or _why_no_gpu(runtime))
    id_key = None
    if spec.source.id_hash_key_env is not None:
        id_key = Key.from_env(spec.source.id_hash_key_env, f"{section}.id_hash_key_env")
    source = open_paths(spec.source.path, spec.source.storage_options, f"{section}.path")
    cluster = _cluster(runtime, spec.source.id_hash_key_env)
    target = output_storage(spec)
    refuse_overlap(source, target, f"{section}_path")
    with wrap_store_errors("output.path", target.url):
        check_free(target, spec.output.overwrite, kind, replaces)
    return ResolvedJob(backend, cluster, source, target, id_key)


def _why_no_gpu(runtime: RuntimeSpec) -> str:
    """Return why ranks must not choose GPUs by themselves; empty if they may."""
    return why_no_gpu(rank_environment()) if runtime.cluster == RANKS and has_rank() else ""


def _cluster(runtime: RuntimeSpec, secret: str | None) -> ClusterSpec:
    """Return the cluster; `cuda` has one worker for each GPU by default."""
    n_workers = runtime.n_workers
    if runtime.cluster == "cuda":
        if missing := gpus.unavailable():
            raise ResourceError(
                "cluster.no_gpu", missing.reason, value="cuda", parameter="cluster",
                hint=f"{missing.hint}, or use cluster = 'dask'",
            )  # fmt: skip
        n_gpus = len(gpus.devices())
        n_workers = n_workers or n_gpus
        if n_workers > n_gpus:
            raise ResourceError(
                "n_workers.more_than_gpus",
                f"CUDA finds {n_gpus} GPUs, and with cluster = 'cuda' each worker has its own",
                value=n_workers,
                parameter="n_workers",
                hint=f"use `n_workers` <= {n_gpus}",
            )
    threads, workers_here = runtime.threads_per_worker, None
    if runtime.cluster == RANKS and has_rank():
        environment = rank_environment()
        n_workers, workers_here = environment.size, environment.local_size
        threads = threads or environment.threads()
    limit = runtime.memory_limit
    return ClusterSpec(
        _address(runtime),
        n_workers,
        threads,
        None if limit is None else int(limit),
        secret,
        runtime.tls,
        workers_here,
    )


def _address(runtime: RuntimeSpec) -> str:
    """Return the cluster or the address of its scheduler; check the certificates for it."""
    cluster = runtime.cluster
    address = read_address(cluster) if cluster.endswith(SUFFIX) else cluster
    if runtime.tls is not None:
        if not address.startswith(ENCRYPTED):
            raise ConfigError(
                "tls.not_encrypted", f"the scheduler is at {address}, without encryption",
                value=runtime.cluster, parameter="cluster",
                hint="start it with certificates, or leave `tls_ca_file` and the others out",
            )  # fmt: skip
        runtime.tls.check()
    elif address.startswith(ENCRYPTED) and not has_dask_certificates():
        raise ConfigError(
            "tls.no_certificates",
            "the scheduler asks for a certificate, and neither the job nor the configuration of "
            "Dask names one",
            value=runtime.cluster, parameter="cluster",
            hint="set `tls_ca_file`, `tls_cert` and `tls_key`, or distributed.comm.tls in the "
            "configuration of Dask",
        )  # fmt: skip
    return address


def refuse_overlap(source: Storage, target: Storage, parameter: str) -> None:
    """Refuse an output that is an input, or contains it, or is inside it.

    Raises
    ------
    ConfigError
    """
    if overlaps(source, target):
        raise _output_overlaps(source, target, parameter)


def refuse_files_inside(source: Storage, paths: Sequence[str], job: ResolvedJob, key: str) -> None:
    """Refuse an output that has files of a list or a glob in its folder.

    Raises
    ------
    ConfigError
    """
    if has_file_inside(source, paths, job.target):
        raise _output_overlaps(source, job.target, key)


def _output_overlaps(source: Storage, target: Storage, parameter: str) -> ConfigError:
    return ConfigError(
        "output.overlaps_input", value=target.url, parameter="output_path",
        rule=f"overlaps `{parameter}` = {literal(repr(source.url))}",
        hint="write to another folder",
    )  # fmt: skip
