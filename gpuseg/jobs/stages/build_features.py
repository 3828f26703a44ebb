"""Build the features of customers from transaction lines; they become the input of the run."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from gpuseg import __version__
from gpuseg.errors import DataError
from gpuseg.features.build import Features
from gpuseg.features.build import build_features as build_from_lines
from gpuseg.features.definitions import CUSTOMER_ID, FEATURES, RFM, RFM_TEXTS
from gpuseg.features.join_matches import warning_of_few_matches
from gpuseg.features.rfm import Borders
from gpuseg.features.transaction_files import Source
from gpuseg.formatting import count
from gpuseg.io.storage import Storage
from gpuseg.jobs.context import OpenRun, RunContext
from gpuseg.jobs.environment import versions
from gpuseg.jobs.id_warnings import warning_of_personal_customers
from gpuseg.jobs.plan import InputTable, LinesPlan
from gpuseg.jobs.run_facts import rounded_seconds
from gpuseg.jobs.text_inputs import summaries_of
from gpuseg.manifest import (
    FeatureDefinition,
    FeaturesManifest,
    JoinSummary,
    LineQuality,
    PartSummary,
    Period,
    RfmBorders,
    Transactions,
)

FOLDER = "_features"
"""The folder of the output with the features that are clustered."""


@dataclass(frozen=True)
class BuiltFeatures:
    """Features of customers, staged as Parquet files.

    Attributes
    ----------
    source : Source
        The lines that they were built from.
    features : Features
    table : InputTable
        The features that are clustered.
    record : Transactions
        The part of the manifest about the lines.
    """

    source: Source
    features: Features
    table: InputTable
    record: Transactions

    @property
    def part_names(self) -> list[str]:
        """Names of the files in the output."""
        return [name for name, *_ in self.features.parts]


def build_features(
    ctx: RunContext, lines: LinesPlan, borders: Borders | None = None
) -> BuiltFeatures:
    """Build the features in a folder of the output.

    Parameters
    ----------
    borders : mapping, optional
        The borders of RFM scores, if they were found before.

    Raises
    ------
    DataError, ResourceError
    """
    features = _build(ctx, lines, FOLDER, ctx.spec.builds_rfm, borders)
    storage = Storage(FOLDER, ctx.plan.resolved.target.fs, ctx.output.staging.path(FOLDER))
    carried = RFM_TEXTS if ctx.spec.builds_rfm else ()
    table = InputTable(
        storage, CUSTOMER_ID, tuple(_clustered(ctx, features)), carried=tuple(carried)
    )
    return BuiltFeatures(lines.source, features, table, _transactions(ctx, lines.source, features))


def build_features_to_score(
    run: OpenRun, lines: LinesPlan, borders: Borders | None
) -> BuiltFeatures:
    """Build the features of customers that a model scores, in a folder of the output.

    Parameters
    ----------
    borders : mapping or None
        The borders of RFM scores at the fit; None builds no scores.

    Raises
    ------
    DataError, ResourceError
    """
    features = _build(run, lines, FOLDER, borders is not None, borders)
    target = run.plan.resolved.target
    storage = Storage(FOLDER, target.fs, run.output.staging.path(FOLDER))
    carried = () if borders is None else tuple(RFM_TEXTS)
    table = InputTable(storage, CUSTOMER_ID, features.columns, carried=carried)
    return BuiltFeatures(lines.source, features, table, _transactions(run, lines.source, features))


def build_features_only(ctx: RunContext, lines: LinesPlan) -> tuple[Features, FeaturesManifest]:
    """Build the features as the output itself; return them and the manifest.

    Raises
    ------
    DataError, ResourceError
    """
    features = _build(ctx, lines, "", ctx.spec.builds_rfm)
    manifest = FeaturesManifest(
        gpuseg=__version__,
        run_id=ctx.run_id,
        started=f"{ctx.started:%Y-%m-%dT%H:%M:%SZ}",
        job=ctx.spec.redacted(),
        transactions=_transactions(ctx, lines.source, features),
        features=tuple(
            FeatureDefinition.from_json(asdict(f))
            for f in (*FEATURES, *RFM)
            if f.name in features.columns
        ),
        versions=versions(),
        seconds=rounded_seconds(ctx.reporter.seconds),
        parts=tuple(
            PartSummary(name=name, rows=rows, bytes=size) for name, rows, size in features.parts
        ),
    )
    return features, manifest


def _build(
    ctx: OpenRun, lines: LinesPlan, folder: str, rfm: bool, borders: Borders | None = None
) -> Features:
    with ctx.reporter.stage("features", lines.source.rows):
        features = build_from_lines(
            ctx.executor, lines.source, ctx.backend, ctx.output.staging, folder, lines.joins, rfm,
            borders,
        )  # fmt: skip
    source = lines.source
    if period := _period(source, features):
        ctx.reporter.log(
            f"transactions: times from {period.first} to {period.last}, snapshot "
            f"{features.snapshot.isoformat(' ').removesuffix(' 00:00:00')}"
        )
    if personal := warning_of_personal_customers(source):
        ctx.reporter.warn(personal)
    if implausible := features.quality.counts.implausible_customer(source.roles, source.id_type):
        ctx.reporter.warn(implausible)
    for join, counts in features.joined:
        if few := warning_of_few_matches(join, counts, source):
            ctx.reporter.warn(few)
    return features


def _period(source: Source, features: Features) -> Period | None:
    """Return the days of the lines; None where any value of a line may be an id to hide."""
    period = features.quality.scanned.period
    if period is None or source.roles.id_key is not None:
        return None
    return Period(*map(str, period))


def _clustered(ctx: RunContext, features: Features) -> Sequence[str]:
    """Return the features to cluster: those of the job, by default all that vary."""
    transactions = ctx.spec.transactions
    if transactions is not None and transactions.features is not None:
        return transactions.features
    defaults = [f.name for f in FEATURES if f.clustered and f.name in features.columns]
    for name in defaults:
        if name in features.constant:
            ctx.reporter.warn(
                f"feature '{name}' has the same value for all customers and is not clustered"
            )
    varying = [name for name in defaults if name not in features.constant]
    if not varying:
        customers = count(features.quality.counts.customers, "customer")
        raise DataError(
            "transactions.constant_features",
            f"no feature that is clustered varies over {customers}",
            value=ctx.spec.source.path,
            parameter="transactions_path",
            hint="take more lines, or name other `features`",
        )
    return varying


def _transactions(ctx: OpenRun, source: Source, features: Features) -> Transactions:
    """Return the part of the manifest about the lines."""
    texts = ctx.plan.text_inputs
    return Transactions(
        path=source.storage.shown_url,
        files=source.files,
        fingerprint=source.fingerprint(),
        snapshot=features.snapshot.isoformat(),
        distinct_counts="exact, by 64-bit hashes",
        quality=LineQuality.from_json(features.quality.as_dict()),
        joins=tuple(
            JoinSummary(
                path=join.storage.shown_url,
                columns=tuple(join.schema.names),
                rows=joined.rows,
                rows_without_id=joined.without_id,
                rows_of_no_customer=joined.rows - joined.without_id - joined.customers,
                customers=joined.customers,
                customers_without=joined.without_attributes,
                text_files=summaries_of(texts, join.key),
            )
            for join, joined in features.joined
        ),
        period=_period(source, features),
        rfm=None if features.borders is None else RfmBorders.from_json(features.borders),
        text_files=summaries_of(texts, "transactions"),
    )
