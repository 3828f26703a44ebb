"""An earlier audience, to find who has left: its files of hashes, or the output of its segments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.csv as pa_csv

from gpuseg.audience.hashing import are_written
from gpuseg.audience.level_segment import LevelSegment, segments_of_level
from gpuseg.audience.members import SegmentedOutput
from gpuseg.audience.normalize import TEXT
from gpuseg.audience.platforms import ContactKey, Platform
from gpuseg.audience.record import AudienceManifest
from gpuseg.errors import ConfigError, DataError, literal
from gpuseg.io.output.base import MANIFEST
from gpuseg.io.storage import Storage, unreachable, wrap_store_errors
from gpuseg.output_columns import SEGMENT
from gpuseg.output_kind import OutputKind, output_kind
from gpuseg.strict_json import parse_json

PARAMETER = "previous"


@dataclass(frozen=True)
class PreviousAudience:
    """Rows of earlier files, or ids of an earlier output, by segment.

    Attributes
    ----------
    rows : mapping of LevelSegment to table, or None
        Columns of keys.
    members : mapping of LevelSegment to array of text
    source : SegmentedOutput or None
        The earlier output, whose ids may have another key than those of the present one.
    """

    rows: Mapping[LevelSegment, pa.Table] | None = None
    members: Mapping[LevelSegment, pa.Array] = field(default_factory=dict)
    source: SegmentedOutput | None = None


def read_previous(
    path: str,
    segments: Sequence[LevelSegment],
    headers: Mapping[ContactKey, str],
    platform: Platform,
) -> PreviousAudience:
    """Read an earlier audience.

    Parameters
    ----------
    path : str
        A folder of audience files, one file of a single segment, or an output of segments.
    segments : sequence of LevelSegment
    headers : mapping of ContactKey to str
        Columns that the files must have.
    platform : Platform

    Raises
    ------
    ConfigError, DataError, ResourceError
    """
    storage = Storage.from_url(path, {}, PARAMETER)
    with wrap_store_errors(PARAMETER, storage.url):
        try:
            if storage.fs.isfile(storage.root):
                return _of_file(storage, segments, headers, platform)
            manifest = _manifest(storage)
            if manifest is None:
                return _of_output(SegmentedOutput.open(path, PARAMETER), segments)
            written = {LevelSegment(s.segment, s.column) for s in manifest.audience.segments}
            rows = {segment: _no_rows(headers) for segment in segments}
            for segment in written & rows.keys():
                path_of_file = f"{storage.root}/{segment.file}"
                rows[segment] = _read(storage, path_of_file, headers, platform)
            return PreviousAudience(rows)
        except OSError as error:
            raise unreachable(PARAMETER, storage.url, error) from None


def _of_output(source: SegmentedOutput, segments: Sequence[LevelSegment]) -> PreviousAudience:
    """Return the customers of an earlier output; of a segment that it does not have, none.

    Raises
    ------
    ConfigError
        For an output without the level of a segment, which does not tell who has left.
    """
    for segment in segments:
        if segment.column not in (SEGMENT, *source.levels):
            raise ConfigError(
                "audience.previous_without_level",
                f"has no column '{segment.column}'",
                value=source.storage.shown_url,
                rule="must have the level of each segment that is named",
                hint="give an output of the same hierarchy",
                parameter=PARAMETER,
            )
    known = [segment for segment in segments if segment.number in source.numbers(segment.column)]
    empty = pa.nulls(0, TEXT)
    members = {**dict.fromkeys(segments, empty), **source.members(known)}
    return PreviousAudience(members=members, source=source)


def _of_file(
    storage: Storage,
    segments: Sequence[LevelSegment],
    headers: Mapping[ContactKey, str],
    platform: Platform,
) -> PreviousAudience:
    if len(segments) > 1:
        raise ConfigError(
            "audience.previous_of_one", "is the file of one segment", value=storage.url,
            rule=f"{len(segments)} segments are named", parameter=PARAMETER,
            hint="give the folder of the earlier audience, or name one segment",
        )  # fmt: skip
    return PreviousAudience({segments[0]: _read(storage, storage.root, headers, platform)})


def _manifest(storage: Storage) -> AudienceManifest | None:
    """Return the manifest of audience files; None for an output of another kind.

    Raises
    ------
    DataError, OSError
    """
    try:
        content = parse_json(storage.fs.cat_file(f"{storage.root}/{MANIFEST}"))
    except FileNotFoundError:
        return None
    except ValueError:
        return None  # whoever reads it as an output says what is wrong
    if not isinstance(content, dict) or output_kind(content) is not OutputKind.AUDIENCE:
        return None
    return AudienceManifest.from_json(content)


def _read(
    storage: Storage, path: str, headers: Mapping[ContactKey, str], platform: Platform
) -> pa.Table:
    """Return the rows of a file, with the keys as names of its columns.

    Raises
    ------
    DataError
        For a file with other columns, whose rows could not be compared, and for values without a
        hash, which must not be written again.
    """
    convert = pa_csv.ConvertOptions(strings_can_be_null=True, null_values=[""])
    name = storage.relative(path)
    try:
        with storage.fs.open(path, "rb") as file:
            first = file.readline(2**16).decode(errors="replace").rstrip("\r\n")
            names = first.split(",")
            convert.column_types = dict.fromkeys(names, TEXT)
            options = pa_csv.ReadOptions(column_names=names)
            table = pa_csv.read_csv(file, options, convert_options=convert)
    except (pa.ArrowException, FileNotFoundError):
        raise DataError(
            "audience.previous_unreadable", f"{name} cannot be read as an audience file",
            hint="give the folder that gpuseg audience has written", parameter=PARAMETER,
        ) from None  # fmt: skip
    has = [name for name in names if name != SEGMENT and segments_of_level(name) is None]
    if sorted(has) != sorted(headers.values()):
        raise DataError(
            "audience.previous_columns",
            f"{name} has other columns",  # which may be values of a file without a header
            rule=f"must have {literal(', '.join(headers.values()))}, to be compared",
            hint="name the same keys and the same format as then",
            parameter=PARAMETER,
        )
    rows = pa.table({key: table[header].combine_chunks() for key, header in headers.items()})
    for key, header in headers.items():
        if not are_written(rows[key], key, platform):
            raise DataError(
                "audience.previous_not_hashed",
                f"{name} has values in column '{header}' that are not as gpuseg writes them",
                rule="must be hashes of SHA-256 in lower-case hexadecimal digits"
                if key not in platform.plain
                else "must be countries and postcodes",
                hint="give the folder that gpuseg audience has written",
                parameter=PARAMETER,
            )
    return rows


def _no_rows(headers: Mapping[ContactKey, str]) -> pa.Table:
    return pa.table({key: pa.nulls(0, TEXT) for key in headers})
