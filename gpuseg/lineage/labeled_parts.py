"""The parts of an output, of which the ids and the segments are read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg.errors import DataError
from gpuseg.io.file_version import FileVersion
from gpuseg.io.output.assignments import Part
from gpuseg.io.output.base import Staging
from gpuseg.io.storage import Storage
from gpuseg.manifest import PartSummary
from gpuseg.output_columns import SEGMENT

_CHANGED = "input.changed"
"""The code of the error of a file of another version."""

_HINT = "run the refresh again when no run publishes there"


@dataclass(frozen=True)
class LabeledParts:
    """The parts of an output.

    Attributes
    ----------
    storage : Storage
    paths : tuple of str
        Within the file system of `storage`.
    id : str or None
        Column of the ids.
    column : str
        Column of the segments: int32, -1 for noise.
    versions : tuple of FileVersion
        The versions that the files must have; empty if nobody else may change them.
    """

    storage: Storage
    paths: tuple[str, ...]
    id: str | None
    column: str = SEGMENT
    versions: tuple[FileVersion, ...] = ()

    @classmethod
    def published(
        cls, storage: Storage, parts: Sequence[PartSummary], column: str = SEGMENT
    ) -> "LabeledParts":
        """Return the parts of a published output, by its manifest.

        Raises
        ------
        DataError
            If a part is missing, or is not the one that the manifest names.
        """
        if not parts:
            raise damaged(storage, f"the manifest of {storage.shown_url} names no parts")
        paths = tuple(f"{storage.root}/{part.name}" for part in parts)
        try:
            versions = tuple(storage.version(path) for path in paths)
        except DataError as error:
            raise damaged(storage, error.problem, error.reason) from None
        for part, version in zip(parts, versions, strict=True):
            if version.size != part.bytes:
                raise damaged(
                    storage,
                    f"{part.name} has {version.size:,} bytes, and {part.bytes:,} by the manifest",
                )
        first = cls(storage, paths, None, column, versions)
        with first.open(paths[0]) as file:
            names = file.schema_arrow.names
        if column not in names:
            raise damaged(storage, f"{parts[0].name} has no column {column!r}")
        return cls(storage, paths, None if names[0] == SEGMENT else names[0], column, versions)

    @classmethod
    def staged(
        cls, staging: Staging, parts: Sequence[Part], id: str | None, column: str = SEGMENT
    ) -> "LabeledParts":
        """Return the parts that a run has written and not yet published."""
        paths = tuple(staging.path(part.name) for part in parts)
        return cls(staging.storage, paths, id, column)

    @contextmanager
    def open(self, path: str) -> Iterator[pq.ParquetFile]:
        """Open a part; errors of reading it inside name the file.

        Raises
        ------
        DataError
            If it is missing, damaged, or has changed.
        """
        version = self.versions[self.paths.index(path)] if self.versions else None
        with (
            self._naming_replaced_output(),
            self.storage.open_parquet(path, version) as file,
            self.storage.wrap_reading(path, version),
        ):
            yield file

    def refuse_changes(self) -> None:
        """Refuse parts that have changed since they were listed.

        Raises
        ------
        DataError
        """
        with self._naming_replaced_output():
            self.storage.refuse_changes(list(zip(self.paths, self.versions, strict=False)))

    def id_type(self) -> pa.DataType:
        """Return the type of the ids."""
        with self.open(self.paths[0]) as file:
            return file.schema_arrow.field(self.id).type

    @contextmanager
    def _naming_replaced_output(self) -> Iterator[None]:
        """Say of a changed file that it is a part of an output."""
        try:
            yield
        except DataError as error:
            if error.code != _CHANGED:
                raise
            raise DataError(
                "migration.output_changed",
                "a part has changed since the refresh began, so that customers cannot be compared",
                value=self.storage.shown_url, hint=_HINT, reason=error.problem,
            ) from None  # fmt: skip


def damaged(storage: Storage, problem: str, reason: str = "") -> DataError:
    """Return the error of parts that are not as a run has written them."""
    return DataError(
        "migration.damaged_output", problem, value=storage.shown_url,
        rule="the parts must be as gpuseg has written them",
        hint="run the job of the older output again, or name another one", reason=reason,
    )  # fmt: skip
