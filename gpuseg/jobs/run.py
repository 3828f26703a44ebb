"""One run, from the job to the published output.

1. Plan: validate the job, read footers, choose the backend, stage the output; where the job has
   transactions, build features from them, which are then the input.
2. Read: each worker decodes its row groups into a float32 shard.
3. Prepare: statistics of all shards, then fill, transform and scale in place.
4. Fit: k-means or DBSCAN over the shards; labels stay where the rows are.
5. Write: each worker writes its own parts; ids are checked for repetition.
6. Describe: what the segments are, from a hashed sample of the rows.
7. Publish: model, report and manifest, then one rename.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from gpuseg.algorithms.dbscan.fit import SWEEPS, again_if_lost
from gpuseg.algorithms.kmeans.fit import sweep_kmeans
from gpuseg.algorithms.kmeans.statistics import measured_as_prepared
from gpuseg.errors import ResourceError
from gpuseg.io.output.assignments import Part
from gpuseg.io.output.base import Staging
from gpuseg.io.output.open import open_output
from gpuseg.io.parquet.column_counts import count_columns
from gpuseg.io.parquet.dataset import Dataset
from gpuseg.io.storage import wrap_store_errors
from gpuseg.jobs import build_manifest as manifests
from gpuseg.jobs.duplicates import named_like_ids, number_rows, settle_repeated
from gpuseg.jobs.job import JobSpec, further_columns, load_job
from gpuseg.jobs.plan import JobPlan, MemoryPlan, forecast, plan_memory
from gpuseg.jobs.reader_choice import Reader, choose_reader, place_rows
from gpuseg.jobs.resolve import settle
from gpuseg.jobs.stages import build_features as transactions
from gpuseg.jobs.stages.profile import EXAMPLES, Seen, alike, look
from gpuseg.jobs.stages.publish import publish
from gpuseg.jobs.stages.write import write
from gpuseg.model_selection.confidence import keep_confidence
from gpuseg.model_selection.select_k import fit_and_choose
from gpuseg.preprocessing.encoding.column_counts import ColumnCounts
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.preprocessing.fit import PreprocessingFit, fit_preparation
from gpuseg.preprocessing.pipeline import FeaturePipeline
from gpuseg.progress import Progress, iteration_callback
from gpuseg.reporting.report import render_summary
from gpuseg.runtime.cluster import open_executor
from gpuseg.runtime.executor import Executor
from gpuseg.segmentation.base import UNCLEAR, AnyModel, SegmentationResult, of_kmeans
from gpuseg.segmentation.dbscan import run_dbscan
from gpuseg.segmentation.hierarchical import run_hierarchy
from gpuseg.segmentation.specs import DBSCANSpec, HierarchicalSpec, KMeansSpec
from gpuseg.sharding import column_passes as columns
from gpuseg.sharding import row_passes as passes


@dataclass(frozen=True)
class RunResult:
    """What a run leaves behind.

    Attributes
    ----------
    path : str
        The output folder.
    manifest : dict
        As written to ``_manifest.json``.
    model : KMeansModel, DBSCANModel or HierarchicalModel
        The one whose segments were written.
    models : list of models
        One for each number of clusters of a sweep; the last is `model`.
    """

    path: str
    manifest: dict[str, Any]
    model: AnyModel
    models: Sequence[AnyModel]

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return render_summary(self.manifest)


def run(
    job: str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> RunResult:
    """Run a job.

    Parameters
    ----------
    job : path of a TOML file, or a mapping of the same shape
    overrides : such as ``["segment.n_clusters=12"]``
    progress : where to show what goes on; nowhere by default

    Raises
    ------
    ConfigError, DataError, ResourceError
        When the job, the data or the machine is at fault; nothing is then published, and an
        older output is as it was.
    """
    spec = load_job(job, overrides)
    return _Run(spec, progress or Progress()).run()


class _Run:
    """The state of one run while it is under way."""

    def __init__(self, spec: JobSpec, progress: Progress) -> None:
        self.spec, self.progress = spec, progress
        self.started = datetime.now(UTC)
        self.run_id = f"{self.started:%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"
        self.warnings: list[str] = []
        self.digest = self.repeated = 0
        self.built: transactions.Built | None = None
        self.memory: MemoryPlan
        self.reader: Reader
        self.encoders: tuple[Encoder, ...] = ()

    def run(self) -> RunResult:
        given = self.spec.transactions or self.spec.input
        urls = f"{given.path} → {self.spec.output.path}"
        try:
            with wrap_store_errors("input.path, output.path", urls), ExitStack() as stack:
                return self._steps(stack)
        except MemoryError:
            raise ResourceError(
                "out of memory; use more workers (runtime.n_workers) on machines of their own, or "
                "fewer features"
            ) from None

    def _steps(self, stack: ExitStack) -> RunResult:
        spec, progress = self.spec, self.progress
        with progress.stage("plan"):  # 1
            place = settle(spec)
            lines = transactions.lines_of(spec, place) if spec.transactions else None
            plan = None if lines else forecast(spec, place, place.source)
            output = stack.enter_context(
                open_output(place.target, spec.output.overwrite, self.run_id)
            )
        with progress.stage("start"):
            executor = stack.enter_context(
                open_executor(place.cluster, progress.report, progress.message)
            )
        if lines:
            built = transactions.build(
                spec, lines, place, executor, output.staging, progress, self._warn
            )
            self.spec, self.built = built.spec, built
            plan = forecast(built.spec, place, built.storage)
        assert plan is not None
        for name in named_like_ids(self.spec.input, plan.dataset.features):
            self._warn(
                f"feature '{name}' is named like an id, and is clustered by; set input.id = "
                f"'{name}', or name the features in input.features"
            )
        prepared = self._read_and_prepare(executor, plan)  # 2, 3

        outcome, parts, seen = again_if_lost(
            lambda: self._segment(executor, plan, prepared, output.staging), progress.message
        )
        facts = manifests.Facts(
            self.spec, plan, self.reader, prepared, outcome, parts, self.digest,
            {**executor.describe(), "rows_are": self.memory.mode, "why": self.memory.why},
            self.warnings, seen, self.built.facts if self.built else None, self.encoders,
        )  # fmt: skip
        with progress.stage("describe"):
            told = manifests.told(facts)
            if getattr(spec.segment, "n_clusters", None) == "auto" and (same := alike(*told)):
                self._warn(same)
        content = manifests.build(facts, told, self.run_id, self.started, progress.seconds)
        with progress.stage("publish"):  # 7
            own = [name for name, *_ in self.built.features.parts] if self.built else []
            names = [*own, *(part.name for part in parts)]
            publish(output, content, spec.output.plots, outcome, names, {EXAMPLES: seen.examples})
        return RunResult(spec.output.path, content, outcome.models[-1], outcome.models)

    def _segment(
        self, executor: Executor, plan: JobPlan, prepared: PreprocessingFit, staging: Staging
    ) -> tuple[SegmentationResult, list[Part], Seen]:
        """Give every customer a segment, write it, and look at some; anew where one is lost."""
        spec, progress = self.spec, self.progress
        outcome = self._fit(executor, plan, prepared, staging)  # 4
        if spec.output.confidence:
            executor.apply(keep_confidence, plan.choice.name, *outcome.nearest)
        turns = self.memory.id_turns if spec.prepare.duplicates == "keep" else 0
        columns = further_columns(spec)
        parts = write(executor, plan.dataset, staging, columns, turns, progress, self._warn)  # 5
        with progress.stage("examples"):  # 6
            lines = self.built.source if self.built else None
            seen = look(executor, prepared, outcome, spec.audit.columns, lines)
        return outcome, parts, seen

    def _read_and_prepare(self, executor: Executor, plan: JobPlan) -> PreprocessingFit:
        dataset, prepare = plan.dataset, self.spec.prepare
        workers = len(executor.workers())
        algorithm = self.spec.segment.algorithm
        self.memory = plan_memory(
            dataset, plan.cluster, workers, algorithm, plan.width,
            len(further_columns(self.spec)),
        )  # fmt: skip
        if self.memory.mode == "streamed":
            self.progress.message(
                f"note: rows are streamed from Parquet in every pass: {self.memory.why}"
            )
        self.encoders = self._encoders(executor, dataset)
        recipe = prepare.recipe(self.encoders, plan.unit, "prepare.", "input.features")
        drop, unique = prepare.missing == "drop", prepare.duplicates != "keep"
        shard_plans = dataset.plan_shards(workers, drop and not unique, self.encoders)
        if len(shard_plans) < workers:
            self.progress.message(
                f"note: {workers} workers, but only {dataset.row_groups} row groups in the data: "
                f"{len(shard_plans)} workers have rows"
            )
        with self.progress.stage("read", dataset.rows):
            reader = choose_reader(self.spec, dataset, plan.choice, self.memory.mode)
            self.reader = place_rows(executor, reader, self.memory.mode, shard_plans)
        if plan.choice.name == "cuda":
            self.progress.message(f"note: rows were read by {self.reader.name}: {self.reader.why}")
        with self.progress.stage("prepare"):
            present = number_rows(executor)
            if unique:
                self.repeated = settle_repeated(executor, str(dataset.id), prepare.duplicates, drop)
                present = number_rows(executor) + self.repeated
            self.digest = sum(executor.map(columns.digest, plan.choice.name)) % 2**64

            def locate(shard: int, row: int) -> str:
                asked = [row if i == shard else None for i in range(executor.n_shards)]
                source = executor.map(passes.source_row, per_shard=asked)[shard]
                return shard_plans[shard].describe_row(source or 0)

            prepared = fit_preparation(executor, plan.choice.name, recipe, locate)
        if dropped := dataset.rows - present:
            self._warn(f"{dropped:,} rows with a missing feature were dropped")
        if self.repeated:
            self._warn(f"{self.repeated:,} rows were dropped that repeat the id of one before them")
        for name, why in prepared.dropped.items():
            self.progress.message(f"note: feature '{name}' was left out: {why}")
        for text in prepared.redundant:
            self.progress.message(f"note: {text}; see prepare.drop_near_constant, drop_correlated")
        if isinstance(self.spec.segment, KMeansSpec):
            self.spec.segment.models()[0].check_init(prepared.preparation.n_columns)
        return prepared

    def _encoders(self, executor: Executor, dataset: Dataset) -> tuple[Encoder, ...]:
        """Settle what becomes of each column, from what is counted in the data where need be."""
        prepare, columns = self.spec.prepare, dataset.features
        tallies: dict[str, ColumnCounts] = {}
        if prepare.counts_first:
            with self.progress.stage("count"):
                gaps = [name for name in columns if name not in prepare.categorical]
                tallies = count_columns(
                    executor, dataset, list(prepare.categorical),
                    gaps if prepare.missing_indicator else [],
                )  # fmt: skip
        return prepare.encoders(columns, tallies, "prepare.")

    def _fit(
        self, executor: Executor, plan: JobPlan, prepared: PreprocessingFit, staging: Staging
    ) -> SegmentationResult:
        rules, backend = self.spec.segment, plan.choice.name
        replay = FeaturePipeline(self.encoders, prepared.features, prepared.preparation)
        total, unit = None, "passes"
        if isinstance(rules, DBSCANSpec):
            total, unit = SWEEPS * prepared.raw.rows, "rows swept"
        with self.progress.stage("fit", total, unit) as stage:
            measured = measured_as_prepared(executor, backend, prepared)
            if isinstance(rules, DBSCANSpec):
                return run_dbscan(
                    executor, rules, backend, replay, measured,
                    staging, plan.target, stage.note, self._warn,
                )  # fmt: skip
            how = (iteration_callback(stage), self.memory.spare_bytes)
            if isinstance(rules, HierarchicalSpec):
                return run_hierarchy(executor, rules, backend, replay, measured, *how)
            if rules.n_clusters == "auto":
                fits, choice = fit_and_choose(executor, backend, rules.models(), measured, *how)
            else:
                fits, choice = sweep_kmeans(executor, rules.models(), backend, *how, measured), None
        if choice is not None:
            self.progress.message(f"note: {choice.why}")
            if not choice.clear:
                self._warn(UNCLEAR)
        elif len(fits) > 1:
            self.progress.message(
                f"note: the segments written are those of n_clusters = {len(fits[-1].sizes)}, the "
                "largest; all models are in _models, their inertia in the manifest"
            )
        return of_kmeans(fits, rules, replay, self._warn, choice)

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.progress.message(f"warning: {text}")
