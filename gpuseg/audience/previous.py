"""An earlier audience, to find who has left: its files of hashes, or the output of its segments."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.csv as pa_csv

from gpuseg import arrow_compute as pc
from gpuseg.audience.hashing import are_written
from gpuseg.audience.level_segment import (
    LEAVERS_END,
    LevelSegment,
    segment_of_file,
    segments_of_level,
)
from gpuseg.audience.members import SegmentedOutput
from gpuseg.audience.normalize import TEXT
from gpuseg.audience.platforms import ContactKey, Platform
from gpuseg.audience.record import AudienceManifest
from gpuseg.errors import ConfigError, DataError, literal
from gpuseg.io.storage import Storage, unreachable, wrap_store_errors
from gpuseg.manifest import read_content
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
    fit_run_id: str | None,
    headers: Mapping[ContactKey, str],
    platform: Platform,
) -> PreviousAudience:
    """Read an earlier audience.

    Parameters
    ----------
    path : str
        A folder of audience files, one file of a single segment, or an output of segments.
    segments : sequence of LevelSegment
    fit_run_id : str or None
        The run that fitted the model of these segments, if that is known. If the earlier audience
        is of another model, a warning says so.
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
                return _of_file(storage, segments, fit_run_id, headers, platform)
            manifest = _manifest(storage)
            if manifest is None:
                source = _output(path)
                earlier = _of_output(source, segments)
                _warn_of_another_model(source.fit_run_id, fit_run_id)
                return earlier
            _warn_of_another_model(manifest.audience.fit_run_id, fit_run_id)
            written = {LevelSegment(s.segment, s.column) for s in manifest.audience.segments}
            rows = {segment: _no_rows(headers) for segment in segments}
            for segment in written & rows.keys():
                path_of_file = f"{storage.root}/{segment.file}"
                rows[segment] = _read(storage, path_of_file, headers, platform)[0]
            return PreviousAudience(rows)
        except OSError as error:
            raise unreachable(PARAMETER, storage.url, error) from None


def _output(path: str) -> SegmentedOutput:
    """Open an earlier output.

    Raises
    ------
    ConfigError, DataError, ResourceError
    """
    try:
        return SegmentedOutput.open(path, PARAMETER)
    except DataError as error:
        if error.code == "manifest.missing":
            error.parameter = PARAMETER
            error.hint = "give an earlier audience; for the first one, leave `previous` out"
        raise


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
    fit_run_id: str | None,
    headers: Mapping[ContactKey, str],
    platform: Platform,
) -> PreviousAudience:
    """Return the rows of a file, which must be of the same segment unless the model is another.

    Raises
    ------
    ConfigError, DataError, OSError
    """
    if len(segments) > 1:
        raise ConfigError(
            "audience.previous_of_one", "is the file of one segment", value=storage.url,
            rule=f"{len(segments)} segments are named", parameter=PARAMETER,
            hint="give the folder of the earlier audience, or name one segment",
        )  # fmt: skip
    folder, _, name = storage.root.rpartition("/")
    if name.endswith(LEAVERS_END):
        raise ConfigError(
            "audience.previous_of_leavers", "is a file of customers to remove",
            value=storage.shown_url, rule="must be of customers who were in the segment",
            hint=f"give {literal(name.removesuffix(LEAVERS_END))}.csv", parameter=PARAMETER,
        )  # fmt: skip
    rows, of_rows = _read(storage, storage.root, headers, platform)
    manifest = _manifest_beside(replace(storage, root=folder))
    written = of_rows or segment_of_file(name)
    if manifest is not None and manifest.audience.fit_run_id != fit_run_id:
        _warn_of_another_model(manifest.audience.fit_run_id, fit_run_id)
    elif written not in (None, segments[0]):
        raise ConfigError(
            "audience.previous_of_other_segment", f"is the file of segment {written.shown}",
            value=storage.shown_url, rule=f"must be of segment {segments[0].shown}",
            hint="give the file of the segment, or the folder of the earlier audience",
            parameter=PARAMETER,
        )  # fmt: skip
    return PreviousAudience({segments[0]: rows})


def _warn_of_another_model(earlier: str | None, present: str | None) -> None:
    """Warn of an earlier audience whose segment numbers may stand for other segments."""
    if earlier != present:
        whose = (
            f"the earlier audience is of another model (run {earlier}, here run {present})"
            if earlier and present
            else "it is not known whether the earlier audience is of the same model"
        )
        warnings.warn(
            f"{whose}: a number may stand for another segment there. Compare the "
            "segments in both reports before you remove the leavers",
            UserWarning,
            stacklevel=4,
        )


def _manifest_beside(folder: Storage) -> AudienceManifest | None:
    """Return the manifest in the folder of a file; None for a file that was taken out of it."""
    try:
        return _manifest(folder)
    except OSError:  # whoever may read one file of a store need not see others
        return None


def _manifest(storage: Storage) -> AudienceManifest | None:
    """Return the manifest of audience files; None for an output of another kind.

    Raises
    ------
    DataError, OSError
    """
    try:
        content = parse_json(read_content(storage))
    except FileNotFoundError:
        return None
    except ValueError:
        return None  # whoever reads it as an output says what is wrong
    if not isinstance(content, dict) or output_kind(content) is not OutputKind.AUDIENCE:
        return None
    return AudienceManifest.from_json(content)


def _read(
    storage: Storage, path: str, headers: Mapping[ContactKey, str], platform: Platform
) -> tuple[pa.Table, LevelSegment | None]:
    """Return the rows of a file, with the keys as names of its columns, and its segment.

    The segment is None if no column has it.

    Raises
    ------
    DataError
        For a file with other columns, whose rows could not be compared, and for values without a
        hash, which must not be written again.
    """
    convert = pa_csv.ConvertOptions(strings_can_be_null=True, null_values=[""])
    name = storage.relative(path)
    storage.version(path)  # refuses what is no regular file
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
    return rows, _segment_of(table)


def _segment_of(table: pa.Table) -> LevelSegment | None:
    """Return the segment of a file that has its number in a column."""
    for column in table.column_names:
        if column == SEGMENT or segments_of_level(column) is not None:
            numbers = pc.unique(table[column]).to_pylist()
            if len(numbers) == 1 and re.fullmatch(r"-?[0-9]{1,10}", numbers[0] or ""):
                return LevelSegment(int(numbers[0]), column)
    return None


def _no_rows(headers: Mapping[ContactKey, str]) -> pa.Table:
    return pa.table({key: pa.nulls(0, TEXT) for key in headers})
