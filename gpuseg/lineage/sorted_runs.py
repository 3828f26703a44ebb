"""Rows with ids on the scratch disk: runs of them, each sorted by id and cut into blocks."""

import shutil
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa

from gpuseg.arrow import from_numpy, to_numpy
from gpuseg.errors import ResourceError
from gpuseg.io.library_errors import first_line
from gpuseg.lineage.id_blocks import IdBlock, IdBlocks, LabeledRows
from gpuseg.lineage.id_keys import IdKeys
from gpuseg.lineage.integer_keys import sorted_once
from gpuseg.lineage.row_groups import LabeledGroup, LabeledGroups, RowGroups
from gpuseg.runtime.executor import TaskContext

_BLOCK_ROWS = 16_384
"""A window needs rows of every run: of a smaller block fewer are read in vain."""

_LABEL_BYTES = 4


class SortedRuns(IdBlocks):
    """Sorted rows in files of a folder; an id is in a run once.

    Attributes
    ----------
    missing : int
        Rows without an id, which are left out.
    """

    def __init__(self, groups: LabeledGroups, keys: IdKeys, folder: str, name: str) -> None:
        self._groups, self._keys, self._folder, self._name = groups, keys, folder, name
        self.blocks: list[IdBlock] = []
        self.missing = 0
        needed = groups.rows * (keys.bytes_per_id + _LABEL_BYTES)
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise _no_scratch(folder, f"{needed / 2**20:,.0f} MiB, {free / 2**20:,.0f} are free")

    def write(self, context: TaskContext, rows_per_run: int) -> None:
        """Sort all rows into runs.

        Raises
        ------
        DataError
            If a part cannot be read.
        ResourceError
            If the scratch disk is full.
        """
        source = RowGroups(self._groups, self._keys)

        def write_run(task: tuple[int, list[LabeledGroup]]) -> tuple[list[IdBlock], int]:
            number, groups = task
            pieces, missing = [], 0
            for file, of_file in groupby(groups, key=lambda group: group.file):
                for _, (rows, n_missing) in source.read_groups(file, list(of_file)):
                    pieces.append(rows)
                    missing += n_missing
            all_keys = self._keys.concatenate([piece.keys for piece in pieces])
            labels = np.concatenate([piece.labels for piece in pieces])
            del pieces
            return self._write(
                number, LabeledRows(*sorted_once(self._keys, all_keys, labels))
            ), missing

        for blocks, missing in context.map(write_run, list(enumerate(self._runs(rows_per_run)))):
            self.blocks += blocks
            self.missing += missing

    def _runs(self, rows_per_run: int) -> Iterator[list[LabeledGroup]]:
        run: list[LabeledGroup] = []
        for group in self._groups.groups:
            if run and sum(g.rows for g in run) + group.rows > rows_per_run:
                yield run
                run = []
            run.append(group)
        if run:
            yield run

    def _write(self, number: int, rows: LabeledRows) -> list[IdBlock]:
        blocks: list[IdBlock] = []
        try:
            with pa.OSFile(self._path(number), "wb") as sink:
                empty = self._batch(rows, slice(0, 0))
                with pa.ipc.new_file(sink, empty.schema) as writer:
                    for start in range(0, len(rows.labels), _BLOCK_ROWS):
                        stop = min(start + _BLOCK_ROWS, len(rows.labels))
                        writer.write_batch(self._batch(rows, slice(start, stop)))
                        low = self._keys.key_at(rows.keys, start)
                        high = self._keys.key_at(rows.keys, stop - 1)
                        blocks.append(IdBlock(low, high, stop - start, number, len(blocks)))
        except (OSError, pa.ArrowException) as error:
            raise _no_scratch(self._folder, first_line(error)) from None
        return blocks

    def _batch(self, rows: LabeledRows, part: slice) -> pa.RecordBatch:
        keys = rows.keys[part]
        keys = keys if isinstance(keys, pa.Array) else from_numpy(keys)
        return pa.record_batch([keys, from_numpy(rows.labels[part])], names=["id", "label"])

    def read(self, blocks: Sequence[IdBlock]) -> list[LabeledRows]:
        rows = []
        for file, of_file in groupby(blocks, key=lambda block: block.file):
            try:
                with pa.OSFile(self._path(file), "rb") as source, pa.ipc.open_file(source) as run:
                    batches = [run.get_batch(block.number) for block in of_file]
            except (OSError, pa.ArrowException) as error:
                raise _no_scratch(self._folder, first_line(error)) from None
            rows += [
                LabeledRows(self._keys.from_arrow(batch.column(0)), to_numpy(batch.column(1)))
                for batch in batches
            ]
        return rows

    def _path(self, number: int) -> str:
        return str(Path(self._folder) / f"{self._name}-{number:06d}.arrow")


def _no_scratch(folder: str, reason: str) -> ResourceError:
    return ResourceError(
        "migration.no_scratch",
        f"the folder {Path(folder).parent} for temporary files cannot take the ids of two "
        "outputs, to compare them",
        hint="free some space there, or set TMPDIR to a folder on a larger disk",
        reason=reason,
    )  # fmt: skip
