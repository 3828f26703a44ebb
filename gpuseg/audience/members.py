"""The customers of the segments of an output, by their ids as text."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg import arrow_compute as pc
from gpuseg.arrow import plain
from gpuseg.audience.level_segment import LevelSegment, segments_of_level
from gpuseg.audience.normalize import TEXT
from gpuseg.errors import ConfigError, DataError, literal
from gpuseg.formatting import number_ranges
from gpuseg.io.privacy.pseudonyms import Key, pseudonyms
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.manifest import Manifest, ScoresManifest, read_any_manifest
from gpuseg.output_columns import SEGMENT


@dataclass(frozen=True)
class SegmentedOutput:
    """An output of segments by id.

    Attributes
    ----------
    storage : Storage
    manifest : Manifest or ScoresManifest
    id : str
        Column of the ids.
    key : Key or None
        Key of the hashes that the output has in place of ids.
    levels : mapping of str to int
        Numbers of segments of the levels of a hierarchy, by their columns.
    """

    storage: Storage
    manifest: Manifest | ScoresManifest
    id: str
    key: Key | None
    levels: Mapping[str, int]

    @classmethod
    def open(cls, path: str, parameter: str) -> "SegmentedOutput":
        """Read the manifest of an output, and the schema of its parts.

        Raises
        ------
        ConfigError, DataError, ResourceError
            For what is no output with ids, and where the key of its ids is not set.
        """
        storage = Storage.from_url(path, {}, parameter)
        with wrap_store_errors(parameter, storage.url):
            manifest = read_any_manifest(storage)
            if not manifest.parts:
                raise _damaged(f"the manifest of {storage.shown_url} names no parts")
            part = f"{storage.root}/{manifest.parts[0].name}"
            with storage.open_parquet(part) as file:
                names = file.schema_arrow.names
        _refuse_other_columns(names, [SEGMENT], storage.relative(part))
        if names[0] == SEGMENT:
            raise DataError(
                "audience.no_ids", f"{storage.shown_url} has no ids of customers",
                hint="write it again with ids (input.id of a job, --id of gpuseg score)",
                parameter=parameter,
            )  # fmt: skip
        source = manifest.job.get("input") or manifest.job.get("transactions") or {}
        variable = source.get("id_hash_key_env")
        key = Key.from_env(variable) if variable else None
        sizes = {column: segments_of_level(column) for column in names[1:]}
        levels = {column: size for column, size in sizes.items() if size is not None}
        return cls(storage, manifest, names[0], key, levels)

    @property
    def fit_run_id(self) -> str | None:
        """The run that fitted the model of the segments, if that is known."""
        if isinstance(self.manifest, Manifest):
            return self.manifest.run_id
        return self.manifest.scored_with.run_id

    def numbers(self, column: str) -> set[int]:
        """Return the numbers of the segments of a column: of ``segment`` those with customers.

        A column that the output does not have has none.
        """
        if column != SEGMENT:
            return self._all_numbers(column, self.levels.get(column, 0))
        manifest = self.manifest
        listed = {segment.segment for segment in manifest.segments}
        if manifest.other_segments is None:
            return listed
        if isinstance(manifest, Manifest):
            return listed | self._all_numbers(column, manifest.result.n_clusters)
        return listed | self._all_numbers(column, manifest.scored_with.n_clusters)

    def _all_numbers(self, column: str, n_clusters: int) -> set[int]:
        """Return the numbers of the segments of a level: from 0 on, where there is no lineage."""
        for level in self.manifest.lineage:
            if level.column == column:
                return {each.segment for each in level.segments if each.retired is None}
        return set(range(n_clusters))

    def segments_of(self, texts: Sequence[str]) -> dict[LevelSegment, str | None]:
        """Return the segments that a user names, and their names.

        Parameters
        ----------
        texts : sequence of str
            Each a name, a number, or ``COLUMN=NUMBER`` for a level of a hierarchy, such as
            ``segment_4=2``.

        Raises
        ------
        ConfigError
            For a segment that the output does not have.
        """
        names = {s.segment: s.name for s in self.manifest.segments}
        by_name = {name.casefold(): number for number, name in names.items() if name}
        chosen: dict[LevelSegment, str | None] = {}
        for text in texts:
            segment = _parsed(text.strip(), by_name, self.levels)
            if segment is None or segment.number not in self.numbers(segment.column):
                raise self._unknown(text, names)
            chosen[segment] = names.get(segment.number) if segment.column == SEGMENT else None
        return chosen

    def _unknown(self, text: str, names: Mapping[int, str | None]) -> ConfigError:
        listed = ", ".join(f"{n} ({name})" if name else f"{n}" for n, name in names.items())
        of_levels = [f"{name}={number_ranges(sorted(self.numbers(name)))}" for name in self.levels]
        levels = f", or COLUMN=NUMBER with {' or '.join(of_levels)}" if of_levels else ""
        return ConfigError(
            "audience.unknown_segment", "the output has no such segment", value=text,
            rule=f"it has {literal(listed + levels)}", parameter="segment",
        )  # fmt: skip

    def members(self, segments: Sequence[LevelSegment]) -> dict[LevelSegment, pa.Array]:
        """Return the ids of the customers of segments, as text.

        Raises
        ------
        DataError, ResourceError
        """
        parts: dict[LevelSegment, list[pa.Array]] = {s: [pa.nulls(0, TEXT)] for s in segments}
        columns = list(dict.fromkeys(segment.column for segment in segments))
        with wrap_store_errors("output", self.storage.url):
            for part in self.manifest.parts:
                table = self._read(f"{self.storage.root}/{part.name}", columns)
                for segment in segments:
                    rows = table.filter(pc.equal(table[segment.column], segment.number))
                    parts[segment] += rows[self.id].chunks
        return {segment: pc.unique(pa.concat_arrays(ids)) for segment, ids in parts.items()}

    def as_written(self, ids: pa.Array) -> pa.Array:
        """Return ids as the output has them: their hashes, where it has a key."""
        return ids if self.key is None else pc.cast(pseudonyms(ids, self.key), TEXT)

    def _read(self, path: str, columns: Sequence[str]) -> pa.Table:
        """Return the ids of a part as text, and columns of segments.

        Raises
        ------
        DataError, ResourceError
        """
        name, names = self.storage.relative(path), [self.id, *columns]
        with self.storage.open_parquet(path) as file, self.storage.wrap_reading(path, None):
            _refuse_other_columns(file.schema_arrow.names, names, name)
            table = pq.ParquetFile.read(file, columns=names)
        try:
            ids = [pc.cast(plain(chunk), TEXT) for chunk in table[self.id].chunks]
            segments = [table[column].cast(pa.int32()) for column in columns]
        except pa.ArrowException:
            raise _damaged(f"{name} has ids or segments of another type") from None
        return pa.table([pa.chunked_array(ids, TEXT), *segments], names=names)


def _parsed(
    text: str, by_name: Mapping[str, int], levels: Mapping[str, int]
) -> LevelSegment | None:
    """Return the segment that a text means; None if it can mean none."""
    if text.casefold() in by_name:
        return LevelSegment(by_name[text.casefold()])
    column, sign, number = text.rpartition("=")
    if not re.fullmatch(r"-?[0-9]{1,10}", number):
        return None
    if not sign:
        return LevelSegment(int(number))
    return LevelSegment(int(number), column) if column in (SEGMENT, *levels) else None


def _refuse_other_columns(has: Sequence[str], names: Sequence[str], part: str) -> None:
    for name in names:
        if list(has).count(name) != 1:
            raise _damaged(f"{part} does not have one column {name!r}")


def _damaged(problem: str) -> DataError:
    return DataError(
        "audience.damaged_part", problem,
        rule="the parts must be as gpuseg has written them", hint="run the job again",
    )  # fmt: skip
