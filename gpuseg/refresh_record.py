"""Records of a refresh: lineage, definition, migration, events and history of segments."""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from gpuseg.record import Count, Number, Record, SegmentKey, SegmentNumber

Mode = Literal["score", "warm", "fresh"]
"""How segments were refreshed: by the old model, from its centers on, or by a new fit."""

EventKind = Literal["survived", "split", "merged", "emerged", "disappeared"]

Threshold = Annotated[float, Field(gt=0, le=1)]


class MatchThresholds(Record):
    """Shares of customers that decide whether segments are the same: keys of `[refresh]`."""

    match: Threshold = 0.5
    """A segment survives in another if they share at least this part of each of the two."""
    split: Threshold = 0.2
    """A segment that gets at least this part of another one, and consists of it by `match`, is a
    piece of it."""


class Parent(NamedTuple):
    """A segment of the older output, and its share of the customers of a new segment."""

    segment: int
    share: float


class Ancestry(Record):
    """One segment that exists or has existed."""

    segment: SegmentNumber
    """Number of the segment; no other segment ever gets it."""
    born: str
    """Identifier of the run in which it came into being."""
    parents: tuple[Parent, ...] = ()
    """Segments its customers were in before, the largest share first; none at the first run."""
    retired: str | None = None
    """Identifier of the run from which on it does not exist; null while it does."""


class Lineage(Record):
    """All segments that exist or have existed, of one level."""

    column: str
    """Column of the output: ``segment``, or that of a level of a hierarchy."""
    segments: tuple[Ancestry, ...]
    """By number."""
    next_segment: Annotated[int, Field(ge=0, lt=2**31)]
    """The number of the next new segment: it only rises."""


class OverlapCell(NamedTuple):
    """Rows that the old model has in `before`, and the new one in `now`.

    Of these rows `far` lie outside of the old segment: beyond the distance that about 1 in 1,000 of
    its rows exceeded at its fit. They do not count when segments are matched.
    """

    before: int
    now: int
    rows: int
    far: int


class SegmentEvent(Record):
    """What became of one segment, or of a few together."""

    kind: EventKind
    """survived, split, merged, emerged or disappeared."""
    before: tuple[SegmentNumber, ...]
    """Segments of the old model; none where one has emerged."""
    now: tuple[SegmentNumber, ...]
    """Segments of the new model; none where one has disappeared."""
    rows: Count
    """Rows that went this way."""
    sentence: str
    """The event in words."""


class Definition(Record):
    """How the definition of the segments moved: the same rows, the old and the new model."""

    column: str
    """Column of the output: ``segment``, or that of a level of a hierarchy."""
    overlap: tuple[OverlapCell, ...]
    """Cells with rows, by `before`, then `now`."""
    changed: Count
    """Rows whose segment is another one by the new model."""
    matched_by_centers: bool = False
    """Whether no row could be compared, so that segments were matched by their centers."""
    events: tuple[SegmentEvent, ...]
    """What became of the segments, in the order of their numbers."""


class MigrationCell(NamedTuple):
    """Customers that were in `before` and are in `now`; null is not in that output."""

    before: int | None
    now: int | None
    customers: int


class Migration(Record):
    """How customers moved: the older and the new output, joined by id."""

    column: str
    """Column of the output."""
    cells: tuple[MigrationCell, ...]
    """Cells with customers, by `before`, then `now`; null is last."""
    stayed: Count
    """Customers in the same segment in both outputs."""
    moved: Count
    """Customers in another segment than before."""
    came: Count
    """Customers that the older output does not have."""
    left: Count
    """Customers that the new output does not have."""
    repeated: Count = 0
    """Rows left out of both outputs: several rows of one have their id, or they have none."""


class HistoryEntry(Record):
    """One run in the life of the segments."""

    run_id: str
    """Identifier of the run."""
    started: str
    """Start of the run, ISO 8601, UTC."""
    mode: Mode | Literal["run", "append"]
    """``run`` for the first run."""
    from_run_id: str | None = None
    """Identifier of the run that it continues; absent where it continues none."""
    rows: Count
    """Rows of the output, noise included."""
    sizes: dict[SegmentKey, Count]
    """Rows by number of the segment; of many segments the largest ones."""
    names: dict[SegmentKey, str] = Field(default_factory=dict)
    """Names by number of the segment."""
    inertia: Number = None
    """Mean squared distance in scaled units."""
    feature_psi: Number = None
    """Largest PSI of a feature against the fit of the older model."""
    segment_psi: Number = None
    """PSI of the shares of the segments against the same."""
    changed: Number = None
    """Share of the rows whose segment is another one by the new definition."""
    moved: Number = None
    """Share of the customers of both outputs that moved."""


class Refresh(Record):
    """How an output continues an older one."""

    from_path: str
    """Path or URL of the older output."""
    from_run_id: str
    """Identifier of its run."""
    mode: Mode | Literal["append"]
    """How the segments were refreshed."""
    requested: Mode | Literal["auto", "append"]
    """What the job asks for."""
    reason: str
    """Why this mode."""
    preparation: Literal["keep", "fit"]
    """Whether the statistics of the preparation are those of the older model, or were fitted."""
    thresholds: MatchThresholds
    """What decides whether segments are the same."""
    definitions: tuple[Definition, ...]
    """By level, the finest first: `segment`, then the levels of a hierarchy."""
    migration: Migration | None
    """How customers moved; null where `no_migration` says why it is not known."""
    no_migration: str | None = None
    """Why it is not known."""
    changes: Annotated[int, Field(ge=0)] = 0
    """Rows of the files in ``_changes``."""
    previous_names: dict[SegmentKey, str] = Field(default_factory=dict)
    """Older names of surviving segments that now have another name, by number."""
