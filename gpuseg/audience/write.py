"""Write audience files: join segments with contacts, keep who consents, hash, publish at once."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from gpuseg import __version__
from gpuseg import arrow_compute as pc
from gpuseg.arrow import from_numpy, to_numpy
from gpuseg.audience import MINIMUM
from gpuseg.audience.consent import ConsentRule
from gpuseg.audience.contacts import Contacts, read_contacts
from gpuseg.audience.hashing import hashed, sorted_rows, usable, without_current
from gpuseg.audience.level_segment import LevelSegment
from gpuseg.audience.members import SegmentedOutput
from gpuseg.audience.normalize import TEXT, upper_country
from gpuseg.audience.phone_numbers import check_region, e164
from gpuseg.audience.platforms import PLATFORMS, ContactKey, Platform
from gpuseg.audience.previous import PreviousAudience, read_previous
from gpuseg.audience.record import (
    AudienceManifest,
    AudienceSummary,
    KeyCounts,
    SegmentAudience,
)
from gpuseg.errors import ConfigError, DataError
from gpuseg.formatting import count
from gpuseg.io.output.base import MANIFEST, OUTPUT_PATH, Output, as_json, cannot_write
from gpuseg.io.output.open import open_output
from gpuseg.io.storage import Storage
from gpuseg.manifest import PartSummary
from gpuseg.output_columns import SEGMENT
from gpuseg.output_kind import OutputKind


@dataclass(frozen=True)
class AudienceRequest:
    """What is to be written.

    Attributes
    ----------
    output : str
        Path or URL of the output whose segments are written.
    customers : str
        Path of the table of contacts.
    id : str or None
        Column of its ids; None is the name that the output has.
    segments : sequence of str
        Numbers or names, or ``COLUMN=NUMBER`` for a level of a hierarchy, as in ``segment_4=2``.
    platform : str
    keys : mapping of ContactKey to str
        Columns of the table of contacts.
    consent : str
        Column of that table.
    target : str
        Folder of the files.
    consent_rule : ConsentRule
    default_region : str or None
        Country of telephone numbers without a code.
    previous : str or None
        An earlier audience, a file of it, or an earlier output.
    minimum : int
    plain_address : bool
        Whether the platform may get keys without a hash that it reads in no other way.
    overwrite : bool
    """

    output: str
    customers: str
    id: str | None
    segments: Sequence[str]
    platform: str
    keys: Mapping[ContactKey, str]
    consent: str
    target: str
    consent_rule: ConsentRule = field(default_factory=ConsentRule)
    default_region: str | None = None
    previous: str | None = None
    minimum: int = MINIMUM
    plain_address: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class AudienceResult:
    """What was written.

    Attributes
    ----------
    path : str
    record : AudienceManifest
    """

    path: str
    record: AudienceManifest


def write_audience(request: AudienceRequest) -> AudienceResult:
    """Write the files of some segments, and publish them together.

    Raises
    ------
    ConfigError, DataError, ResourceError
        When the request, the data or the machine is at fault, or a segment has too few customers;
        nothing is then written.
    """
    platform = _platform(request)
    if request.default_region is not None:
        check_region(request.default_region)
    started = datetime.now(UTC)
    run_id = f"{started:%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"
    target = Storage.from_url(request.target, {}, OUTPUT_PATH)
    source = SegmentedOutput.open(request.output, "output")
    segments = source.segments_of(request.segments)
    with open_output(target, request.overwrite, run_id, OutputKind.AUDIENCE) as output:
        audience = _Audience.read(request, platform, source, segments)
        summaries = [audience.segment(segment, name) for segment, name in segments.items()]
        parts = [
            _write(output, name, rows, platform, segment)
            for segment, (_, files) in zip(segments, summaries, strict=True)
            for name, rows in files.items()
        ]
        record = AudienceManifest(
            gpuseg=__version__,
            run_id=run_id,
            started=started.isoformat(timespec="seconds"),
            audience=AudienceSummary(
                platform=request.platform,
                source_run_id=source.manifest.run_id,
                fit_run_id=source.fit_run_id,
                columns=tuple(_headers(platform, audience.keys, SEGMENT)),
                minimum=request.minimum,
                contacts=len(audience.contacts.id),
                contacts_without_id=audience.contacts.rows_without_id,
                segments=tuple(summary for summary, _ in summaries),
            ),
            parts=tuple(parts),
        )
        output.write(MANIFEST, as_json(record.to_json()))
        output.publish([part.name for part in parts])
    return AudienceResult(request.target, record)


def _platform(request: AudienceRequest) -> Platform:
    if request.platform not in PLATFORMS:
        raise ConfigError(
            "audience.unknown_format", "no format of audience files", value=request.platform,
            rule=f"must be one of {', '.join(PLATFORMS)}", parameter="format",
        )  # fmt: skip
    if request.minimum < 1:
        raise ConfigError(
            "audience.minimum_too_small", "no number of customers", value=request.minimum,
            rule="must be at least 1", parameter="minimum",
        )  # fmt: skip
    if not request.segments:
        raise ConfigError(
            "audience.no_segment", "no segment is named", hint="name one with --segment",
            parameter="segment",
        )  # fmt: skip
    return PLATFORMS[request.platform]


@dataclass(frozen=True)
class _Audience:
    """Segments and contacts, joined.

    Attributes
    ----------
    contacts : Contacts
    ids : array of text (n,)
        Ids of the contacts, as the output has them.
    consents : array of bool (n,)
    members : mapping of LevelSegment to array of text
        Ids of the customers of each segment.
    previous : PreviousAudience or None
    keys : tuple of ContactKey
        Keys that are written.
    """

    request: AudienceRequest
    platform: Platform
    contacts: Contacts
    ids: pa.Array
    consents: pa.Array
    members: Mapping[LevelSegment, pa.Array]
    previous: PreviousAudience | None
    keys: tuple[ContactKey, ...]

    @classmethod
    def read(
        cls,
        request: AudienceRequest,
        platform: Platform,
        source: SegmentedOutput,
        segments: Mapping[LevelSegment, str | None],
    ) -> "_Audience":
        """Read contacts and segments.

        Raises
        ------
        ConfigError, DataError, ResourceError
        """
        keys = platform.written_keys(list(request.keys), request.plain_address)
        id = request.id or source.id
        contacts = read_contacts(
            request.customers,
            id,
            [*request.keys.values(), request.consent],
            request.keys.get(ContactKey.COUNTRY),
        )
        consents = request.consent_rule.given(
            contacts.columns[request.consent], request.consent, contacts.describe
        )
        previous = None
        if request.previous is not None:
            headers = {key: platform.headers[key] for key in keys}
            previous = read_previous(
                request.previous, list(segments), source.fit_run_id, headers, platform
            )
        members = source.members(list(segments))
        ids = source.as_written(contacts.id)
        _refuse_no_match(ids, members, contacts, id)
        return cls(request, platform, contacts, ids, consents, members, previous, keys)

    def segment(
        self, segment: LevelSegment, name: str | None
    ) -> tuple[SegmentAudience, dict[str, pa.Table]]:
        """Return the counts of a segment, and the rows of its files by their names.

        Raises
        ------
        DataError
            If the segment has too few customers.
        """
        members = self.members[segment]
        is_member = pc.is_in(self.ids, value_set=members)
        chosen = pc.and_(is_member, self.consents)
        keys, counts = self._keys(chosen)
        rows = hashed(keys, self.platform)
        with_key = rows.filter(usable(rows, self.platform))
        current = sorted_rows(with_key)
        self._refuse_too_few(segment, len(current), counts)
        n_contacts, n_chosen = _sum(is_member), _sum(chosen)
        files = {segment.file: current}
        leavers = {}
        if self.previous is not None:
            left, n_unknown = self._leavers(segment, chosen, current)
            files[segment.leavers_file] = left
            leavers = {
                "leavers_file": segment.leavers_file,
                "leavers": len(left),
                "leavers_without_contact": n_unknown,
            }
        summary = SegmentAudience(
            segment=segment.number,
            column=segment.column,
            name=name,
            file=segment.file,
            customers=len(members),
            without_contact=len(members) - n_contacts,
            without_consent=n_contacts - n_chosen,
            without_key=n_chosen - len(with_key),
            same_keys=len(with_key) - len(current),
            rows=len(current),
            keys=counts,
            **leavers,
        )
        return summary, files

    def _leavers(
        self, segment: LevelSegment, chosen: pa.Array, current: pa.Table
    ) -> tuple[pa.Table, int]:
        """Return the rows to remove, and how many customers left without a contact."""
        assert self.previous is not None
        source = self.previous.source
        if source is None:
            assert self.previous.rows is not None
            rows, n_unknown = self.previous.rows[segment], 0
        else:
            before, ids = self.previous.members[segment], source.as_written(self.contacts.id)
            is_gone = pc.and_(pc.is_in(ids, value_set=before), pc.invert(chosen))
            rows = hashed(self._keys(is_gone)[0], self.platform)
            still = pc.is_in(before, value_set=self.members[segment])
            known = pc.is_in(before, value_set=ids)
            n_unknown = _sum(pc.and_(pc.invert(still), pc.invert(known)))
        return sorted_rows(without_current(rows, current, self.platform)), n_unknown

    def _keys(self, chosen: pa.Array) -> tuple[dict[ContactKey, pa.Array], dict[str, KeyCounts]]:
        """Return the keys of some contacts as they are hashed, and counts of them."""
        rows = from_numpy(np.flatnonzero(to_numpy(chosen)))
        given = {key: self.contacts.columns[c].take(rows) for key, c in self.request.keys.items()}
        regions = self._regions(given.get(ContactKey.COUNTRY, pa.nulls(len(rows), TEXT)))
        keys: dict[ContactKey, pa.Array] = {}
        counts: dict[str, KeyCounts] = {}
        for key in self.keys:
            if key is ContactKey.PHONE:
                keys[key] = e164(given[key], regions)
                if not self.platform.has_plus:
                    keys[key] = pc.utf8_slice_codeunits(keys[key], 1)
            else:
                keys[key] = self.platform.normalizers[key](given[key], regions)
            n_missing, n_usable = _sum(_is_missing(given[key])), _sum(keys[key].is_valid())
            counts[self.platform.headers[key]] = KeyCounts(
                usable=n_usable, missing=n_missing, invalid=len(rows) - n_usable - n_missing
            )
        return keys, counts

    def _regions(self, countries: pa.Array) -> pa.Array:
        """Return the countries of customers, upper case; null for what is no country.

        The default is for customers without a country: whoever has one that cannot be read lives
        anywhere, and a number that is read by wrong rules is the number of somebody else.
        """
        default = pa.scalar(self.request.default_region, TEXT)
        return pc.if_else(_is_missing(countries), default, upper_country(countries))

    def _refuse_too_few(
        self, segment: LevelSegment, n_rows: int, counts: Mapping[str, KeyCounts]
    ) -> None:
        if n_rows < self.request.minimum:
            phones = counts.get(self.platform.headers[ContactKey.PHONE])
            step = (
                f"name the country of telephone numbers with --default-region ({phones.invalid:,} "
                "cannot be read), or "
                if phones and phones.invalid and self.request.default_region is None
                else ""
            )
            raise DataError(
                "audience.too_few_customers",
                f"segment {segment.shown} has {count(n_rows, 'customer')} with consent and a "
                "usable key",
                rule=f"must have at least {self.request.minimum:,}, so that a file tells of no "
                "single customer, and so that the platforms accept it; nothing was written",
                hint=f"{step}leave the segment out, or set another --minimum",
            )


def _refuse_no_match(
    ids: pa.Array, members: Mapping[LevelSegment, pa.Array], contacts: Contacts, id: str
) -> None:
    """Refuse a table of contacts that has no customer of any segment."""
    everyone = pa.concat_arrays(list(members.values()))
    if len(everyone) and not pc.any(pc.is_in(everyone, value_set=ids)).as_py():
        raise DataError(
            "audience.no_match",
            f"no customer of the segments is in column '{id}' of the {len(contacts.id):,} contacts",
            hint="check that the column has the ids of the job, written in the same way"
            if len(contacts.id)
            else "give a table with rows",
            parameter="id",
        )


def _headers(platform: Platform, keys: Sequence[ContactKey], column: str) -> list[str]:
    return [*[column] * platform.has_segment, *(platform.headers[key] for key in keys)]


def _write(
    output: Output, name: str, rows: pa.Table, platform: Platform, segment: LevelSegment
) -> PartSummary:
    """Stage a file: a header and rows, of values that need no quotes."""
    keys = [ContactKey(column) for column in rows.column_names]
    if platform.has_segment:
        rows = rows.add_column(0, segment.column, pa.repeat(segment.number, len(rows)))
    path = output.staging.path(name)
    options = pa_csv.WriteOptions(include_header=False, quoting_style="none")
    try:
        with output.staging.storage.fs.open(path, "wb") as sink:
            sink.write((",".join(_headers(platform, keys, segment.column)) + "\n").encode())
            pa_csv.write_csv(rows, sink, options)
            if output.staging.storage.is_local:
                sink.flush()
                os.fsync(sink.fileno())
    except (OSError, pa.ArrowException) as error:
        raise cannot_write(path, error) from None
    size = int(output.staging.storage.fs.size(path))
    return PartSummary(name=name, rows=len(rows), bytes=size)


def _is_missing(values: pa.Array) -> pa.Array:
    return pc.fill_null(pc.equal(pc.utf8_trim_whitespace(values), ""), True)


def _sum(flags: pa.Array) -> int:
    return int(pc.sum(flags).as_py() or 0)
