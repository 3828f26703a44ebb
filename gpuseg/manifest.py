"""The manifest of an output: a typed record of a run, its JSON form, and older formats of it.

Jobs build a `Manifest` and store it as ``_manifest.json``. The report, the tables and other readers
take the typed object. In JSON a field that has a default is left out where it has that value; all
other fields are always there. Values are JSON's own: a number that does not exist is null.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, NamedTuple, Protocol, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from gpuseg.drift_record import Drift
from gpuseg.errors import DataError
from gpuseg.merge_tree import is_tree
from gpuseg.output_kind import MAX_MANIFEST_BYTES, OutputKind, output_kind
from gpuseg.record import NOISE, Count, Number, Record, SegmentNumber
from gpuseg.refresh_record import HistoryEntry, Lineage, Refresh
from gpuseg.strict_json import parse_json

FORMAT = 2
"""Number of the JSON form; it rises when a key is renamed, moved or removed."""

MANIFEST = "_manifest.json"
"""Name of the file in the output folder."""

FIT_MANIFEST = "_fit_manifest.json"
"""Name of the manifest of the run that fitted the model, in an output of scored rows."""

NOT_DESCRIBED = -2
"""Number that stands for all segments that are not described, in maps and counts only."""

MAP_COLUMNS, MAP_LINES = 64, 40
"""Cells of the map of the segments, across and up."""

PURCHASES = "purchases"
"""Finding of the step that counts the transaction lines that became features."""


class Quantiles(NamedTuple):
    """Quantiles of a feature in the units of the input: 5 %, 25 %, 50 %, 75 % and 95 %."""

    p05: float
    p25: float
    median: float
    p75: float
    p95: float


class Interval(NamedTuple):
    """A 95 % confidence interval."""

    low: float
    high: float


class Bounds(NamedTuple):
    """The lower and the upper end of a range."""

    low: float
    high: float


class Ratio(NamedTuple):
    """A ratio of two shares with its 95 % confidence interval."""

    ratio: float
    low: float
    high: float


class Merge(NamedTuple):
    """One merge of a hierarchy, as a row of SciPy's linkage matrix.

    `first` and `second` are clusters: below k, how many segments there are, a segment, by its place
    among all segments in the order of their numbers; k + i is what merge i made. `height` is Ward's
    distance in scaled units; `size` counts the segments inside.
    """

    first: float
    second: float
    height: float
    size: float


class MapCell(NamedTuple):
    """A cell of the map: its column and line, its customers, and the largest segment in it.

    The segments that are not described count as one, with the number -2.
    """

    column: Annotated[int, Field(ge=0, lt=MAP_COLUMNS)]
    line: Annotated[int, Field(ge=0, lt=MAP_LINES)]
    customers: Annotated[int, Field(ge=1, lt=2**63)]
    segment: Annotated[int, Field(ge=NOT_DESCRIBED, lt=2**31)]


# Where the data came from.


class Fingerprint(Record):
    """Hashes of the input: a run on the same input has the same."""

    files: str
    """Hash of the files' names, sizes and footers."""
    content: str
    """Hash of the features and weights as read; it does not depend on how the rows are filed."""


class TextFiles(Record):
    """Text files that have one format, as it was found in them or named in the job."""

    files: int
    """Number of files."""
    first: str
    """Name of the first of them."""
    format: str
    """CSV or Excel."""
    encoding: str
    """Encoding; a workbook is always UTF-8."""
    delimiter: str | None
    """Sign between values; a blank stands for any number of blanks. Null for a workbook."""
    quote: str | None
    """Sign around values; empty if there is none. Null for a workbook."""
    sheet: str | None
    """Sheet of a workbook; null for CSV."""
    skipped_rows: int
    """Lines or rows above the header, or above the data."""
    skipped_footer: int
    """Rows at the end that were left out."""
    has_header: bool
    """Whether the names of the columns are in the file."""
    decimal: str
    """Decimal sign of numbers in text."""
    thousands: str | None
    """Sign between thousands; null if there is none."""


class Input(Record):
    """The rows that were read."""

    path: str
    """Path or URL, as the job names it."""
    files: int
    """Number of Parquet files."""
    row_groups: int
    """Number of Parquet row groups."""
    rows: int
    """Rows that were clustered; a row is a customer."""
    rows_dropped: int
    """Rows that were left out because a feature is missing or the id is repeated."""
    weight: str | None
    """Column of the weights; null where every row counts once."""
    fingerprint: Fingerprint
    """Hashes of the input."""
    text_files: tuple[TextFiles, ...] = ()
    """The files that are no Parquet files, by their format."""


class QualityStep(Record):
    """One finding in the transaction lines and the action taken."""

    finding: str
    """Description of the finding."""
    action: str
    """Action taken on these lines."""
    lines: int
    """Number of lines."""
    customers: int | None
    """Customers left out because of it; for purchases the customers that have features."""

    @property
    def is_purchases(self) -> bool:
        """Whether this step counts the lines that became features, and not a fault."""
        return self.finding == PURCHASES


class LineQuality(Record):
    """The quality of the transaction lines."""

    lines: int
    """Lines that were read."""
    customers: int
    """Customers with at least one purchase; they have features."""
    steps: tuple[QualityStep, ...]
    """Findings and actions, in the order in which lines are checked."""


class JoinSummary(Record):
    """One table of customer attributes that was joined to the features."""

    path: str
    """Path or URL of the table."""
    columns: tuple[str, ...]
    """Columns that were joined."""
    rows: int
    """Rows of the table."""
    rows_without_id: int
    """Rows without an id."""
    rows_of_no_customer: int
    """Rows with an id that no customer with a purchase before the snapshot has."""
    customers: int
    """Customers with a row in the table."""
    customers_without: int
    """Customers without a row in the table."""
    text_files: tuple[TextFiles, ...] = ()
    """The files that are no Parquet files, by their format."""


class RfmBorders(Record):
    """The quantiles at 20, 40, 60 and 80 % that separate the scores from 1 to 5."""

    recency_days: tuple[float, ...]
    """Of the days since the last purchase; the score of recency falls with them."""
    orders: tuple[float, ...]
    """Of the number of orders."""
    spend: tuple[float, ...]
    """Of the spend."""


class Period(NamedTuple):
    """The first and the last day, ISO 8601."""

    first: str
    last: str


class Transactions(Record):
    """The transaction lines that the features were built from."""

    path: str
    """Path or URL of the lines."""
    files: int
    """Number of files."""
    fingerprint: str
    """Hash of the files' names and sizes."""
    snapshot: str
    """Moment for which the features hold, ISO 8601, local time."""
    distinct_counts: str
    """How distinct values were counted."""
    quality: LineQuality
    """Findings in the lines."""
    joins: tuple[JoinSummary, ...]
    """Tables that were joined."""
    rfm: RfmBorders | None = None
    """Quintile borders of the RFM scores, if the job builds them."""
    period: Period | None = None
    """Days of the first and the last line with a customer; absent where ids are hashed."""
    text_files: tuple[TextFiles, ...] = ()
    """The files that are no Parquet files, by their format."""


# How the run was computed.


class BackendSummary(Record):
    """The implementation of the numeric primitives."""

    name: str
    """"numpy", "numba" or "cuda"."""
    reason: str
    """Why this backend was used."""


class ReaderSummary(Record):
    """The library that decoded the Parquet files."""

    name: str
    """"arrow" or "cudf"."""
    reason: str
    """Why this reader was used."""
    by_arrow: dict[str, str] = Field(default_factory=dict)
    """Columns that Arrow decoded although cuDF was the reader, each with the reason."""


class RowStorage(Record):
    """How the workers held the rows."""

    mode: str
    """"resident" (in memory), "spilled" (decoded once, onto the scratch disk of the worker) or
    "streamed" (decoded again in every pass)."""
    reason: str
    """Why, with the memory or disk space needed and the limit."""


class ExecutorSummary(Record):
    """The processes that computed the result."""

    cluster: str
    """The cluster, as the job names it."""
    n_workers: int
    """Workers with rows."""
    threads_per_worker: int
    """Threads of each worker."""
    recovered_shards: int
    """How often a shard was built again because its worker was lost."""
    machines: tuple[str, ...]
    """Processor architectures."""
    row_storage: RowStorage | None = None
    """How the workers held the rows."""


class SelectionRow(Record):
    """Quality of the segmentation into one number of clusters."""

    n_clusters: int
    """Number of clusters."""
    inertia: float
    """Sum of squared distances to the centers, in squared scaled units."""
    silhouette: float
    """Silhouette of a sample of the customers, from -1 to 1."""
    silhouette_error: float
    """Half width of the 95 % confidence interval of `silhouette`."""
    simplified_silhouette: float
    """Silhouette of all customers, computed from the centers, from -1 to 1."""
    calinski_harabasz: Number
    """Calinski-Harabasz index; null where it is not finite."""
    davies_bouldin: Number
    """Davies-Bouldin index; null where it is not finite."""
    smallest_share: float
    """Share of the customers in the smallest cluster, from 0 to 1."""
    ambiguous_share: float
    """Share of the customers that are almost as close to a second center, from 0 to 1."""
    stability: Number
    """Adjusted Rand index of two halves of a sample, at most 1; null where not measured."""


class Selection(Record):
    """How the number of clusters was selected."""

    well_separated: bool
    """Whether the segments are well separated; otherwise their boundaries are arbitrary."""
    reason: str
    """Why this number of clusters was selected."""
    elbow: int | None = None
    """Number of clusters where the curve of the inertia bends most; no rule uses it."""
    table: tuple[SelectionRow, ...]
    """Quality of each number of clusters, in rising order."""


class AlgorithmResult(Record):
    """The outcome of the algorithm, as its plug-in reports it.

    The fields are those that the report shows in a way of their own; all but the first three are
    optional. A plug-in adds any other facts under names of its own (`facts`); the report lists them
    by name and value.
    """

    model_config = ConfigDict(extra="allow")

    algorithm: str
    """Name of the algorithm, as the job has it."""
    title: str
    """Name of the algorithm for readers of the report."""
    n_clusters: int
    """Number of segments, without noise."""
    n_iter: int | None = None
    """Iterations of an iterative algorithm."""
    converged: bool | None = None
    """Whether an iterative algorithm converged."""
    selection: Selection | None = None
    """How the number of clusters was selected, where it was."""
    levels: tuple[int, ...] | None = None
    """Numbers of segments at which a hierarchy is cut, in rising order."""
    merges: tuple[Merge, ...] | None = None
    """Merges of a hierarchy above the finest level, by rising height."""

    @field_validator("merges")
    @classmethod
    def _are_a_tree(cls, merges: tuple[Merge, ...] | None) -> tuple[Merge, ...] | None:
        if any(merge.height < 0 for merge in merges or ()):
            raise ValueError("must have heights from 0 on")
        if not is_tree([(merge.first, merge.second) for merge in merges or ()]):
            raise ValueError("must join segments and what earlier merges have made, each once")
        return merges

    @property
    def facts(self) -> dict[str, Any]:
        """The facts that only this algorithm reports, by name."""
        return dict(self.model_extra or {})


class SweepRow(Record):
    """One number of clusters of a sweep."""

    n_clusters: int
    """Number of clusters."""
    inertia: float
    """Sum of squared distances to the centers, in squared scaled units."""
    n_iter: int
    """Iterations."""
    converged: bool
    """Whether the fit converged."""
    smallest: int
    """Rows in the smallest cluster."""
    thread_seconds: float
    """Computing time, in seconds of one thread."""


# What was done to the features.


class FeatureSummary(Record):
    """One feature: its statistics over all customers and how it was prepared."""

    mean: float
    """Mean on the transformed scale, mapped back to the units of the input."""
    std: float
    """Standard deviation on the transformed scale."""
    min: float
    """Minimum, in the units of the input."""
    max: float
    """Maximum, in the units of the input."""
    missing: int
    """Rows in which the feature is missing."""
    outliers: float | None = None
    """Share of the values beyond three interquartile ranges from the quartiles, from 0 to 1."""
    fill: float | None
    """Value that replaces a missing one, in the units of the input; null where there is none."""
    clip: Bounds | None = None
    """Bounds to which values are clipped, in the units of the input."""
    transform: str
    """"none", "log1p" or "yeo-johnson"."""
    power: float | None = None
    """Exponent of the Yeo-Johnson transform."""
    shift: float
    """Subtracted on the transformed scale."""
    scale: float
    """Divisor on the transformed scale, after the shift."""
    category: str | None = None
    """Phrase for a customer of the category, where the feature is 1 for it and 0 for others."""
    is_frequency: bool = False
    """Whether the feature is the share of rows that have the same category."""
    categories: tuple[str, ...] = ()
    """Categories in their order, where the feature is the position of one, from 0."""

    @property
    def is_category(self) -> bool:
        """Whether the feature is 1 for customers of a category and 0 for others."""
        return self.category is not None


class EncodedColumn(Record):
    """One column that was encoded as features."""

    column: str
    """Column of the input."""
    encoding: str
    """"vector", "onehot", "frequency", "ordinal" or "is missing"."""
    features: tuple[str, ...]
    """Features made from the column."""
    categories: int
    """Categories with a code of their own."""


class PrincipalComponents(Record):
    """The principal components that were clustered in place of the features."""

    n_components: int
    """Number of components."""
    variance_kept: float
    """Share of the variance that the components keep, from 0 to 1."""
    explained_variance_ratio: tuple[float, ...]
    """Share of the variance of each component, from 0 to 1."""


class Preparation(Record):
    """How the features were prepared, beyond what `FeatureSummary` says of each."""

    missing: str
    """What was done with missing values."""
    clip_quantiles: Bounds | None
    """Quantiles at which values were clipped, from 0 to 1; null where they were not."""
    scale: str
    """How features were scaled."""
    encoded: tuple[EncodedColumn, ...]
    """Columns that were encoded."""
    dropped: dict[str, str]
    """Features that were left out, each with the reason."""
    redundant: tuple[str, ...]
    """Notes on features that are near-constant or correlated."""
    pca: PrincipalComponents | None
    """Principal components, where they were used."""


# What the segments are.


class SurrogateRules(Record):
    """A decision tree that imitates the segmentation."""

    fidelity: float
    """Share of the customers in the sample that get their segment from the tree, from 0 to 1."""
    fidelity_error: float
    """Half width of the 95 % confidence interval of `fidelity`."""
    sample: str
    """The customers that the tree was grown on."""
    sql: str
    """SQL expression of the segment over the columns of the input or the built features."""


class SegmentMap(Record):
    """Customers in the plane of the first two principal components, counted in a grid of cells."""

    explained_variance_ratio: tuple[float, float]
    """Share of the variance along each axis, from 0 to 1."""
    axes: tuple[tuple[str, ...], tuple[str, ...]]
    """Features that correlate most with each axis, with + or - before the name."""
    cells: tuple[MapCell, ...]
    """Cells with customers."""
    centers: dict[str, tuple[float, float]]
    """Mean of each segment, in cells from the lower left corner."""


class ProfileSummary(Record):
    """What is known of all customers together."""

    sample: str
    """The customers that quantiles, rules and map are based on."""
    quantiles: dict[str, Quantiles]
    """Quantiles of each feature."""
    rules: SurrogateRules | None
    """Rules for all segments; null where no tree could be grown."""
    map: SegmentMap | None
    """Map of the segments; null for fewer than two dimensions."""


class RuleQuality(Record):
    """A rule for one segment in words, and how well it fits."""

    text: str
    """The rule in words."""
    precision: float
    """Share of the customers that match the rule who are in the segment, from 0 to 1."""
    coverage: float
    """Share of the segment that matches the rule, from 0 to 1."""


class SegmentRule(RuleQuality):
    """The rule for one segment."""

    sql: str
    """The rule as an SQL condition over the columns of the input or the built features."""
    main: RuleQuality
    """The condition that most customers match."""


class AssociationRule(Record):
    """Orders with some products often have another one too."""

    antecedents: tuple[str, ...]
    """Products in the order."""
    consequents: tuple[str, ...]
    """The product that is often there too."""
    support: float
    """Share of the orders with all these products, from 0 to 1."""
    confidence: float
    """Share of the orders with the antecedents that have the consequents, from 0 to 1."""
    lift: float
    """`confidence` divided by the share of all orders with the consequents."""


class BasketSummary(Record):
    """What the customers of a segment buy together."""

    n_baskets: int
    """Orders of a sample of the segment's customers."""
    rules: tuple[AssociationRule, ...]
    """Rules of the highest lift."""


class Segment(Record):
    """One segment."""

    segment: SegmentNumber
    """Number of the segment in the output; -1 is noise."""
    size: Count
    """Customers."""
    share: float
    """Share of all customers, from 0 to 1."""
    center: dict[str, Number]
    """Center by feature, in the units of the input; null where there is none."""
    deviation: dict[str, Number]
    """Center minus the mean of all customers by feature, in standard deviations."""
    name: str | None = None
    """Unique name in words; absent with weights or the cosine metric."""
    sentence: str | None = None
    """The averages of the segment next to those of all customers; absent as `name` is."""
    quantiles: dict[str, Quantiles] = Field(default_factory=dict)
    """Quantiles of each feature."""
    deviation_interval: dict[str, Interval] = Field(default_factory=dict)
    """95 % confidence interval of `deviation`; absent as `name` is."""
    rule: SegmentRule | None
    """Rule that describes the segment; null where no short one exists."""
    baskets: BasketSummary | None = None
    """Products bought together, where the job has transactions with products."""

    @property
    def is_noise(self) -> bool:
        """Whether these are the customers that belong to no segment."""
        return self.segment == NOISE


class OtherSegments(Record):
    """The segments that are counted and not described: all but the largest."""

    segments: Annotated[int, Field(ge=1, lt=2**31)]
    """Number of these segments."""
    customers: Count
    """Customers in all of them."""
    share: float
    """Share of all customers, from 0 to 1."""
    smallest: Count
    """Customers of the smallest of them."""
    largest: Count
    """Customers of the largest of them."""
    sizes: Quantiles
    """Quantiles of their customers."""


class DescriptionFailure(Record):
    """A part of the description that could not be made; the labels do not depend on it."""

    part: str
    """"profiles", "examples", "report" or "plots"."""
    error: str
    """Type of the error."""
    reason: str
    """Message of the error."""


class AuditedSegment(Record):
    """One segment in an audited column."""

    counts: tuple[Count | None, ...]
    """Customers of each group; null where the count is hidden."""
    ratios: tuple[Ratio | None, ...]
    """Share of each group divided by its share of all customers; null where one is hidden."""


class Audit(Record):
    """How the groups of one column are spread over the segments."""

    groups: tuple[str, ...]
    """Names of the groups."""
    everyone: tuple[Count | None, ...]
    """Customers of each group; null where the count is hidden."""
    segments: dict[str, AuditedSegment]
    """Counts by segment."""
    others: AuditedSegment | None = None
    """Counts of all segments together that are not in `segments`, where there are some."""
    cramers_v: Number
    """Cramér's V of segments and groups, from 0 to 1; null where too much is hidden."""
    is_lower_bound: bool
    """Whether the true Cramér's V may be larger, because counts are hidden."""
    n_hidden: int
    """Number of hidden counts."""
    threshold: int
    """Counts below this number are hidden."""

    @model_validator(mode="after")
    def _one_value_for_each_group(self) -> Self:
        parts = [*self.segments.values(), *([] if self.others is None else [self.others])]
        rows = [row for part in parts for row in (part.counts, part.ratios)]
        if any(len(row) != len(self.groups) for row in (self.everyone, *rows)):
            raise ValueError("must have a value for each group")
        return self


class PartSummary(Record):
    """One file of the output."""

    name: str = Field(pattern=r"^[A-Za-z0-9_][^/\\]*$")
    """Name in the output folder; it names no file elsewhere."""
    rows: int
    """Number of rows."""
    bytes: int
    """Size in bytes."""


class Sidecar(Record):
    """Parquet files in the output that are not parts of it, and do not end in ``.parquet``."""

    path: str
    """Pattern of their paths below the output folder."""
    contents: str
    """Meaning of their rows."""


class FeatureDefinition(Record):
    """One feature that was built from transactions."""

    name: str
    """Name of the column."""
    unit: str
    """Unit of the values."""
    meaning: str
    """Definition in words."""
    needs: str | None
    """Role of a column of the lines without which the feature does not exist."""
    whole: bool
    """Whether values are whole numbers."""
    always: bool
    """Whether every customer has a value."""
    clustered: bool
    """Whether jobs cluster by the feature by default."""


class FeaturesManifest(Record):
    """The manifest of features that were built from transactions and not clustered."""

    format: int = FORMAT
    """Number of this format."""
    gpuseg: str
    """Version of gpuseg."""
    run_id: str
    """Identifier of the run."""
    started: str
    """Start of the run, ISO 8601, UTC."""
    job: dict[str, Any]
    """The job with all defaults filled in, without secrets."""
    transactions: Transactions
    """The transaction lines."""
    features: tuple[FeatureDefinition, ...]
    """Features in the order of the columns."""
    versions: dict[str, str]
    """Versions of the libraries that a result depends on."""
    seconds: dict[str, float]
    """Seconds of each stage up to publishing, and of all together ("total")."""
    parts: tuple[PartSummary, ...]
    """Files of the output, in the order of the rows."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: dicts, lists, strings, numbers, booleans and None."""
        return {"format": self.format, **super().to_json()}


class ScoredModel(Record):
    """The model that scored the rows."""

    path: str
    """Path or URL of the model, as the command names it."""
    run_id: str | None
    """Identifier of the run that fitted the model; null where that is not known."""
    algorithm: str
    """Name of the algorithm, as jobs have it."""
    n_clusters: int
    """Number of segments, without noise."""


class ScoredInput(Record):
    """The rows that were read to be scored."""

    path: str
    """Path or URL, as the command names it."""
    files: int
    """Number of Parquet files."""
    row_groups: int
    """Number of Parquet row groups."""
    rows: int
    """Rows that have a segment; a row is a customer."""
    rows_dropped: int
    """Rows that were left out because a feature is missing, as at the fit."""
    fingerprint: str
    """Hash of the files' names, sizes and footers."""
    text_files: tuple[TextFiles, ...] = ()
    """The files that are no Parquet files, by their format."""


class ScoredSegment(Record):
    """One segment among the rows that were scored."""

    segment: SegmentNumber
    """Number of the segment in the output; -1 is noise."""
    name: str | None = None
    """Name of the segment, as the fit has it; absent where it has none."""
    rows: Count
    """Rows in the segment."""
    share: float
    """Share of all rows that were scored, from 0 to 1."""
    fit_share: float | None
    """Share of all customers at the fit, from 0 to 1; null where that is not known."""
    mean_distance: Number
    """Mean of the distances of its rows; null where it has none, or where one is infinite."""


class UnseenCategories(Record):
    """Categories of a column that were not in the data of the fit."""

    column: str
    """Column of the input."""
    rows: Count
    """Rows with such a category."""
    example: str
    """The first of these categories, shortened."""
    place: str
    """File and row of the example."""


class LookalikeSummary(Record):
    """The rows nearest to a segment, which are the rows of the output."""

    segment: SegmentNumber
    """Number of the segment."""
    column: str
    """Column of the output whose number it is: ``segment``, or that of a coarser level."""
    name: str | None = None
    """Name of the segment, as the fit has it; absent where it has none."""
    requested: Count
    """How many rows the command asks for."""
    rows: Count
    """Rows of the output; fewer where the table does not have so many."""
    excludes_members: bool
    """Whether rows that are in the segment are left out."""
    farthest: Number
    """Distance of the last row from the segment, in scaled units; null without rows."""


class ScoresManifest(Record):
    """The manifest of rows that a model has scored."""

    format: int = FORMAT
    """Number of this format."""
    gpuseg: str
    """Version of gpuseg."""
    run_id: str
    """Identifier of the run that scored the rows."""
    started: str
    """Start of the run, ISO 8601, UTC."""
    job: dict[str, Any]
    """The sections of the command with all defaults filled in, without secrets."""
    scored_with: ScoredModel
    """The model; the folder ``_model`` has a copy of it."""
    transactions: Transactions | None = None
    """The transaction lines, where the features were built from some."""
    input: ScoredInput
    """The rows that were read."""
    lookalikes: LookalikeSummary | None = None
    """The rows of the output, where they are only those nearest to a segment."""
    backend: BackendSummary
    """The implementation of the numeric primitives."""
    devices: tuple[str, ...]
    """Processors that computed the result."""
    executor: ExecutorSummary
    """Processes that computed the result."""
    versions: dict[str, str]
    """Versions of Python and of the libraries that a result depends on."""
    seconds: dict[str, float]
    """Seconds of each stage up to publishing, and of all together ("total")."""
    segments: tuple[ScoredSegment, ...]
    """Segments by number; noise is last. Of many segments these are the largest."""
    other_segments: OtherSegments | None = None
    """The segments that are not in `segments`, where there are some."""
    missing: dict[str, Count]
    """Rows without a value by column, for the columns that have gaps."""
    clipped: dict[str, Count]
    """Values that were clipped by feature, for the features that have some."""
    unseen: tuple[UnseenCategories, ...]
    """Columns with categories that were not in the data of the fit."""
    failures: tuple[DescriptionFailure, ...] = ()
    """Parts of the description that could not be made."""
    parts: tuple[PartSummary, ...]
    """Files of the output, in the order of the rows."""
    sidecars: tuple[Sidecar, ...] = ()
    """Parquet files that are not parts."""
    lineage: tuple[Lineage, ...] = ()
    """All segments that exist or have existed, by level; absent in outputs of older versions."""
    drift: Drift | None = None
    """How far the rows differ from those of the fit of the older model, or of the scoring one."""
    refresh: Refresh | None = None
    """How the output continues an older one, where it does."""
    history: tuple[HistoryEntry, ...] = ()
    """The runs before this one, the oldest first."""
    warnings: tuple[str, ...]
    """Warnings of the run, as it printed them."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: dicts, lists, strings, numbers, booleans and None."""
        return {"format": self.format, **super().to_json()}


class Manifest(Record):
    """The manifest of a run."""

    format: int = FORMAT
    """Number of this format."""
    gpuseg: str
    """Version of gpuseg."""
    run_id: str
    """Identifier of the run."""
    started: str
    """Start of the run, ISO 8601, UTC."""
    job: dict[str, Any]
    """The job with all defaults filled in, without secrets."""
    transactions: Transactions | None = None
    """The transaction lines, where the features were built from some."""
    input: Input
    """The rows that were clustered."""
    backend: BackendSummary
    """The implementation of the numeric primitives."""
    reader: ReaderSummary | None = None
    """The library that decoded the Parquet files."""
    devices: tuple[str, ...]
    """Processors that computed the result."""
    executor: ExecutorSummary
    """Processes that computed the result."""
    versions: dict[str, str]
    """Versions of Python and of the libraries that a result depends on."""
    result: AlgorithmResult
    """Outcome of the algorithm."""
    sweep: tuple[SweepRow, ...]
    """A row for each number of clusters, where there were several."""
    seconds: dict[str, float]
    """Seconds of each stage up to publishing, and of all together ("total")."""
    features: dict[str, FeatureSummary]
    """Features in their order; of many features those in which the segments differ most."""
    other_features: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Number of the features that are not in `features`."""
    preparation: Preparation
    """How the features were prepared."""
    profile: ProfileSummary | None = None
    """What is known of all customers together."""
    audit: dict[str, Audit] = Field(default_factory=dict)
    """Audited columns."""
    segments: tuple[Segment, ...]
    """Segments by number; noise is last. Of many segments these are the largest."""
    other_segments: OtherSegments | None = None
    """The segments that are not in `segments`, where there are some."""
    failures: tuple[DescriptionFailure, ...] = ()
    """Parts of the description that could not be made."""
    parts: tuple[PartSummary, ...]
    """Files of the output, in the order of the rows."""
    sidecars: tuple[Sidecar, ...] = ()
    """Parquet files that are not parts."""
    lineage: tuple[Lineage, ...] = ()
    """All segments that exist or have existed, by level; absent in outputs of older versions."""
    drift: Drift | None = None
    """How far the rows differ from those of the fit of the older model, or of the scoring one."""
    refresh: Refresh | None = None
    """How the output continues an older one, where it does."""
    history: tuple[HistoryEntry, ...] = ()
    """The runs before this one, the oldest first."""
    warnings: tuple[str, ...]
    """Warnings of the run, as it printed them."""

    @model_validator(mode="after")
    def _segments_agree(self) -> Self:
        """Refuse parts that speak of segments that do not exist."""
        numbers = {segment.segment for segment in self.segments}
        if len(numbers) != len(self.segments):
            raise ValueError("segments: must have a number each")
        plane = self.profile.map if self.profile else None
        named = {
            *(plane.centers if plane else ()),
            *(n for a in self.audit.values() for n in a.segments),
        }
        if not named <= {str(number) for number in numbers}:
            raise ValueError("profile.map and audit: must be of the segments")
        if self.result.merges is None:
            return self
        k = len(numbers) + (self.other_segments.segments if self.other_segments else 0)
        if len(self.result.merges) != k - 1 or NOISE in numbers:
            raise ValueError("result.merges: must join all segments")
        if not all(1 <= level <= k for level in self.result.levels or ()):
            raise ValueError(f"result.levels: must be from 1 to {k}")
        return self

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Build a manifest from its JSON form, in this format or an older one.

        Raises
        ------
        DataError
            For a format that is not known, and for content that does not follow the schema.
        """
        return super().from_json(migrate(content))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: dicts, lists, strings, numbers, booleans and None."""
        return {"format": self.format, **super().to_json()}

    @property
    def n_customers(self) -> int:
        """Customers in all segments, noise included."""
        others = 0 if self.other_segments is None else self.other_segments.customers
        return sum(segment.size for segment in self.segments) + others

    @property
    def n_segments(self) -> int:
        """Number of segments, without noise."""
        others = 0 if self.other_segments is None else self.other_segments.segments
        return sum(not segment.is_noise for segment in self.segments) + others

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.features) + self.other_features

    @property
    def ordered_segments(self) -> list[Segment]:
        """Segments for reading: largest first, noise last."""
        return sorted(self.segments, key=lambda s: (s.is_noise, -s.size, s.segment))


# Files.


class Location(Protocol):
    """A folder in a file system; `gpuseg.io.storage.Storage` is one."""

    @property
    def url(self) -> str:
        """Path or URL, as the user wrote it."""

    @property
    def fs(self) -> Any:
        """The fsspec file system."""

    @property
    def root(self) -> str:
        """Path of the folder in `fs`."""


def dump(manifest: Manifest | FeaturesManifest | ScoresManifest) -> bytes:
    """Return the content of the manifest's file."""
    text = json.dumps(manifest.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
    # A surrogate, as of a file name that is not UTF-8, becomes the escape sequence that JSON has.
    return f"{text}\n".encode(errors="backslashreplace")


def read_manifest(folder: Location) -> Manifest:
    """Read the manifest of an output folder.

    Raises
    ------
    DataError
        Where there is none, and where it cannot be understood.
    """
    with _naming(folder):
        return Manifest.from_json(_content(folder))


def read_fit_manifest(folder: Location) -> Manifest | None:
    """Read the manifest of the run that fitted the model of an output.

    Returns
    -------
    Manifest or None
        None for rows that were scored by a model without the manifest of its run.

    Raises
    ------
    DataError
        Where the output has no manifest, or one that cannot be understood.
    """
    manifest = read_any_manifest(folder)
    if isinstance(manifest, Manifest):
        return manifest
    if not folder.fs.exists(f"{folder.root}/{FIT_MANIFEST}"):
        return None
    with _naming(folder):
        return Manifest.from_json(_content(folder, FIT_MANIFEST))


def read_features_manifest(folder: Location) -> FeaturesManifest:
    """Read the manifest of features that were built and not clustered.

    Raises
    ------
    DataError
        Where there is none, and where it cannot be understood.
    """
    with _naming(folder):
        return FeaturesManifest.from_json(_content(folder))


def read_any_manifest(folder: Location) -> Manifest | ScoresManifest:
    """Read the manifest of a run, or of rows that a model has scored.

    Raises
    ------
    DataError
        Where there is none, and where it cannot be understood.
    """
    with _naming(folder):
        content = _content(folder)
        is_object = isinstance(content, Mapping)
        if is_object and output_kind(content) is OutputKind.SCORES:
            if content.get("format") != FORMAT:
                raise _unknown_format(content.get("format"))
            return ScoresManifest.from_json(content)
        return Manifest.from_json(content)


@contextmanager
def _naming(folder: Location) -> Iterator[None]:
    """Name the folder in the errors raised inside."""
    try:
        yield
    except DataError as error:
        error.problem = f"{folder.url}: {error.problem}"
        raise


def _content(folder: Location, name: str = MANIFEST) -> Any:
    """Return what the file of a manifest holds; it is not checked.

    Raises
    ------
    DataError
    """
    try:
        content = read_content(folder, name)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            "manifest.missing", f"has no {name}", hint="give the output folder of a run"
        ) from None
    try:
        return parse_json(content, allow_surrogates=True)
    except ValueError as error:
        raise DataError(
            "manifest.not_json", f"its {name} is damaged ({error})", hint="run the job again"
        ) from None


def read_content(folder: Location, name: str = MANIFEST) -> bytes:
    """Return the bytes of the file of a manifest, whoever has written it.

    Raises
    ------
    DataError
        For what is no regular file, and for a file that is larger than any manifest.
    OSError
    """
    path = f"{folder.root}/{name}"
    info = folder.fs.info(path)
    if info["type"] != "file":  # reading a FIFO or a device may have no end
        raise DataError(
            "manifest.not_a_file",
            f"its {name} is not a regular file",
            hint="give the output folder of a run",
        )
    if (info.get("size") or 0) > MAX_MANIFEST_BYTES:  # some servers do not tell it
        raise DataError(
            "manifest.too_large",
            f"its {name} has {info['size']:,} bytes",
            rule=f"a manifest has at most {MAX_MANIFEST_BYTES:,}",
            hint="give the output folder of a run",
        )
    return bytes(folder.fs.cat_file(path))


# Older formats.


def migrate(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON form of a manifest in the current format.

    Raises
    ------
    DataError
        For content that is no manifest of a run, or of a format that is not known.
    """
    number = content.get("format") if isinstance(content, Mapping) else None
    if number in (1, FORMAT) and output_kind(content) is OutputKind.FEATURES:
        raise DataError(
            "manifest.of_features",
            "the manifest is of features that were not clustered: it has no segments",
            hint="give the output folder of gpuseg run, not of gpuseg features",
        )
    if number == FORMAT and output_kind(content) is OutputKind.SCORES:
        raise DataError(
            "manifest.of_scores",
            "the manifest is of customers that a model has scored: nothing was fitted to them",
            hint="give the output folder of gpuseg run, not of gpuseg score",
        )
    if isinstance(content, Mapping) and output_kind(content) is OutputKind.AUDIENCE:
        raise DataError(
            "manifest.of_audience",
            "the manifest is of audience files: it has no segments",
            hint="give the output folder of gpuseg run, not of gpuseg audience",
        )
    if number == FORMAT:
        return dict(content)
    if number == 1:
        try:
            return _from_format_1(copy.deepcopy(dict(content)))
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                "manifest.invalid",
                f"the manifest of format 1 cannot be converted ({error!r})",
                hint="run the job again",
            ) from None
    raise _unknown_format(number)


def _unknown_format(number: Any) -> DataError:
    return DataError(
        "manifest.unknown_format",
        "the format of the manifest is not known",
        value=number,
        rule=f"must be 1 or {FORMAT}",
        hint="read it with the version of gpuseg that wrote it, or a newer one",
    )


_TITLES = {
    "kmeans": "k-means",
    "dbscan": "DBSCAN",
    "hierarchical": "Ward's hierarchy of small k-means segments",
}

_RESULT_KEYS = {
    "eps_why": "eps_reason",
    "eps_choices": "eps_candidates",
    "pairs": "distances",
    "forecast": "cost_estimate",
    "choice": "selection",
    "pairs_a_shard": "distances_per_shard",
    "work_a_shard": "seconds_per_shard",
    "rows_a_shard": "rows_per_shard",
    "most_rows_a_shard": "peak_rows_per_shard",
}


def _rename(part: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the part with other keys, in the same order."""
    return {names.get(key, key): value for key, value in part.items()}


def _from_format_1(old: dict[str, Any]) -> dict[str, Any]:
    new = _rename(old, {"portrait": "profile"}) | {"format": FORMAT}
    why = {"why": "reason"}
    for part in ("backend", "reader"):
        if part in new:
            new[part] = _rename(new[part], why)
    if "transactions" in new:
        quality = new["transactions"]["quality"]
        names = {"what": "finding", "done": "action"}
        quality["steps"] = [_rename(step, names) for step in quality["steps"]]
    new["input"]["weight"] = new["job"].get("input", {}).get("weight")
    new["executor"] = _executor_of_1(new["executor"])
    new["result"] = _result_of_1(new["result"])
    new["features"] = {
        name: _rename(feature, {"of_category": "category"})
        for name, feature in new["features"].items()
    }
    new["preparation"] = _preparation_of_1(new.get("preparation", {}), new["job"]["prepare"])
    if "profile" in new:
        new["profile"] = _profile_of_1(new["profile"])
    for audit in new.get("audit", {}).values():
        audit["is_lower_bound"], audit["n_hidden"] = audit.pop("at_least"), audit.pop("hidden")
    new["segments"] = [_segment_of_1(segment) for segment in new["segments"]]
    new.setdefault("sweep", [])
    return new


def _executor_of_1(old: dict[str, Any]) -> dict[str, Any]:
    new = _rename(old, {"moved_shards": "recovered_shards"})
    if "rows_are" in new:
        new["row_storage"] = {"mode": new.pop("rows_are"), "reason": new.pop("why")}
    return {"recovered_shards": 0, "machines": [], **new}


def _result_of_1(old: dict[str, Any]) -> dict[str, Any]:
    new = _rename(old, _RESULT_KEYS)
    pairs = {"pairs": "distances"}
    if "cost_estimate" in new:
        new["cost_estimate"] = _rename(new["cost_estimate"], pairs)
        new["eps_candidates"] = [_rename(row, pairs) for row in new["eps_candidates"]]
    if "selection" in new:
        selection = _rename(new["selection"], {"clear": "well_separated", "why": "reason"})
        share = {"doubtful_share": "ambiguous_share"}
        selection["table"] = [_rename(row, share) for row in selection["table"]]
        new["selection"] = selection
    algorithm = new.pop("algorithm")
    return {"algorithm": algorithm, "title": _TITLES.get(algorithm, algorithm), **new}


def _preparation_of_1(old: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    pca = old.get("pca")
    names = {"components": "n_components", "shares": "explained_variance_ratio"}
    return {
        "missing": job["missing"],
        "clip_quantiles": job.get("clip"),
        "scale": job["scale"],
        "encoded": [_rename(column, {"as": "encoding"}) for column in old.get("encoded", [])],
        "dropped": old.get("dropped", {}),
        "redundant": old.get("redundant", []),
        "pca": _rename(pca, names) if pca else None,
    }


def _profile_of_1(old: dict[str, Any]) -> dict[str, Any]:
    rules, plane = old["rules"], old["map"]
    return old | {
        "rules": _rename(rules, {"of": "sample"}) if rules else None,
        "map": _rename(plane, {"share": "explained_variance_ratio"}) if plane else None,
    }


def _segment_of_1(old: dict[str, Any]) -> dict[str, Any]:
    new = _rename(old, {"interval": "deviation_interval", "together": "baskets"})
    new.setdefault("rule", None)
    if "baskets" in new:
        baskets = _rename(new["baskets"], {"baskets": "n_baskets"})
        names = {"of": "antecedents", "also": "consequents"}
        baskets["rules"] = [_rename(rule, names) for rule in baskets["rules"]]
        new["baskets"] = baskets
    return new
