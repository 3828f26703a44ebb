"""What the segments are, for manifest and report, and customers to look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.data.crosstab import Counts, cross_tabulate
from gpuseg.data.ids_at import ids_at
from gpuseg.data.output import as_json
from gpuseg.encoding import Encoder
from gpuseg.engine import passes
from gpuseg.engine.confidence import confidences
from gpuseg.engine.preparation import Prepared
from gpuseg.jobs.outcome import Outcome
from gpuseg.portrait.examples import Example, examples
from gpuseg.portrait.plane import plane
from gpuseg.portrait.profile import intervals, quantiles
from gpuseg.portrait.rules import rules
from gpuseg.portrait.sample import Sample
from gpuseg.runtime.executor import Executor

EXAMPLES = "_examples.json"


@dataclass(frozen=True)
class Seen:
    """What was looked up once every customer had a segment.

    Attributes
    ----------
    sample : Sample
    examples : bytes
        The file of customers to look at.
    audited : dict
        By column: customers by segment and value.
    """

    sample: Sample
    examples: bytes
    audited: Counts


def look(executor: Executor, prepared: Prepared, outcome: Outcome, audited: Sequence[str]) -> Seen:
    """Look up the sample, the examples, and who is in which group of the audited columns.

    Raises
    ------
    DataError
        For columns that are no groups.
    """
    sample = sample_of(executor, prepared)
    counts = cross_tabulate(executor, audited) if audited else {}
    return Seen(sample, examples_file(executor, sample, outcome), counts)


def sample_of(executor: Executor, prepared: Prepared) -> Sample:
    """Return the rows that were drawn when the data was prepared, with their segments."""
    drawn, p, b = prepared.sample, prepared.preparation, registry.get("numpy")
    found = executor.run(passes.labels_at, each=_by_shard(executor, drawn.index))
    labels, distances = zip(*found, strict=True)
    return Sample(
        drawn.index,
        drawn.x,
        b.prepare(drawn.x.copy(), replace(p, projection=None, unit=False)),
        b.prepare(drawn.x.copy(), p),
        np.concatenate(labels),
        np.concatenate(distances),
        prepared.features,
        prepared.raw.rows,
    )


def _by_shard(executor: Executor, index: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Part places in the data, rising, by the shards where they are; return places there."""
    starts = np.cumsum([0, *executor.run(passes.n_rows)])
    bounds = np.searchsorted(index, starts)
    return [
        index[a:b] - start for a, b, start in zip(bounds[:-1], bounds[1:], starts[:-1], strict=True)
    ]


def described(
    sample: Sample,
    prepared: Prepared,
    encoders: Sequence[Encoder],
    segments: Sequence[Mapping[str, Any]],
    averages_are_customers: bool,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what is known of everyone, and what is added to each segment.

    Intervals are given only where averages are those of customers: without weights, and not of
    directions.
    """
    p, sigma = prepared.preparation, np.where(prepared.std > 0, prepared.std, 1.0)
    told = rules(sample, encoders, p.fill)
    whole, each = told or (None, {})
    added = []
    for segment in segments:
        number = segment["segment"]
        rows = sample.label == number
        added.append(
            {
                "quantiles": quantiles(sample, rows),
                "interval": intervals(sample, rows, segment, sigma / p.scale)
                if averages_are_customers
                else {},
                "rule": each.get(number),
            }
        )
    numbers = [segment["segment"] for segment in segments]
    return {
        "sample": sample.said(),
        "quantiles": quantiles(sample),
        "rules": whole,
        "map": plane(sample, numbers),
    }, added


def examples_file(executor: Executor, sample: Sample, outcome: Outcome) -> bytes:
    """Return typical and doubtful customers as JSON, with ids where there are any.

    It is no Parquet file: what reads a folder of Parquet files takes in all that there are.
    """
    confidence = _confidence(sample, outcome)
    found = examples(sample, outcome.segments, confidence)
    ids = _ids(executor, sample, found)
    shown = []
    for i, own in enumerate(found):
        values = map(_finite, sample.x[own.at])
        shown.append(
            {
                "segment": own.segment,
                "kind": own.kind,
                "rank": own.rank,
                "row": int(sample.index[own.at]),
                **({} if ids is None else {"id": ids[i]}),
                "distance": _finite(sample.distance[own.at]),
                **({} if confidence is None else {"confidence": float(confidence[own.at])}),
                "features": dict(zip(sample.features, values, strict=True)),
            }
        )
    return as_json(shown)


def _finite(value: np.float32) -> float | None:
    """Return a number as JSON has it, which knows neither NaN nor infinity."""
    return float(value) if np.isfinite(value) else None


def _confidence(sample: Sample, outcome: Outcome) -> NDArray[np.float32] | None:
    """Return how far each customer is from the border to another segment; None of DBSCAN."""
    if outcome.result["algorithm"] == "dbscan":
        return None
    return confidences(sample.rows, "numba", *outcome.nearest)  # the same bits as any other


def _ids(executor: Executor, sample: Sample, found: Sequence[Example]) -> list[Any] | None:
    """Return the ids of some customers; those that JSON has no type for as text."""
    places, back = np.unique(sample.index[[own.at for own in found]], return_inverse=True)
    parts = executor.run(ids_at, each=_by_shard(executor, places))
    ids = [own for part in parts if part is not None for own in part.to_pylist()]
    plain = [own if own is None or isinstance(own, int | str) else str(own) for own in ids]
    return [plain[i] for i in back] if ids else None
