"""Features from transactions: before a run that clusters by them, or by themselves."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from gpuseg import __version__
from gpuseg.errors import ConfigError, DataError
from gpuseg.features.attributes import Join, open_join
from gpuseg.features.build import Features, build_features
from gpuseg.features.definitions import FEATURES, available
from gpuseg.features.joins import check_names
from gpuseg.features.transaction_files import Source, open_source
from gpuseg.io.output.base import MANIFEST, Staging, cannot_write
from gpuseg.io.output.open import open_output
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.jobs.build_manifest import rounded_seconds
from gpuseg.jobs.environment import versions
from gpuseg.jobs.job import FEATURES as FOLDER
from gpuseg.jobs.job import JobSpec, load_job
from gpuseg.jobs.resolve import ResolvedJob, settle
from gpuseg.manifest import FeatureDefinition, FeaturesManifest, Part, Transactions, dump
from gpuseg.progress import Progress
from gpuseg.runtime.cluster import open_executor
from gpuseg.runtime.executor import Executor
from gpuseg.validation import nearest_known


@dataclass(frozen=True)
class Built:
    """A job's lines, their customers' features, the job that clusters by them, what is known."""

    source: Source
    features: Features
    spec: JobSpec
    storage: Storage
    facts: dict[str, Any]


@dataclass(frozen=True)
class Opened:
    """Lines of a job, and tables of attributes, of which the footers were read."""

    source: Source
    joins: tuple[Join, ...]


def lines_of(spec: JobSpec, place: ResolvedJob) -> Opened:
    """Return the lines of a job with transactions, and what is joined to its features.

    Raises
    ------
    ConfigError, DataError
        For columns that are not there or do not serve, and names that occur twice.
    """
    assert spec.transactions is not None
    source = open_source(place.source, replace(spec.transactions.roles(), id_key=place.id_key))
    joins = tuple(
        open_join(
            Storage.from_url(own.path, own.storage_options, f"join[{i}].path"), own.id, own.columns,
            f"join[{i}]",
        )
        for i, own in enumerate(spec.join)
    )  # fmt: skip
    check_names(joins, available(source.roles.columns()))
    names = [name for join in joins for name in join.schema.names]
    spec.transactions.check_features(names)
    there = [*available(source.roles.columns()), *names]
    for name in spec.prepare.categorical:
        if name not in there:
            raise ConfigError(
                f"prepare.categorical.{name}: neither built nor joined; "
                f"{nearest_known(name, there)}"
            )
    return Opened(source, joins)


def build(
    spec: JobSpec, opened: Opened, place: ResolvedJob, executor: Executor, staging: Staging,
    progress: Progress, warn: Callable[[str], None],
) -> Built:  # fmt: skip
    """Build the features in the output's folder for them, and make them the job's input."""
    source = opened.source
    with progress.stage("features", source.rows):
        features = build_features(
            executor, source, place.choice.name, staging, FOLDER, opened.joins
        )
    clustered = _clustered(spec, features, warn)
    own = spec.model_copy(
        update={"input": spec.input.model_copy(update={"features": list(clustered)})}
    )
    storage = Storage(FOLDER, place.target.fs, staging.path(FOLDER))
    return Built(source, features, own, storage, _facts(source, features))


def _clustered(spec: JobSpec, features: Features, warn: Callable[[str], None]) -> Sequence[str]:
    """Return the features to cluster by; by default such that vary."""
    assert spec.transactions is not None
    if spec.transactions.features is not None:
        return spec.transactions.features
    own = [f.name for f in FEATURES if f.clustered and f.name in features.columns]
    for name in own:
        if name in features.constant:
            warn(f"feature '{name}': the same for all customers, and not clustered by")
    varying = [name for name in own if name not in features.constant]
    if not varying:
        count = features.quality.tally.customers
        raise DataError(
            f"transactions.path = {spec.transactions.path!r}: the {count:,} customers are all the "
            "same in every feature that is clustered by; take more lines, or name other features "
            "in transactions.features"
        )
    return varying


def _facts(source: Source, features: Features) -> dict[str, Any]:
    """Return what the manifest says of the transactions."""
    return {
        "path": source.storage.url,
        "files": source.files,
        "fingerprint": source.fingerprint(),
        "snapshot": features.snapshot.isoformat(),
        "distinct_counts": "exact, by 64-bit hashes",
        "quality": features.quality.as_dict(),
        "joins": [
            {
                "path": join.storage.url,
                "columns": join.schema.names,
                "rows": own.rows,
                "rows_without_id": own.without_id,
                "rows_of_no_customer": own.rows - own.without_id - own.customers,
                "customers": own.customers,
                "customers_without": own.lacking,
            }
            for join, own in features.joined
        ],
    }


@dataclass(frozen=True)
class FeaturesResult:
    """What `gpuseg features` leaves behind.

    Attributes
    ----------
    path : str
        The output folder.
    record : FeaturesManifest
        The manifest as a typed object.
    """

    path: str
    record: FeaturesManifest

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest as a dict, as in ``_manifest.json``."""
        return self.record.to_json()


def run_features(
    job: str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> FeaturesResult:
    """Build the features of a job with transactions, and publish them instead of segments.

    Raises
    ------
    ConfigError, DataError, ResourceError
        When the job, the data or the machine is at fault; nothing is then published.
    """
    progress = progress or Progress()
    started = datetime.now(UTC)
    spec = load_job(job, overrides)
    if spec.transactions is None:
        raise ConfigError(
            "transactions: missing; features are built from the lines of that section"
        )
    place = settle(spec)
    opened = lines_of(spec, place)
    source = opened.source
    run_id = f"{started:%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"
    urls = f"{spec.transactions.path} → {spec.output.path}"
    with wrap_store_errors("transactions.path, output.path", urls), ExitStack() as stack:
        output = stack.enter_context(open_output(place.target, spec.output.overwrite, run_id))
        executor = stack.enter_context(
            open_executor(place.cluster, progress.report, progress.message)
        )
        with progress.stage("features", source.rows):
            features = build_features(
                executor, source, place.choice.name, output.staging, joins=opened.joins
            )
        manifest = FeaturesManifest(
            gpuseg=__version__,
            run_id=run_id,
            started=f"{started:%Y-%m-%dT%H:%M:%SZ}",
            job=spec.public(),
            transactions=Transactions.from_json(_facts(source, features)),
            features=tuple(
                FeatureDefinition.from_json(asdict(f))
                for f in FEATURES
                if f.name in features.columns
            ),
            versions=versions(),
            seconds=rounded_seconds(progress.seconds),
            parts=tuple(
                Part(name=name, rows=rows, bytes=size) for name, rows, size in features.parts
            ),
        )
        with progress.stage("publish"):
            try:
                output.write(MANIFEST, dump(manifest))
                output.publish([name for name, *_ in features.parts])
            except OSError as error:
                raise cannot_write(place.target.url, error) from None
    return FeaturesResult(spec.output.path, manifest)
