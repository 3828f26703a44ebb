"""Plan a run from the footers of its input: --dry-run prints the plan, and a run follows it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from gpuseg.backends.registry import BackendChoice
from gpuseg.errors import ConfigError, parameter_names, section_names
from gpuseg.io.input_files import ListedInput
from gpuseg.io.input_paths import open_paths
from gpuseg.io.null_values import NULL_VALUES
from gpuseg.io.parquet.dataset import Dataset, open_dataset
from gpuseg.io.privacy.pseudonyms import Key
from gpuseg.io.storage import Storage
from gpuseg.io.text_files.convert import Wanted
from gpuseg.io.text_files.error_steps import checking_encoding
from gpuseg.io.text_files.options import OPTIONS
from gpuseg.io.text_files.text_format import TextFormat
from gpuseg.jobs.job import JobSpec
from gpuseg.jobs.memory_plan import MemoryPlan, plan_memory, row_values
from gpuseg.jobs.reader_choice import Reader, choose_reader
from gpuseg.jobs.resolve import ResolvedJob, refuse_files_inside, refuse_overlap, resolve_job
from gpuseg.jobs.schema import JoinSpec, TransactionsSpec
from gpuseg.jobs.text_inputs import Scratch, TextInput, converted_input
from gpuseg.output_kind import OutputKind
from gpuseg.runtime.cluster import ClusterSpec
from gpuseg.segmentation.base import ColumnPlan, MemoryNeeds
from gpuseg.validation import nearest_known

if TYPE_CHECKING:
    from gpuseg.features.attributes import Join
    from gpuseg.features.transaction_files import Source


MakeFolder = Callable[[ResolvedJob], Storage]
"""Make the folder for converted files."""


@dataclass(frozen=True)
class InputTable:
    """Parquet files of customers, and the columns that are used.

    Attributes
    ----------
    storage : Storage
    id, weight : str or None
    features : sequence of str or None
        None: every numeric column but id, weight and index columns of pandas.
    id_key : Key or None
        Key of the hashes that are written in place of ids.
    null_values : tuple of str
        Text that stands for no id.
    carried : tuple of str
        Columns that the output has too, as they are.
    listed : pair of Storage and files, or None
        The files of the table, if they have been listed.
    """

    storage: Storage
    id: str | None
    features: tuple[str, ...] | None
    weight: str | None = None
    id_key: Key | None = None
    null_values: tuple[str, ...] = NULL_VALUES
    carried: tuple[str, ...] = ()
    listed: ListedInput | None = None


@dataclass(frozen=True)
class LinesPlan:
    """Transaction lines, and the tables of attributes that are joined to their features."""

    source: Source
    joins: tuple[Join, ...]


@dataclass(frozen=True)
class TablePlan:
    """A table that is to be segmented, as its footers describe it.

    Attributes
    ----------
    table : InputTable
    dataset : Dataset
    backend : BackendChoice
    cluster : ClusterSpec
    n_columns : int
        Maximum of the columns of a preprocessed row.
    reader : Reader
        Who decodes the rows, if they are held in memory.
    """

    table: InputTable
    dataset: Dataset
    backend: BackendChoice
    cluster: ClusterSpec
    n_columns: int
    reader: Reader


@dataclass(frozen=True)
class SegmentationPlan(TablePlan):
    """A table that is to be segmented by workers whose number is known.

    Attributes
    ----------
    memory : MemoryPlan
        How the workers hold the rows.
    reader : Reader
        Who decodes the rows.
    """

    memory: MemoryPlan


@dataclass(frozen=True)
class RunPlan:
    """A run, as far as it is known before any data is read.

    Attributes
    ----------
    resolved : ResolvedJob
    first_step : LinesPlan or TablePlan
        With transactions, features are built first, and then their table is planned.
    """

    resolved: ResolvedJob
    first_step: LinesPlan | TablePlan
    text_inputs: tuple[TextInput, ...] = ()


def plan_run(
    spec: JobSpec,
    make_folder: MakeFolder,
    kind: OutputKind = OutputKind.SEGMENTS,
    replaces: Collection[OutputKind] = (),
    is_update: bool = False,
) -> RunPlan:
    """Resolve a job and read the footers of its input; text files are converted to Parquet.

    Parameters
    ----------
    make_folder : callable
        Makes the folder for converted files; it is called if there are some.
    kind : OutputKind
        That of the output.
    replaces : collection of OutputKind
        Other kinds of outputs that may be replaced.
    is_update : bool
        Whether the rows update older segments, so that few will do.

    Raises
    ------
    ConfigError, DataError, ResourceError
        Everything that can be known before the data is read.
    """
    resolved = resolve_job(spec, kind, replaces)
    scratch = cache(partial(make_folder, resolved))
    if spec.transactions is not None:
        lines, texts = plan_lines(
            spec.transactions, spec.join, spec.builds_rfm, spec.prepare.categorical, resolved,
            scratch,
        )  # fmt: skip
        files = [path for path, _ in lines.source.listed]
        refuse_files_inside(resolved.source, files, resolved, "transactions_path")
        return RunPlan(resolved, lines, texts)
    listed, detected = converted_input(
        resolved.source, "input", "input_path", spec.source.text_options, _wanted(spec), scratch
    )
    features = spec.input and spec.input.features
    table = InputTable(
        listed[0], spec.id, tuple(features) if features else None, spec.weight,
        resolved.id_key, tuple(spec.source.null_values), listed=listed,
    )  # fmt: skip
    with checking_encoding(formats_of(detected)):
        plan = plan_table(spec, resolved, table, is_update)
    refuse_files_inside(resolved.source, files_of(listed, detected), resolved, "input_path")
    return RunPlan(resolved, plan, (detected,) if detected else ())


def files_of(listed: ListedInput, detected: TextInput | None) -> list[str]:
    """Return the paths of the files of a section, before any is converted."""
    if detected is not None and detected.converted is not None:
        return [path for path, _ in detected.converted.versions]
    return [file.path for file in listed[1]]


def formats_of(detected: TextInput | None) -> list[TextFormat]:
    """Return the formats of the text files of a section."""
    return [format for _, format in detected.formats] if detected else []


def _wanted(spec: JobSpec) -> Wanted:
    """Return the columns of `[input]` that are used, and those that must be numbers.

    Without an id, a warning names a column that may have the ids, so that all columns are read.
    """
    features = (spec.input and spec.input.features) or []
    weight = [] if spec.weight is None else [spec.weight]
    categories = list(spec.prepare.categorical)
    numbers = [name for name in features if name not in categories] + weight
    others = [*categories, *spec.audit.columns, *([] if spec.id is None else [spec.id])]
    return Wanted(
        tuple(dict.fromkeys([*numbers, *others])) if features and spec.id is not None else None,
        tuple(numbers),
        spec.prepare.categorical,
        spec.id,
        null_values=tuple(spec.source.null_values),
        hides_values=spec.source.id_hash_key_env is not None,
    )


def plan_table(
    spec: JobSpec, resolved: ResolvedJob, table: InputTable, is_update: bool = False
) -> TablePlan:
    """Read the footers of a table; return a `SegmentationPlan` if the workers are known.

    The number of workers is known if the run starts them; otherwise see `plan_for_workers`. Few
    rows will do if they update older segments.

    Raises
    ------
    ConfigError, DataError, ResourceError
    """
    opened = open_dataset(
        table.storage, table.features, table.id, table.weight, table.id_key,
        tuple(spec.prepare.categorical), tuple(spec.audit.columns), table.null_values,
        spec.allow_personal, spec.algorithm.personal_kinds(spec.segment),
        table.listed,
    )  # fmt: skip
    dataset = replace(opened, carried=table.carried)
    preview = spec.prepare.preview_encoders(dataset.features, dataset.shapes)
    spec.prepare.feature_transforms(preview)
    n_columns = spec.prepare.max_features(dataset.features, dataset.shapes)
    known = n_columns if spec.prepare.keeps_columns else None
    names = [
        name for e in preview for name in (e.feature_names() if e.kind == "vector" else [e.column])
    ]
    n_rows = None if is_update else dataset.rows
    columns = ColumnPlan(tuple(names), dataset.weight, spec.prepare, known, n_rows)
    spec.algorithm.check(spec.segment, columns)
    cluster = resolved.cluster
    needs = _needs(spec, dataset, n_columns, cluster.workers)
    reader = choose_reader(spec, dataset, resolved.backend, needs, "resident")
    plan = TablePlan(table, dataset, resolved.backend, cluster, n_columns, reader)
    return plan_for_workers(spec, plan, cluster.workers) if cluster.is_managed else plan


def plan_for_workers(
    spec: JobSpec, plan: TablePlan, n_workers: int, previous_bytes: int = 0
) -> SegmentationPlan:
    """Plan memory and reader for so many workers, unless that has been done.

    Parameters
    ----------
    previous_bytes : int
        Of a row, for its segments by an older model; with some, the plan is made again.

    Raises
    ------
    ConfigError, ResourceError
    """
    if isinstance(plan, SegmentationPlan) and not previous_bytes:
        return plan
    needs = _needs(spec, plan.dataset, plan.n_columns, n_workers)
    memory = plan_memory(
        plan.dataset, plan.cluster, n_workers, needs, plan.n_columns, len(spec.extra_columns),
        spec.algorithm.title, previous_bytes,
    )  # fmt: skip
    reader = choose_reader(spec, plan.dataset, plan.backend, needs, memory.mode)
    return SegmentationPlan(**{**vars(plan), "reader": reader, "memory": memory})


def _needs(spec: JobSpec, dataset: Dataset, n_columns: int, n_workers: int) -> MemoryNeeds:
    values = row_values(n_columns, dataset.weight is not None)
    needs: MemoryNeeds = spec.algorithm.memory(spec.segment, values, n_workers)
    return needs


def refuse_changed_inputs(plan: RunPlan) -> None:
    """Refuse to go on if a file of the input has changed since the run was planned.

    Raises
    ------
    DataError
    """
    step = plan.first_step
    for text in plan.text_inputs:
        if text.converted is not None:
            text.converted.source.refuse_changes(text.converted.versions)
    if isinstance(step, LinesPlan):
        step.source.storage.refuse_changes(step.source.versions)
        for join in step.joins:
            join.storage.refuse_changes(list(zip(join.files, join.versions, strict=True)))
    else:
        files = step.dataset.files
        step.dataset.storage.refuse_changes([(file.path, file.version) for file in files])


def describe_plan(spec: JobSpec, plan: RunPlan) -> Mapping[str, Any]:
    """Return what --dry-run prints; JSON's own values."""
    step, backend = plan.first_step, plan.resolved.backend
    if isinstance(step, LinesPlan):
        return {
            "job": spec.redacted(),
            "files": step.source.files,
            "lines": step.source.rows,
            "text_files": [text.describe() for text in plan.text_inputs],
            "backend": {"name": backend.name, "reason": backend.reason},
        }
    dataset, cluster = step.dataset, step.cluster
    memory = step.memory if isinstance(step, SegmentationPlan) else None
    return {
        "job": spec.redacted(dataset.features),
        "files": len(dataset.files),
        "row_groups": dataset.row_groups,
        "rows": dataset.rows,
        "text_files": [text.describe() for text in plan.text_inputs],
        "index_columns_left_out": list(dataset.left_out),
        "vector_columns_left_out": list(dataset.vectors_left_out),
        "backend": {"name": backend.name, "reason": backend.reason},
        "reader": step.reader.describe(),
        "workers": cluster.workers if cluster.is_managed else None,
        "threads_per_worker": cluster.threads if cluster.is_managed else None,
        "row_storage": memory and {"mode": memory.mode, "reason": memory.reason},
        "estimated_bytes_per_worker": memory and memory.peak_bytes,
    }


def plan_lines(
    transactions: TransactionsSpec,
    join_specs: Sequence[JoinSpec],
    builds_rfm: bool,
    categorical: Collection[str],
    resolved: ResolvedJob,
    scratch: Scratch,
) -> tuple[LinesPlan, tuple[TextInput, ...]]:
    """Open transaction lines, and the tables that are joined to their features.

    Parameters
    ----------
    builds_rfm : bool
        Whether RFM scores are built.
    categorical : collection of str
        The features that are categories.

    Raises
    ------
    ConfigError, DataError
        For columns that do not exist or do not suit their role, and names that occur twice.
    """
    from gpuseg.features.attributes import open_join
    from gpuseg.features.definitions import available
    from gpuseg.features.joins import check_names
    from gpuseg.features.transaction_files import open_source

    roles = replace(transactions.roles(), id_key=resolved.id_key)
    source = open_source(resolved.source, roles, transactions.text_options)
    texts = []
    if source.formats:
        texts.append(TextInput("transactions", source.formats, roles.number_format))
    joins = []
    for i, join in enumerate(join_specs):
        key, words = f"join[{i}]", join.null_values
        storage = open_paths(join.path, join.storage_options, f"{key}.path")
        refuse_overlap(storage, resolved.target, f"{key}.path")
        columns = None if join.columns is None else (join.id, *join.columns)
        wanted = Wanted(
            columns,
            id=join.id,
            keeps_id_as_text=True,
            has_times=True,
            null_values=tuple(words),
            hides_values=resolved.id_key is not None,
        )
        names = section_names(key, OPTIONS, given=join.model_fields_set)
        with parameter_names(names):
            listed, detected = converted_input(
                storage, key, f"{key}.path", join.text_options, wanted, scratch
            )
        refuse_files_inside(storage, files_of(listed, detected), resolved, f"{key}.path")
        texts += [detected] if detected else []
        with parameter_names(names), checking_encoding(formats_of(detected)):
            joins.append(
                open_join(
                    storage,
                    join.id,
                    join.columns,
                    key,
                    words,
                    resolved.id_key,
                    join.allow_personal,
                    listed,
                )
            )
    built = available(source.roles.columns(), builds_rfm)
    check_names(joins, built)
    joined = [name for join in joins for name in join.schema.names]
    transactions.check_features(joined, categorical)
    for name in categorical:
        if name not in (*built, *joined):
            raise ConfigError(
                "categorical.not_built", f"'{name}' is neither built nor joined",
                parameter="categorical", hint=nearest_known(name, [*built, *joined]),
            )  # fmt: skip
    return LinesPlan(source, tuple(joins)), tuple(texts)
