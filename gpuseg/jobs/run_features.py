"""Build the features of a job with transactions, and publish them in place of segments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gpuseg.errors import ConfigError
from gpuseg.jobs.context import open_run
from gpuseg.jobs.job_file import load_job
from gpuseg.jobs.on_ranks import run_on_ranks
from gpuseg.jobs.plan import LinesPlan
from gpuseg.jobs.run_sections import output_storage
from gpuseg.jobs.stages.build_features import build_features_only
from gpuseg.jobs.stages.stage_files import stage_and_publish
from gpuseg.manifest import FeaturesManifest, read_features_manifest
from gpuseg.output_kind import OutputKind
from gpuseg.progress import Progress
from gpuseg.redaction import redacted


@dataclass(frozen=True)
class FeaturesResult:
    """Result of `gpuseg features`.

    Attributes
    ----------
    path : str
        The output folder.
    record : FeaturesManifest
        The manifest as a typed object.
    rank : int
        Rank of this process where ``runtime.cluster = "ranks"``; otherwise 0.
    """

    path: str
    record: FeaturesManifest
    rank: int = 0

    def __repr__(self) -> str:
        return (
            f"FeaturesResult(path={redacted(self.path)!r}, n_features={len(self.record.features)}, "
            f"rows={sum(part.rows for part in self.record.parts)}, "
            f"run_id={self.record.run_id!r})"
        )

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest as a dict, as in ``_manifest.json``."""
        return self.record.to_json()


def run_features(
    job: str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
    fresh: bool = False,
) -> FeaturesResult:
    """Build the features of a job with transactions, and publish them.

    Parameters
    ----------
    job, overrides, progress, fresh : see `jobs.run.run`

    Raises
    ------
    ConfigError, DataError, ResourceError
        When the job, the data or the machine is at fault; nothing is then published.
    """
    spec = load_job(job, overrides)
    if spec.transactions is None:
        raise ConfigError(
            "transactions.missing", "missing", parameter="transactions",
            hint="features are built from the lines of this section",
        )  # fmt: skip

    def command() -> FeaturesResult:
        with open_run(spec, progress, OutputKind.FEATURES, fresh=fresh) as ctx:
            step = ctx.plan.first_step
            assert isinstance(step, LinesPlan)  # the job has transactions
            features, manifest = build_features_only(ctx, step)
            with ctx.reporter.stage("publish"):
                names = [name for name, *_ in features.parts]
                stage_and_publish(ctx, {}, manifest, names)
        return FeaturesResult(spec.output.path, manifest)

    def read(rank: int) -> FeaturesResult:
        folder = output_storage(spec)
        return FeaturesResult(spec.output.path, read_features_manifest(folder), rank)

    return run_on_ranks(spec, command, read)
