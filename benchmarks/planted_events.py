"""Are the events of a refresh those that were planted? Sixty pairs of data sets, ten of each kind.

    split      a segment splits: its customers move apart, or the old fit had one segment too few
    merge      two segments merge: their customers meet, or the new fit has one segment too few
    vanish     the customers of a segment go
    appear     customers of a new kind come
    shift      all centers move by up to one standard deviation, each in a direction of its own
    reseed     the same rows, fitted from another random state

A data set has 4 to 12 spherical segments of 4 to 16 features. Their nearest centers are 4 to 10
standard deviations apart, and the largest has up to ten times the customers of the smallest. Rows
are drawn anew for the second data set, but for "reseed". Every other split and merge is one of the
definition alone: both data sets have two lumps of customers, which are one segment of one fit.

A pair is right if its events are those that were planted, of the right segments, and all other
segments survived with their ids.

    python benchmarks/planted_events.py                          60 pairs of 200,000 rows
    python benchmarks/planted_events.py --rows 5000 --pairs 50   smaller ones, 50 of each kind

Writes planted_events.json to benchmarks/results if no other number of rows or pairs is given.
"""

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np
from measure import save
from numpy.typing import NDArray

import gpuseg
from gpuseg.lineage.events import segment_events
from gpuseg.lineage.matching import match_segments
from gpuseg.lineage.overlap import OverlapTable
from gpuseg.refresh_record import MatchThresholds

KINDS = ("split", "merge", "vanish", "appear", "shift", "reseed")
ROWS, PAIRS = 200_000, 10

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]
Event = tuple[str, frozenset[str], frozenset[str]]
"""Kind, and the planted segments before and now."""


@dataclass(frozen=True)
class Lump:
    """Spherical customers, and the segment that they are planted in."""

    center: Floats
    size: float
    segment: str


@dataclass(frozen=True)
class Pair:
    """Two data sets, and what happened to the segments between them."""

    kind: str
    old: list[Lump]
    new: list[Lump]
    event: Event | None
    seeds: tuple[int, int]
    facts: dict[str, Any]

    @property
    def events(self) -> set[Event]:
        """All events that are right."""
        changed = self.event[1] | self.event[2] if self.event else set()
        stayed = {lump.segment for lump in self.old} - changed
        survived = {("survived", frozenset({name}), frozenset({name})) for name in stayed}
        return survived | ({self.event} if self.event else set())


def planted_pair(kind: str, number: int) -> Pair:
    """Return a pair of a kind; each number has its own geometry."""
    rng = np.random.default_rng((KINDS.index(kind), number))
    k, d = int(rng.integers(4, 13)), int(rng.integers(4, 17))
    separation, largest = rng.uniform(4, 10), rng.uniform(1, 10)
    sizes = rng.permutation([1, largest, *rng.uniform(1, largest, k - 2)])
    centers = apart(rng.standard_normal((k, d)), separation)
    lumps = [Lump(centers[i], sizes[i], str(i)) for i in range(k)]
    large = np.flatnonzero(sizes >= sizes.max() / 2)  # k-means would rather part a large segment
    chosen = int(rng.choice(large if kind in ("split", "merge") else k))
    rest = [lump for lump in lumps if lump is not lumps[chosen]]
    old, new, event, facts = lumps, lumps, None, {"separation": separation, "largest": largest}
    if kind in ("split", "merge"):
        facts |= {
            "gap": rng.uniform(4, max(4.5, min(8, separation))),
            "share": rng.uniform(0.3, 0.5),
        }
        halves = parts(lumps[chosen], facts["gap"], facts["share"], rng)
        whole, names = [lumps[chosen]], {half.segment for half in halves}
        if number % 2:
            whole = [Lump(half.center, half.size, str(chosen)) for half in halves]
        one, two = frozenset({str(chosen)}), frozenset(names)
        old, new, event = rest + whole, rest + halves, ("split", one, two)
        if kind == "merge":
            old, new, event = new, old, ("merged", two, one)
        facts["definition"] = number % 2
    elif kind == "vanish":
        new, event = rest, ("disappeared", frozenset({str(chosen)}), frozenset[str]())
    elif kind == "appear":
        old, event = rest, ("emerged", frozenset[str](), frozenset({str(chosen)}))
    elif kind == "shift":
        facts["step"] = rng.uniform(0.1, 1)
        new = [
            Lump(lump.center + facts["step"] * direction(d, rng), lump.size, lump.segment)
            for lump in lumps
        ]
    facts = {name: round(float(value), 2) for name, value in facts.items()}
    seeds = (2 * number, 2 * number + (kind != "reseed"))
    return Pair(kind, old, new, event, seeds, {"number": number, "k": k, "d": d, **facts})


def apart(centers: Floats, separation: float) -> Floats:
    """Scale centers so that the nearest two are this far apart."""
    squares = ((centers[:, None] - centers) ** 2).sum(axis=2)
    nearest = np.sqrt(squares[np.triu_indices(len(centers), 1)].min())
    return centers * separation / nearest


def direction(d: int, rng: np.random.Generator) -> Floats:
    """Return a random vector of length 1."""
    vector = rng.standard_normal(d)
    return vector / np.linalg.norm(vector)


def parts(lump: Lump, gap: float, share: float, rng: np.random.Generator) -> list[Lump]:
    """Return two lumps in place of one: their mean is its center."""
    step = gap * direction(len(lump.center), rng)
    return [
        Lump(lump.center + (1 - share) * step, share * lump.size, f"{lump.segment}a"),
        Lump(lump.center - share * step, (1 - share) * lump.size, f"{lump.segment}b"),
    ]


def draw(lumps: list[Lump], n_rows: int, seed: int) -> Rows:
    """Draw customers."""
    rng = np.random.default_rng(seed)
    sizes = np.array([lump.size for lump in lumps])
    centers = np.array([lump.center for lump in lumps])
    lump = rng.choice(len(lumps), n_rows, p=sizes / sizes.sum())
    return (centers[lump] + rng.standard_normal((n_rows, centers.shape[1]))).astype(np.float32)


def planted_centers(lumps: list[Lump]) -> dict[str, Floats]:
    """Return the center of each planted segment."""
    names = dict.fromkeys(lump.segment for lump in lumps)
    return {
        name: np.average(
            [lump.center for lump in lumps if lump.segment == name],
            axis=0,
            weights=[lump.size for lump in lumps if lump.segment == name],
        )
        for name in names
    }


def fitted(x: Rows, lumps: list[Lump], random_state: int) -> gpuseg.KMeans:
    """Fit as many segments as are planted.

    Whether k-means finds the planted segments is not the question: it may stop in a local minimum.
    So another fit starts from their centers, in random order, and the better one is taken; only
    this one, if a segment has two lumps.
    """
    centers = planted_centers(lumps)
    order = np.random.default_rng(random_state).permutation(len(centers))
    start = np.array(list(centers.values()))[order]
    best = gpuseg.KMeans(len(centers), init=start, n_init=1).fit(x)
    if len(centers) == len(lumps):
        drawn = gpuseg.KMeans(len(centers), random_state=random_state).fit(x)
        best = min((drawn, best), key=lambda fit: fit.inertia_)
    return best


def distances(x: Rows, centers: Floats, labels: NDArray[np.int32]) -> Floats:
    """Return the distance of each row to its center."""
    distance: Floats = np.sqrt(((x - centers[labels]) ** 2).sum(axis=1))
    return distance


def names_of(centers: Floats, lumps: list[Lump]) -> list[str]:
    """Return the planted segment of each segment of a fit: the nearest one."""
    planted = planted_centers(lumps)
    squares = ((centers[:, None] - np.array(list(planted.values()))) ** 2).sum(axis=2)
    return [list(planted)[i] for i in squares.argmin(axis=1)]


@dataclass(frozen=True)
class SeenEvents:
    """What a refresh says about a pair.

    Attributes
    ----------
    is_fitted : bool
        Whether both fits have the segments that are planted.
    missed, invented : set of Event
        Events that were planted and not seen, and those seen and not planted.
    ids_survived : bool
        Whether all old segments survived.
    sentences : list of str
        The events in words.
    """

    is_fitted: bool
    missed: set[Event]
    invented: set[Event]
    ids_survived: bool
    sentences: list[str]

    @property
    def is_right(self) -> bool:
        """Whether the events are those planted, and no others."""
        return not self.missed and not self.invented


def refreshed(pair: Pair, n_rows: int) -> SeenEvents:
    """Fit both data sets, and match their segments."""
    x_old, x_new = (
        draw(lumps, n_rows, seed)
        for lumps, seed in zip((pair.old, pair.new), pair.seeds, strict=True)
    )
    old, new = fitted(x_old, pair.old, 1), fitted(x_new, pair.new, 2)
    distance = distances(x_old, old.cluster_centers_, old.labels_)
    old_ids = np.arange(len(old.cluster_centers_))
    far_distance = np.array([np.quantile(distance[old.labels_ == i], 0.999) for i in old_ids])
    before = old.predict(x_new)
    far = distances(x_new, old.cluster_centers_, before) > far_distance[before]
    table = OverlapTable.of(before, new.labels_, far)
    thresholds = MatchThresholds()
    sizes = dict(enumerate(np.bincount(old.labels_).tolist()))
    matching = match_segments(
        table, old_ids, len(new.cluster_centers_), thresholds, old_sizes=sizes
    )
    events = segment_events(matching, thresholds)
    names_old = names_of(old.cluster_centers_, pair.old)
    names_new = dict(
        zip(matching.ids.tolist(), names_of(new.cluster_centers_, pair.new), strict=True)
    )
    seen = {
        (
            event.kind,
            frozenset(names_old[i] for i in event.before),
            frozenset(names_new[i] for i in event.now),
        )
        for event in events
    }
    is_fitted = len(set(names_old)) == len(old_ids) and len(set(names_new.values())) == len(
        names_new
    )
    return SeenEvents(
        is_fitted,
        pair.events - seen,
        seen - pair.events,
        set(old_ids.tolist()) <= set(matching.ids.tolist()),
        [event.sentence for event in events],
    )


def main() -> None:
    """Try all pairs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="pairs of each kind")
    args = parser.parse_args()
    results: dict[str, Any] = {}
    for kind in KINDS:
        pairs = [planted_pair(kind, number) for number in range(args.pairs)]
        outcomes = [refreshed(pair, args.rows) for pair in pairs]
        wrong = [
            {
                **pair.facts,
                "is_fitted": outcome.is_fitted,
                "missed": [repr(plain(event)) for event in outcome.missed],
                "sentences": outcome.sentences,
            }
            for pair, outcome in zip(pairs, outcomes, strict=True)
            if not outcome.is_right
        ]
        results[kind] = {
            "right": sum(outcome.is_right for outcome in outcomes),
            "of": args.pairs,
            "all_ids_survived": sum(outcome.ids_survived for outcome in outcomes),
            "wrong": wrong,
        }
        print(
            f"{kind:8} {results[kind]['right']} of {args.pairs} right; "
            f"all ids survived in {results[kind]['all_ids_survived']}"
        )
        for each in wrong:
            print("    ", each)
    right = sum(each["right"] for each in results.values())
    print(f"{right} of {args.pairs * len(KINDS)} right")
    if (args.rows, args.pairs) == (ROWS, PAIRS):
        save("planted_events", {"rows": ROWS, "right": right, "kinds": results})


def plain(event: Event) -> tuple[str, list[str], list[str]]:
    """Return an event in an order that is always the same."""
    return event[0], sorted(event[1]), sorted(event[2])


if __name__ == "__main__":
    main()
