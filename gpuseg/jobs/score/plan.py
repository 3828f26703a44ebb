"""Plan a scoring run from the footers of its table: columns, memory and threads."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from gpuseg.errors import ConfigError, ResourceError
from gpuseg.features.times import TIME_FORMAT_NOT_NEEDED
from gpuseg.features.transaction_files import MissingLineColumn
from gpuseg.io.input_files import input_files
from gpuseg.io.input_paths import is_same_place
from gpuseg.io.parquet.dataset import Dataset
from gpuseg.io.parquet.model_columns import open_model_columns
from gpuseg.io.parquet.shard_plan import PART_ROWS, ShardPlan
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.io.text_files.convert import Wanted
from gpuseg.io.text_files.error_steps import checking_encoding
from gpuseg.io.text_files.files import READABLE, used_options
from gpuseg.io.text_files.options import TextOptions
from gpuseg.jobs.memory_plan import ID_BYTES, PROCESS_BYTES, Limit, in_words, limit_of
from gpuseg.jobs.plan import (
    InputTable,
    MakeFolder,
    RunPlan,
    TablePlan,
    files_of,
    formats_of,
    plan_lines,
)
from gpuseg.jobs.reader_choice import Reader
from gpuseg.jobs.resolve import ResolvedJob, refuse_files_inside, refuse_overlap, resolve_job
from gpuseg.jobs.schema import ScoredInputSpec, TransactionsSpec
from gpuseg.jobs.score.sections import ScoreSpec, section_of_fit, text_options_of
from gpuseg.jobs.text_inputs import Scratch, converted_input
from gpuseg.manifest import Manifest
from gpuseg.models.base import SegmentModel
from gpuseg.output_kind import OutputKind
from gpuseg.runtime.cluster import ClusterSpec
from gpuseg.validation import MAX_THREADS

_MAX_ID_TURNS = 64

_PARTS_PER_THREAD = 4
"""Parts that each thread writes, if there are enough rows, so that all have an equal load."""

_LEAST_PART_ROWS = 262_144

_DECODED_BYTES = 24
"""A value while it is decoded: of Arrow, as float64, and its pages."""

_RESULT_BYTES = 64
"""A row while it is written: id, segment, distance, and their pages."""

_VALUE_BYTES = 4

_BIN_BYTES = 2
"""The bin of a value, which is counted once the row has a segment."""

_PARTS_COUNTED = 8
"""Parts of a thread whose counts of bins are in memory: `TaskContext.map` gives it as many."""

_COLLECTED = 3
"""How many times the rows that are collected are there: before the farther ones are dropped."""

_COLLECTED_BYTES = 2 * _RESULT_BYTES
"""A row that is collected, while the rows are sorted."""


@dataclass(frozen=True)
class ScoreMemory:
    """How workers score within their memory.

    Attributes
    ----------
    threads : int
        Of each worker, at most.
    id_turns : int
        Number of turns in which ids are compared; 0 if there is no memory to compare them.
    reason : str
        In words.
    """

    threads: int
    id_turns: int
    reason: str


def plan_score(
    spec: ScoreSpec,
    model: SegmentModel,
    model_storage: Storage,
    fit: Manifest | None,
    make_folder: MakeFolder,
    replaces: Collection[OutputKind] = (),
) -> RunPlan:
    """Resolve a scoring run and read the footers of its table; text files become Parquet.

    Parameters
    ----------
    model_storage : Storage
        The folder of the model.
    fit : Manifest or None
        Of the run that fitted the model, if it is known.
    make_folder : callable
        Makes the folder for converted files; it is called if there are some.
    replaces : collection of OutputKind
        Other kinds of outputs that may be replaced; with some, that of the model, too.

    Raises
    ------
    ConfigError, DataError, ResourceError
        Everything that can be known before the data is read.
    """
    resolved = resolve_job(spec, OutputKind.SCORES, replaces)
    if not (replaces and is_same_place(model_storage, resolved.target)):
        refuse_overlap(model_storage, resolved.target, "model_path")
    section = "input" if spec.transactions is None else "transactions"
    options = _text_options(
        resolved.source, spec.source.text_options, text_options_of(fit), f"{section}_path",
        spec.transactions is not None,
    )  # fmt: skip
    scratch = cache(partial(make_folder, resolved))
    if spec.input is None:
        return _plan_lines(spec, model, fit, options, resolved, scratch)
    listed, detected = converted_input(
        resolved.source, "input", "input_path", options, _wanted(spec.input, model), scratch
    )
    table = InputTable(
        listed[0], spec.input.id, None, None, resolved.id_key, tuple(spec.input.null_values),
        listed=listed,
    )  # fmt: skip
    with checking_encoding(formats_of(detected)):
        step = plan_scored_table(resolved, model, table)
    refuse_files_inside(resolved.source, files_of(listed, detected), resolved, "input_path")
    return RunPlan(resolved, step, (detected,) if detected else ())


def plan_scored_table(resolved: ResolvedJob, model: SegmentModel, table: InputTable) -> TablePlan:
    """Read the footers of a table with the columns of a model.

    Raises
    ------
    DataError
    """
    listed = table.listed or input_files(table.storage, "input_path")
    opened = open_model_columns(
        model.pipeline.used_encoders, table.id, table.id_key, table.null_values, listed
    )
    dataset = replace(opened, carried=table.carried)
    reader = Reader("arrow", "rows that are scored are decoded in the memory of the host")
    return TablePlan(
        table, dataset, resolved.backend, resolved.cluster, len(model.features), reader
    )


def _plan_lines(
    spec: ScoreSpec,
    model: SegmentModel,
    fit: Manifest | None,
    options: TextOptions,
    resolved: ResolvedJob,
    scratch: Scratch,
) -> RunPlan:
    """Open transaction lines from which the columns of a model are built."""
    assert spec.transactions is not None  # the caller has checked it
    encoders = model.pipeline.used_encoders
    columns = list(dict.fromkeys(encoder.column for encoder in encoders))
    transactions = spec.transactions.model_copy(update={**vars(options), "features": columns})
    categorical = [encoder.column for encoder in encoders if encoder.value_type]

    def plan(transactions: TransactionsSpec) -> RunPlan:
        lines, texts = plan_lines(
            transactions, spec.join, transactions.rfm, categorical, resolved, scratch
        )
        files = [path for path, _ in lines.source.listed]
        refuse_files_inside(resolved.source, files, resolved, "transactions_path")
        return RunPlan(resolved, lines, texts)

    try:
        return plan(transactions)
    except MissingLineColumn as error:
        if {*columns} <= {*error.columns}:
            error.hint = (
                "the table has the features of the model: use built_features=True "
                "(--built-features on the command line)"
            )
        else:
            error.hint = f"--set transactions.{error.parameter}=NAME names another; {error.hint}"
        raise
    except ConfigError as error:
        if error.code != TIME_FORMAT_NOT_NEEDED or not _has_time_format_of(fit, transactions):
            raise
    # The lines of the fit had times as text; the caller does not say so of these.
    return plan(transactions.model_copy(update={"time_format": None}))


def _has_time_format_of(fit: Manifest | None, transactions: TransactionsSpec) -> bool:
    """Return whether the format of times is that of the fit."""
    of_fit = None if fit is None else section_of_fit(fit, "transactions").get("time_format")
    return of_fit is not None and of_fit == transactions.time_format


def _text_options(
    source: Storage, given: TextOptions, fit: TextOptions, parameter: str, reads_numbers: bool
) -> TextOptions:
    """Return the options of the command, and those of the fit that concern the files.

    `reads_numbers` says whether numbers in the text of Parquet files are read.
    """
    with wrap_store_errors(parameter, source.url):
        place, files = input_files(source, parameter, READABLE)
    names = [place.relative(file.path) for file in files]
    usable = {name: getattr(fit, name) for name in used_options(fit, names, reads_numbers)}
    return replace(given, **{k: v for k, v in usable.items() if getattr(given, k) is None})


def _wanted(section: ScoredInputSpec, model: SegmentModel) -> Wanted:
    """Return the columns of text files that are used, and what each must be."""
    encoders = model.pipeline.used_encoders
    numbers = [e.column for e in encoders if e.kind == "number"]
    texts = [e.column for e in encoders if e.value_type == "text"]
    categories = {
        e.column: e.categories for e in encoders if e.value_type and e.column not in texts
    }
    ids = [] if section.id is None else [section.id]
    return Wanted(
        tuple(dict.fromkeys([*model.pipeline.columns, *ids])),
        tuple(numbers),
        categories,
        section.id,
        null_values=tuple(section.null_values),
        hides_values=section.id_hash_key_env is not None,
        texts=tuple(texts),
        is_of_model=True,
    )


def plan_shards(
    dataset: Dataset, model: SegmentModel, n_workers: int, threads: int
) -> list[ShardPlan]:
    """Cut the table into one shard for each worker, with parts for all of its threads."""
    share = dataset.rows // (n_workers * threads * _PARTS_PER_THREAD)
    part_rows = min(max(share, _LEAST_PART_ROWS), PART_ROWS)
    return dataset.plan_shards(
        n_workers, False, encoders=model.pipeline.used_encoders, part_rows=part_rows
    )


def plan_score_memory(
    dataset: Dataset,
    model: SegmentModel,
    cluster: ClusterSpec,
    shards: Sequence[ShardPlan],
    n_collected: int = 0,
) -> ScoreMemory:
    """Choose the threads of a worker so that it stays within its memory.

    Parameters
    ----------
    n_collected : int
        Rows that each worker collects, and does not write.

    Raises
    ------
    ResourceError
        If one thread would need too much.
    """
    limit = limit_of(cluster, len(shards))
    threads = cluster.threads if cluster.is_managed else MAX_THREADS  # which others have is unknown
    fixed = PROCESS_BYTES + model.memory_bytes()
    fixed += min(_COLLECTED * n_collected, dataset.rows) * _COLLECTED_BYTES
    while threads > 1 and fixed + _work_bytes(dataset, model, shards, threads) > limit.usable:
        threads -= 1
    in_use = threads if cluster.is_managed else 1
    needed = fixed + _work_bytes(dataset, model, shards, in_use)
    if needed > limit.usable:
        raise _too_low(needed, limit)
    turns = 1
    if dataset.id is not None:
        ids = max(shard.rows for shard in shards) * ID_BYTES
        turns = -(-ids // max(limit.usable - needed, 1))
        needed += ids // turns if turns <= _MAX_ID_TURNS else 0
    of_one = "" if cluster.is_managed else " with one thread"
    reason = (
        f"rows are scored as they are decoded, {in_words(needed)} per worker{of_one}, within "
        f"{limit.text}"
    )
    return ScoreMemory(threads, max(turns, 1) if turns <= _MAX_ID_TURNS else 0, reason)


def _work_bytes(
    dataset: Dataset, model: SegmentModel, shards: Sequence[ShardPlan], threads: int
) -> int:
    """Return the memory for rows on their way, with so many threads."""
    shard = max(shards, key=lambda shard: shard.rows)
    width = shard.width + model.feature_transform.n_columns
    n_rows = shard.rows_per_batch()
    row_bytes = _VALUE_BYTES * width
    if model.reference is not None:
        row_bytes += _BIN_BYTES * shard.width
    of_batches = n_rows * (_DECODED_BYTES + row_bytes + _RESULT_BYTES)
    of_batches += n_rows * _DECODED_BYTES // 2 * len(dataset.features)
    together = 0
    if model.memory_bytes():
        largest = max(part.rows for part in shard.parts)
        rows = min(model.rows_together(threads) + largest, shard.rows)
        together = rows * 2 * (row_bytes + _RESULT_BYTES)
    of_batches += _PARTS_COUNTED * _count_bytes(model)
    return threads * (of_batches + dataset.largest_group_bytes) + together


def _count_bytes(model: SegmentModel) -> int:
    """Return the memory for the counts of the bins of a part."""
    reference = model.reference
    if reference is None:
        return 0
    return (len(reference.groups) + 1) * reference.counts.nbytes


def _too_low(needed: int, limit: Limit) -> ResourceError:
    return ResourceError(
        "memory_limit.too_low",
        f"a worker with one thread needs about {in_words(needed)}, more than {limit.text}",
        hint="use a higher `memory_limit`, or write the table with smaller row groups",
        parameter="memory_limit",
    )
