"""The pass in which a model scores a table: planned, and run on the shards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import accumulate
from typing import TYPE_CHECKING

from gpuseg.backends import registry
from gpuseg.errors import DataError
from gpuseg.formatting import count, count_with
from gpuseg.io.parquet.shard_plan import ShardPlan
from gpuseg.jobs.context import OpenRun
from gpuseg.jobs.plan import LinesPlan, RunPlan, TablePlan
from gpuseg.jobs.score.manifest_of_scores import described_place
from gpuseg.jobs.score.model_files import ModelFiles, load_model_files
from gpuseg.jobs.score.plan import (
    ScoreMemory,
    plan_score_memory,
    plan_scored_table,
    plan_shards,
)
from gpuseg.jobs.score.sections import Command
from gpuseg.models.loading import SavedOutput
from gpuseg.printable import printable_value
from gpuseg.runtime.interrupts import interrupts_deferred
from gpuseg.scoring.counts import BadRows, ScoreCounts
from gpuseg.scoring.score_shard import Scoring, ShardScores, open_scored, score_shard

if TYPE_CHECKING:
    from gpuseg.jobs.stages.build_features import BuiltFeatures

WORKER_MODULES = (
    "distributed.nanny",
    "pyarrow.compute",
    "gpuseg.backends.numba.backend",
    "gpuseg.models.loading",
    "gpuseg.runtime.dask.worker",
    "gpuseg.scoring.score_shard",
)
"""Modules of the functions that workers call."""


@dataclass(frozen=True)
class CountedRows:
    """What the pass has counted, and what the shards tell.

    Attributes
    ----------
    counts : ScoreCounts
        Of all rows.
    unseen_places : dict of str to str
        Where the first unseen category of a column is.
    of_shards : list of ShardScores
    """

    counts: ScoreCounts
    unseen_places: Mapping[str, str]
    of_shards: list[ShardScores]


@dataclass(frozen=True)
class TablePass:
    """The table that is scored, cut into shards.

    Attributes
    ----------
    step : TablePlan
    built : BuiltFeatures or None
        The features, if the run built them from lines.
    shards : sequence of ShardPlan
    memory : ScoreMemory
    """

    step: TablePlan
    built: BuiltFeatures | None
    shards: Sequence[ShardPlan]
    memory: ScoreMemory

    def score(self, run: OpenRun, scoring: Scoring) -> CountedRows:
        """Score the rows of all shards.

        Raises
        ------
        DataError
            For rows that cannot be scored.
        """
        run.executor.load(open_scored, self.shards)
        first_rows = list(accumulate((shard.rows for shard in self.shards), initial=0))[:-1]
        with run.reporter.stage("score", self.step.dataset.rows):
            results: list[ShardScores] = run.executor.apply(
                score_shard, scoring, per_shard=first_rows
            )
        counts, places = ScoreCounts.zeros(scoring.counter()), dict[str, str]()
        for result in results:
            is_first = result.counts.bad is not None and counts.bad is None
            if is_first and result.bad_place is not None:
                bad_place = described_place(run, result.bad_place)
            for column, place in result.unseen_places.items():
                if column not in places:
                    places[column] = described_place(run, place)
            counts.merge(result.counts)
        if counts.bad is not None:
            raise _not_scored(counts.bad, bad_place)
        return CountedRows(counts, places, results)


def load_model_of(command: Command) -> ModelFiles:
    """Load the model that a command names.

    Raises
    ------
    ConfigError, DataError, ResourceError
    """
    section = command.model_values()
    return load_model_files(section["path"], section.get("storage_options"))


def importer(plan: RunPlan, *, report: bool) -> Callable[[], None]:
    """Return a function that imports, while rows are decoded, what comes after decoding.

    `report` says whether a report does.
    """
    is_local = plan.resolved.cluster.cluster == "local"
    return partial(_import_later, plan.resolved.backend.name if is_local else None, report)


def _import_later(backend: str | None, report: bool) -> None:
    """Import the backend, if one is named, for which threads wait then; and the report.

    An interrupted import could leave a lock taken.
    """
    with interrupts_deferred():
        if backend is not None:
            registry.get(backend)
        if report:
            import_module("gpuseg.reporting.scores_report")


def plan_pass(run: OpenRun, saved: SavedOutput, n_collected: int = 0) -> TablePass:
    """Build the features of lines, if the run has some, and cut the table into shards.

    Parameters
    ----------
    n_collected : int
        Rows that each worker collects.

    Raises
    ------
    DataError, ResourceError
    """
    step, built = run.plan.first_step, None
    if isinstance(step, LinesPlan):
        built = _build_features(run, step, saved)
        step = plan_scored_table(run.plan.resolved, saved.model, built.table)
    cluster = run.plan.resolved.cluster
    shards = plan_shards(step.dataset, saved.model, len(run.executor.workers()), cluster.threads)
    memory = plan_score_memory(step.dataset, saved.model, cluster, shards, n_collected)
    run.reporter.log(memory.reason)
    return TablePass(step, built, shards, memory)


def _build_features(run: OpenRun, lines: LinesPlan, saved: SavedOutput) -> BuiltFeatures:
    """Build the features of the customers of lines, with the RFM scores of the fit."""
    from gpuseg.jobs.stages.build_features import build_features_to_score

    fit = saved.manifest.transactions if saved.manifest is not None else None
    rfm = None if fit is None else fit.rfm
    return build_features_to_score(run, lines, None if rfm is None else rfm.to_json())


def _not_scored(bad: BadRows, place: str) -> DataError:
    """Return the error of rows that cannot be scored."""
    rows = count_with(bad.n_rows, "row", "cannot be scored", "cannot be scored")
    value = "no value" if bad.value is None else printable_value(bad.value)
    what = f": column '{bad.column}' has {value}" if bad.column else ""
    is_missing = bad.column and bad.value is None
    return DataError(
        "rows.not_scored",
        f"{rows}, the first is {place}{what}",
        rule=bad.rule,
        hint="fill it, or leave the row out" if is_missing else "correct it, or leave the row out",
    )


def warn_of_rows(run: OpenRun, counts: ScoreCounts, unseen_places: Mapping[str, str]) -> None:
    """Warn of rows that were left out, and of categories that the fit has not seen."""
    if counts.n_dropped:
        was = "was" if counts.n_dropped == 1 else "were"
        run.reporter.warn(
            f"{count(counts.n_dropped, 'row')} with a missing feature {was} dropped, as at the fit"
        )
    for column, unseen in counts.unseen.items():
        rows = count_with(unseen.n_rows, "row", "has", "have")
        run.reporter.warn(
            f"column '{column}': {rows} a category that was not in the data of the fit, first "
            f"{printable_value(unseen.value)} in {unseen_places[column]}; it is treated as "
            "unknown"
        )
