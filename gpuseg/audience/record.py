"""The manifest of audience files: counts only, and nothing of a person."""

from typing import Any, Literal

from pydantic import Field

from gpuseg.manifest import PartSummary
from gpuseg.output_columns import SEGMENT
from gpuseg.record import Count, Record, SegmentNumber

AUDIENCE_FORMAT: Literal[1] = 1
"""Number of the JSON form."""


class KeyCounts(Record):
    """How many customers of a segment with consent have a key."""

    usable: Count
    """Customers with a value that the platform can compare."""
    missing: Count
    """Customers without a value."""
    invalid: Count
    """Customers with a value that is no such key, such as an address without "@"."""


class SegmentAudience(Record):
    """The file of one segment."""

    segment: SegmentNumber
    """Number of the segment in the output."""
    column: str = SEGMENT
    """Column of the output whose number it is: ``segment``, or that of a level of a hierarchy."""
    name: str | None
    """Name of the segment, where it has one."""
    file: str
    """Name of the file."""
    customers: Count
    """Customers of the segment."""
    without_contact: Count
    """Customers that the table of contacts does not have."""
    without_consent: Count
    """Customers who do not consent."""
    without_key: Count
    """Customers with consent, but without a usable key."""
    same_keys: Count
    """Customers who have the same keys as another, and share a row."""
    rows: Count
    """Rows of the file."""
    keys: dict[str, KeyCounts]
    """Counts of each key, by its column in the file."""
    leavers_file: str | None = None
    """Name of the file of customers to remove, where an earlier audience was given."""
    leavers: Count = 0
    """Rows of that file."""
    leavers_without_contact: Count = 0
    """Customers who left, and of whom there is nothing to remove them by."""


class AudienceSummary(Record):
    """What was asked for, and what became of each segment."""

    platform: Literal["google", "meta", "csv"]
    """The format of the files."""
    source_run_id: str
    """Run of the output whose segments these are."""
    fit_run_id: str | None = None
    """Run that fitted the model of the segments, if that is known."""
    columns: tuple[str, ...]
    """Columns of the files; that of a level has the level's column in place of ``segment``."""
    minimum: int = Field(ge=1)
    """Rows that each file has at least."""
    contacts: Count
    """Rows of the table of contacts that have an id."""
    contacts_without_id: Count
    """Rows of that table without an id."""
    segments: tuple[SegmentAudience, ...]
    """Files in the order in which the segments were named."""


class AudienceManifest(Record):
    """The manifest of audience files."""

    format: Literal[1] = AUDIENCE_FORMAT
    """Number of this format."""
    gpuseg: str
    """Version of gpuseg."""
    run_id: str
    """Identifier of the run that wrote the files."""
    started: str
    """Start of that run, ISO 8601, UTC."""
    audience: AudienceSummary
    """The audience."""
    parts: tuple[PartSummary, ...]
    """Files, in the order in which they were written."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: dicts, lists, strings, numbers, booleans and None."""
        return {"format": self.format, **super().to_json()}
