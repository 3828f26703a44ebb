"""Load the rows: each worker decodes its row groups into a float32 shard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gpuseg.formatting import count, count_with
from gpuseg.io.parquet.column_counts import count_columns
from gpuseg.io.parquet.column_ranges import find_origins
from gpuseg.io.parquet.dataset import Dataset
from gpuseg.io.parquet.shard_plan import ShardPlan
from gpuseg.io.parquet.spilled_rows import why_streamed
from gpuseg.jobs.context import RunContext
from gpuseg.jobs.duplicates import named_like_ids, named_like_row_numbers
from gpuseg.jobs.id_warnings import warning_of_no_id, warning_of_personal_ids
from gpuseg.jobs.memory_plan import MemoryPlan
from gpuseg.jobs.plan import SegmentationPlan
from gpuseg.jobs.reader_choice import Reader, load_shards
from gpuseg.monitoring.category_drift import UnseenValues
from gpuseg.preprocessing.encoding.encoder import Encoder, with_origins
from gpuseg.preprocessing.encoding.fit_encoders import ColumnCounts
from gpuseg.preprocessing.plan import PreprocessingPlan
from gpuseg.printable import printable_value
from gpuseg.runtime.executor import Executor


@dataclass(frozen=True)
class LoadedInput:
    """Rows in the shards of the executor.

    Attributes
    ----------
    encoders : tuple of Encoder
        From the columns of the files to features.
    preprocessing : PreprocessingPlan
        From these features to the columns that are clustered.
    shards : list of ShardPlan
        The part of the files that each shard was read from.
    reader : Reader
        Who decoded the rows.
    memory : MemoryPlan
        How the workers hold the rows.
    unseen : mapping of str to UnseenValues
        By column, the categories that were not in the data of kept encoders.
    """

    encoders: tuple[Encoder, ...]
    preprocessing: PreprocessingPlan
    shards: list[ShardPlan]
    reader: Reader
    memory: MemoryPlan
    unseen: Mapping[str, UnseenValues]


def load_rows(
    ctx: RunContext, plan: SegmentationPlan, kept_encoders: Sequence[Encoder] | None = None
) -> LoadedInput:
    """Read the rows of the table into shards, one for each worker.

    Parameters
    ----------
    kept_encoders : sequence of Encoder, optional
        The encoders of the columns, if they were fitted before.

    Raises
    ------
    ConfigError, DataError, ResourceError
    """
    spec, dataset, reporter = ctx.spec, plan.dataset, ctx.reporter
    for name in named_like_ids(plan.table, dataset.features):
        reporter.warn(
            f"feature '{name}' looks like an id column but is used for clustering; set input.id = "
            f"'{name}', or name the features in input.features"
        )
    for name in named_like_row_numbers(plan.table, dataset.features):
        reporter.warn(
            f"feature '{name}' looks like a row number but is used for clustering; name the "
            "features in input.features"
        )
    for name in dataset.left_out:
        reporter.warn(
            f"column '{name}' is the index of a pandas frame and is not used for clustering; name "
            "it in input.features if it is a feature"
        )
    if vectors := dataset.vectors_left_out:
        reporter.warn(
            f"{'columns' if len(vectors) > 1 else 'column'} {', '.join(map(repr, vectors))}: lists "
            "of numbers are used for clustering only where input.features names them"
        )
    unit_rows = spec.algorithm.unit_rows(spec.segment)
    unseen: dict[str, UnseenValues] = {}
    if kept_encoders is None:
        encoders = _with_origins(ctx, dataset, _fit_encoders(ctx, dataset))
    else:
        encoders = tuple(kept_encoders)
        unseen = _unseen(ctx, dataset, encoders)
    preprocessing = spec.prepare.plan(encoders, unit_rows)
    n_workers = len(ctx.executor.workers())
    drop_missing = spec.prepare.missing == "drop" and spec.prepare.duplicates == "keep"
    shards = dataset.plan_shards(n_workers, drop_missing, encoders)
    if len(shards) < n_workers:
        reporter.log(
            f"{count(n_workers, 'worker')}, but only {count(dataset.row_groups, 'row group')} in "
            f"the data: {count_with(len(shards), 'worker', 'has', 'have')} rows"
        )
    with reporter.stage("read", dataset.rows):
        reader = load_shards(ctx.executor, plan.reader, plan.memory.mode, shards)
    for warning in (warning_of_no_id(spec, dataset), warning_of_personal_ids(spec, dataset)):
        if warning:
            reporter.warn(warning)
    memory = _memory_used(ctx.executor, plan.memory)
    if memory.mode == "spilled":
        reporter.log(f"rows are on the scratch disk: {memory.reason}")
    elif memory.mode == "streamed":
        reporter.log(f"rows are decoded from Parquet in every pass: {memory.reason}")
    if ctx.backend == "cuda":
        reporter.log(f"rows were read by {reader.name}: {reader.reason}")
    return LoadedInput(encoders, preprocessing, shards, reader, memory, unseen)


def _memory_used(executor: Executor, memory: MemoryPlan) -> MemoryPlan:
    """Return the plan as the workers could follow it; rows may have had no room on their disks."""
    if memory.mode == "spilled":
        problems = list(filter(None, executor.map(why_streamed)))
        if problems:
            return replace(memory, mode="streamed", reason=f"{memory.reason}, and {problems[0]}")
    return memory


def _with_origins(
    ctx: RunContext, dataset: Dataset, encoders: tuple[Encoder, ...]
) -> tuple[Encoder, ...]:
    """Return the encoders, with the origins of columns that float32 could not hold otherwise."""
    translation_invariant = ctx.spec.algorithm.is_translation_invariant(ctx.spec.segment)
    columns = ctx.spec.prepare.columns_with_origin(encoders, translation_invariant)
    origins = find_origins(ctx.executor, dataset, columns)
    for name, origin in origins.items():
        ctx.reporter.log(
            f"'{name}' is measured from {origin:g}: its values lie far from zero and close together"
        )
    return tuple(with_origins(encoders, origins))


def _unseen(
    ctx: RunContext, dataset: Dataset, encoders: Sequence[Encoder]
) -> dict[str, UnseenValues]:
    """Return the categories that kept encoders do not know, and warn of them."""
    columns = [e for e in encoders if e.value_type and not e.other]
    if not columns:
        return {}
    with ctx.reporter.stage("count"):
        counts = count_columns(ctx.executor, dataset, [e.column for e in columns], [])
    unseen = {}
    for encoder in columns:
        values = counts[encoder.column].values
        new = {value: n for value, n in values.items() if value not in set(encoder.categories)}
        if new:
            n_rows, example = sum(new.values()), min(new, key=lambda value: (-new[value], value))
            unseen[encoder.column] = UnseenValues(n_rows, example)
            ctx.reporter.warn(
                f"column '{encoder.column}': {count_with(n_rows, 'row', 'has', 'have')} a category "
                f"that was not in the data of the fit, most often {printable_value(example)}; it "
                "is treated as unknown"
            )
    return unseen


def _fit_encoders(ctx: RunContext, dataset: Dataset) -> tuple[Encoder, ...]:
    """Return the encoder of each column; its categories are counted in the data if need be."""
    prepare, columns = ctx.spec.prepare, dataset.features
    counts: dict[str, ColumnCounts] = {}
    if prepare.needs_counts:
        with ctx.reporter.stage("count"):
            with_gaps = [name for name in columns if name not in prepare.categorical]
            counts = count_columns(
                ctx.executor, dataset, list(prepare.categorical),
                with_gaps if prepare.missing_indicator else [],
            )  # fmt: skip
    return prepare.fit_encoders(columns, counts, dataset.shapes)
