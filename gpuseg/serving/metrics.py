"""What a server counts, and its text for Prometheus.

The numbers are those of all workers together, whichever of them answers.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from gpuseg.serving.loaded_model import RequestScores
from gpuseg.serving.shared_counters import SharedCounters

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds of a request: upper bounds of the histogram."""

_BUCKET_TEXTS = (*map(str, _BUCKETS), "+Inf")

_FEW = 64
"""Rows that are counted one by one: a call of NumPy takes longer."""

IN_FLIGHT, MODEL_WORKERS = "gpuseg_requests_in_flight", "gpuseg_model_workers"

_FAMILIES = {
    "gpuseg_requests_total": ("counter", "Requests that were answered, by route and status."),
    "gpuseg_request_seconds": ("histogram", "Seconds from the headers of a request to its answer."),
    IN_FLIGHT: ("gauge", "Requests that are being answered."),
    "gpuseg_rows_total": ("counter", "Rows that were scored, by segment."),
    "gpuseg_wrong_rows_total": ("counter", "Rows without a segment, since a value is wrong."),
    "gpuseg_unseen_categories_total": (
        "counter",
        "Rows with a category that was not in the data of the fit, by column.",
    ),
    "gpuseg_reloads_total": ("counter", "New outputs that a worker has taken or refused."),
    MODEL_WORKERS: ("gauge", "Workers that answer with the model of a run."),
}
"""Type and help of each metric, in the order of the text."""


class Metrics:
    """Counts what one worker does.

    Parameters
    ----------
    counters : SharedCounters
    """

    def __init__(self, counters: SharedCounters) -> None:
        self._counters = counters
        self._request_names: dict[tuple[str, int], str] = {}
        self._bucket_names: dict[str, list[str]] = {}
        for gauge in (IN_FLIGHT, MODEL_WORKERS):  # of a worker that was killed in this slot
            counters.reset(gauge)

    def begin_request(self) -> None:
        """Count a request that begins."""
        self._counters.add(IN_FLIGHT)

    def end_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that has its answer."""
        add = self._counters.add
        add(IN_FLIGHT, -1.0)
        key = route, status
        if key not in self._request_names:
            labels = {"route": route, "status": str(status)}
            self._request_names[key] = _name("gpuseg_requests_total", labels)
        if route not in self._bucket_names:
            ends = [{"route": route, "le": text} for text in _BUCKET_TEXTS]
            self._bucket_names[route] = [
                *(_name("gpuseg_request_seconds_bucket", end) for end in ends),
                _name("gpuseg_request_seconds_sum", {"route": route}),
                _name("gpuseg_request_seconds_count", {"route": route}),
            ]
        add(self._request_names[key])
        *buckets, total, count = self._bucket_names[route]
        add(buckets[bisect_left(_BUCKETS, seconds)])
        add(total, seconds)
        add(count)

    def count_rows(self, scored: RequestScores) -> None:
        """Count rows by their segments, and those that have none."""
        for segment, count in _counts(scored.scores.segment):
            self._counters.add(f'gpuseg_rows_total{{segment="{segment}"}}', count)
        if scored.n_wrong:
            self._counters.add("gpuseg_wrong_rows_total", scored.n_wrong)
        for item in scored.unseen:
            name = _name("gpuseg_unseen_categories_total", {"column": item.column})
            self._counters.add(name, item.n_rows)

    def count_reload(self, result: str) -> None:
        """Count a new output that was ``taken`` or ``refused``."""
        self._counters.add(_name("gpuseg_reloads_total", {"result": result}))

    def use_model(self, run_id: str) -> None:
        """Say of which run the model is that this worker answers with."""
        self._counters.reset(MODEL_WORKERS)
        self._counters.set(_name(MODEL_WORKERS, {"run": run_id}), 1.0)

    def text(self) -> str:
        """Return all metrics in Prometheus' text format."""
        sums = self._counters.sums()
        lines = []
        for family, (kind, about) in _FAMILIES.items():
            lines += [f"# HELP {family} {about}", f"# TYPE {family} {kind}"]
            names = [n for n in sums if n.partition("{")[0].startswith(family)]
            if kind == "histogram":
                lines += _histogram_lines(family, names, sums)
            elif not names and kind == "counter" and family == "gpuseg_wrong_rows_total":
                lines.append(f"{family} 0")
            else:
                gone = family == MODEL_WORKERS
                lines += [f"{n} {_number(sums[n])}" for n in sorted(names) if sums[n] or not gone]
        return "\n".join(lines) + "\n"


def _histogram_lines(family: str, names: list[str], sums: Mapping[str, float]) -> list[str]:
    """Return the lines of a histogram, whose buckets are counted each by itself."""
    lines = []
    totals = sorted(name for name in names if name.startswith(f"{family}_sum"))
    for total in totals:
        labels = total.removeprefix(f"{family}_sum{{").removesuffix("}")
        n_below = 0.0
        for text in _BUCKET_TEXTS:
            name = f'{family}_bucket{{{labels},le="{text}"}}'
            n_below += sums.get(name, 0.0)
            lines.append(f"{name} {_number(n_below)}")
        lines.append(f"{total} {sums[total]!r}")
        lines.append(f"{family}_count{{{labels}}} {_number(n_below)}")
    return lines


def _counts(segment: NDArray[np.int32]) -> Iterable[tuple[int, int]]:
    """Return how many rows each segment has."""
    if len(segment) <= _FEW:
        return Counter(segment.tolist()).items()
    segments, counts = np.unique(segment, return_counts=True)
    return zip(segments.tolist(), counts.tolist(), strict=True)


def _name(family: str, labels: Mapping[str, str]) -> str:
    pairs = (f'{key}="{_escaped(value)}"' for key, value in labels.items())
    return f"{family}{{{','.join(pairs)}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)
