"""How customers moved between two outputs: their segments there, joined by id."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gpuseg.errors import ConfigError, set_key
from gpuseg.io.output.assignments import Part
from gpuseg.io.output.base import Staging
from gpuseg.lineage.changes import FROM, TO, write_changes
from gpuseg.lineage.id_keys import keys_of_types
from gpuseg.lineage.labeled_parts import LabeledParts
from gpuseg.lineage.labels import ABSENT
from gpuseg.lineage.row_groups import read_footers
from gpuseg.lineage.segment_join import Cells, SegmentJoin
from gpuseg.refresh_record import Migration, MigrationCell
from gpuseg.runtime.executor import ONE_THREAD, TaskContext

MEMORY_LIMIT = 2**29
"""Bytes that a join takes by default."""

_SOURCES = ("input", "transactions")


@dataclass(frozen=True)
class LeftOut:
    """Rows of one output that are not in the migration.

    Attributes
    ----------
    repeated : int
        Rows whose id several rows of this output or of the other one have.
    missing : int
        Rows without an id.
    """

    repeated: int = 0
    missing: int = 0


@dataclass(frozen=True)
class JoinedOutputs:
    """How customers moved.

    Attributes
    ----------
    migration : Migration or None
    no_migration : str or None
        Why it is not known.
    parts : tuple of Part
        The files of the changes.
    older, newer : LeftOut
        Rows that are not in the migration. They and the cells of the migration are all rows of the
        outputs.
    warning : str or None
        What a user should know of it.
    """

    migration: Migration | None
    no_migration: str | None = None
    parts: tuple[Part, ...] = ()
    older: LeftOut = LeftOut()
    newer: LeftOut = LeftOut()
    warning: str | None = None

    @property
    def changes(self) -> int:
        """Rows of the files of the changes."""
        return sum(part.rows for part in self.parts)


def join_segments(
    older: LabeledParts,
    newer: LabeledParts,
    staging: Staging,
    context: TaskContext = ONE_THREAD,
    memory_limit: int = MEMORY_LIMIT,
    is_whole: bool = True,
) -> JoinedOutputs:
    """Join two outputs by id, and write the customers whose segment changed, who came or left.

    It runs in this process, also where the job has a cluster: two columns are read, of rows that
    workers have had in all their columns. Ids that several rows of one output have, and rows
    without an id, are left out and counted.

    Parameters
    ----------
    older, newer : LabeledParts
    staging : Staging
        Of the new output. The changes are sorted by id: integers by their value, others by the
        bytes of their text.
    context : TaskContext
        Threads to use. The rows of the newer output are reported as they are joined.
    memory_limit : int
        Bytes that it may take.
    is_whole : bool, default True
        Whether the newer output has all customers. If it has some of them, the others have not
        left, and are not in the migration.

    Raises
    ------
    DataError
        If a part is missing, damaged or has changed, and for ids of types that cannot be compared.
    ResourceError
        If the changes cannot be written, or the scratch disk is full.
    """
    if (reason := why_not_joined(older, newer)) is not None:
        return JoinedOutputs(None, reason)
    before, now = read_footers(older), read_footers(newer)
    size = max(before.bytes_per_id, now.bytes_per_id)
    join = SegmentJoin(
        before,
        now,
        keys_of_types(before.id_type, now.id_type, size),
        context,
        memory_limit,
        is_whole,
    )
    with closing(join.changes()) as changes:
        parts = write_changes(staging, str(newer.id), changes)
    older.refuse_changes()
    migration = _migration(newer.column, join.cells)
    older_rows = sum(cell.customers for cell in migration.cells if cell.before is not None)
    newer_rows = sum(cell.customers for cell in migration.cells if cell.now is not None)
    missing = join.missing
    left_out = [
        LeftOut(groups.rows - n_missing - counted, n_missing)
        for groups, n_missing, counted in (
            (before, missing["older"], older_rows),
            (now, missing["newer"], newer_rows),
        )
    ]
    repeated = sum(output.repeated + output.missing for output in left_out)
    migration = migration.model_copy(update={"repeated": repeated})
    if not is_whole:
        migration = _without_others(migration)
    older_left, newer_left = left_out
    return JoinedOutputs(migration, None, tuple(parts), older_left, newer_left, _warning(migration))


def _migration(column: str, cells: Cells) -> Migration:
    """Return the migration of customers by their labels."""
    absent = int(ABSENT)
    ordered = sorted(cells.items(), key=lambda item: [(n == absent, n) for n in item[0]])
    rows = [
        MigrationCell(None if a == absent else a, None if b == absent else b, count)
        for (a, b), count in ordered
    ]
    both = [cell for cell in rows if cell.before is not None and cell.now is not None]
    stayed = sum(cell.customers for cell in both if cell.before == cell.now)
    return Migration(
        column=column,
        cells=tuple(rows),
        stayed=stayed,
        moved=sum(cell.customers for cell in both) - stayed,
        came=sum(cell.customers for cell in rows if cell.before is None),
        left=sum(cell.customers for cell in rows if cell.now is None),
    )


def _without_others(migration: Migration) -> Migration:
    """Return the migration without customers that the newer output does not have."""
    cells = tuple(cell for cell in migration.cells if cell.now is not None)
    return migration.model_copy(update={"cells": cells, "left": 0})


def _warning(migration: Migration) -> str | None:
    if migration.stayed + migration.moved or not (migration.came and migration.left):
        return None
    return (
        "no customer of the older output is in the new one. If these should be the same customers, "
        "compare the ids of both; hashed ids need the same key in both runs"
    )


def why_not_joined(older: LabeledParts, newer: LabeledParts) -> str | None:
    """Return why the customers of two outputs cannot be compared; None if they can."""
    for which, parts in (("older", older), ("new", newer)):
        if parts.id is None:
            return f"the {which} output has no ids"
    if newer.id in (FROM, TO):
        return f"the ids are in a column {newer.id!r}, which is a column of the changes"
    return None


def refuse_other_ids(older: LabeledParts, written: pa.DataType) -> None:
    """Refuse ids that cannot be compared with those of an older output, before any work.

    Parameters
    ----------
    older : LabeledParts
    written : DataType
        The type that the ids of the new output will have. That of hashed ids is text.

    Raises
    ------
    DataError
    """
    if older.id is not None:
        keys_of_types(older.id_type(), written)


def refuse_other_hashes(older_job: Mapping[str, Any], newer_job: Mapping[str, Any]) -> None:
    """Refuse to compare hashed ids with plain ones.

    Parameters
    ----------
    older_job, newer_job : mapping
        `job` of the manifests. Whether two keys of hashes are the same is not known: with other
        keys no id is in both outputs.

    Raises
    ------
    ConfigError
    """
    older, newer = _key_variable(older_job), _key_variable(newer_job)
    if bool(older) == bool(newer):
        return
    raise ConfigError(
        "migration.hashed_ids",
        f"the ids of the {'older' if older else 'new'} output are hashed, and those of the other "
        "are not, so that no customer could be compared",
        parameter="id_hash_key_env",
        hint=f"{set_key('id_hash_key_env', older)}, with the key of the older output" if older
        else "leave out `id_hash_key_env`, or refresh from an output with hashed ids",
    )  # fmt: skip


def _key_variable(job: Mapping[str, Any]) -> str | None:
    sources = [job.get(name) or {} for name in _SOURCES]
    return next(filter(None, (source.get("id_hash_key_env") for source in sources)), None)
