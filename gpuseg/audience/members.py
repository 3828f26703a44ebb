"""The customers of the segments of an output, by their ids as text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg import arrow_compute as pc
from gpuseg.arrow import plain
from gpuseg.audience.normalize import TEXT
from gpuseg.errors import ConfigError, DataError, literal
from gpuseg.formatting import segment_name
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
    """

    storage: Storage
    manifest: Manifest | ScoresManifest
    id: str
    key: Key | None

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
            part = f"{storage.root}/{manifest.parts[0].name}"
            with storage.open_parquet(part) as file:
                names = file.schema_arrow.names
        if names[0] == SEGMENT:
            raise DataError(
                "audience.no_ids", f"{storage.shown_url} has no ids of customers",
                hint="run the job again with input.id", parameter=parameter,
            )  # fmt: skip
        source = manifest.job.get("input") or manifest.job.get("transactions") or {}
        variable = source.get("id_hash_key_env")
        return cls(storage, manifest, names[0], Key.from_env(variable) if variable else None)

    @property
    def fit_run_id(self) -> str | None:
        """The run that fitted the model of the segments, if that is known."""
        if isinstance(self.manifest, Manifest):
            return self.manifest.run_id
        return self.manifest.scored_with.run_id

    def numbers(self) -> set[int]:
        """Return the numbers of the segments that have customers."""
        manifest = self.manifest
        listed = {segment.segment for segment in manifest.segments}
        if manifest.other_segments is None:
            return listed
        if isinstance(manifest, Manifest):
            return listed | set(range(manifest.result.n_clusters))
        return listed | set(range(manifest.scored_with.n_clusters))

    def numbers_of(self, names: Sequence[str]) -> dict[int, str | None]:
        """Return the segments that a user names by number or name, and their names.

        Raises
        ------
        ConfigError
            For a segment that the output does not have.
        """
        named = {s.segment: s.name for s in self.manifest.segments}
        known = dict.fromkeys(self.numbers()) | named
        by_name = {name.casefold(): number for number, name in named.items() if name}
        chosen: dict[int, str | None] = {}
        for text in names:
            number = by_name.get(text.strip().casefold())
            if number is None and re.fullmatch(r"-?[0-9]{1,10}", text.strip()):
                number = int(text)
            if number not in known:
                listed = ", ".join(
                    f"{n} ({name})" if name else segment_name(n) for n, name in named.items()
                )
                raise ConfigError(
                    "audience.unknown_segment", "the output has no such segment", value=text,
                    rule=f"it has {literal(listed)}", parameter="segment",
                )  # fmt: skip
            chosen[number] = known[number]
        return chosen

    def members(self, segments: Sequence[int]) -> dict[int, pa.Array]:
        """Return the ids of the customers of segments, as text.

        Raises
        ------
        DataError, ResourceError
        """
        parts: dict[int, list[pa.Array]] = {segment: [pa.nulls(0, TEXT)] for segment in segments}
        wanted = pa.array(segments, pa.int32())
        with wrap_store_errors("output", self.storage.url):
            for part in self.manifest.parts:
                table = self._read(f"{self.storage.root}/{part.name}")
                table = table.filter(pc.is_in(table[SEGMENT], value_set=wanted))
                for segment in segments:
                    rows = table.filter(pc.equal(table[SEGMENT], segment))
                    parts[segment] += [pc.cast(plain(c), TEXT) for c in rows[self.id].chunks]
        return {segment: pc.unique(pa.concat_arrays(ids)) for segment, ids in parts.items()}

    def as_written(self, ids: pa.Array) -> pa.Array:
        """Return ids as the output has them: their hashes, where it has a key."""
        return ids if self.key is None else pc.cast(pseudonyms(ids, self.key), TEXT)

    def _read(self, path: str) -> pa.Table:
        with self.storage.open_parquet(path) as file, self.storage.wrap_reading(path, None):
            return pq.ParquetFile.read(file, columns=[self.id, SEGMENT])
