"""Are the events of a refresh those that were planted? Sixty pairs of tables, ten of each kind.

    split      a segment splits: its customers move apart, or the older job asks for one too few
    merge      two segments merge: their customers meet, or the newer job asks for one too few
    vanish     the customers of a segment leave
    appear     customers of a new kind come
    shift      all centers move by up to one standard deviation, each in a direction of its own
    reseed     the same table, fitted from another random state

A table has 4 to 12 spherical lumps of customers in 4 to 16 features. Their nearest centers are 4
to 10 standard deviations apart, and the largest has up to ten times the customers of the smallest.
Customers keep their ids, and have new values in the second table, but for "reseed". Every other
split and merge is one of the definition only: the lumps stay, and one of the two jobs asks for one
segment fewer. Then the two lumps are planted as one whose union adds least to the inertia.

Both tables are written as Parquet. ``gpuseg.run`` segments the first one, and ``gpuseg.refresh``
the second one, with the planted number of segments and ``n_init = 10``; nothing else of the plant
is known to them. All features have one unit, so that the jobs do not scale them: that would press
the lumps flat. Events, lineage and labels are those of the published outputs. A segment of an
output is the planted segment of most of its customers. A pair is right if its events are those that
were planted, of the right segments, and all other segments survived. "shift" and "reseed" are also
refreshed in the modes "warm" and "auto".

    python benchmarks/planted_events.py                          60 pairs of 200,000 customers
    python benchmarks/planted_events.py --n-init 30              k-means starts 30 times
    python benchmarks/planted_events.py --rows 5000 --pairs 50   smaller ones, 50 of each kind

Each wrong pair is printed with what k-means reached above what it reaches from the planted centers:
if that is anything, it stopped in a local minimum. No pair is right by this diagnosis.

Writes planted_events.json, or planted_events-30.json, to benchmarks/results if no other number of
rows or pairs is given.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from measure import save
from numpy.typing import NDArray

import gpuseg
from gpuseg.manifest import Manifest, ScoresManifest

KINDS = ("split", "merge", "vanish", "appear", "shift", "reseed")
ROWS, PAIRS, N_INIT = 200_000, 10, 10

MIN_SHARE = 0.3
"""Least part of a segment in the smaller one of its two pieces."""

SURVIVAL = ("shift", "reseed")
"""Kinds in which all segments survive: these are refreshed in more modes."""

_LOCAL_MINIMUM = 1e-3
"""Relative excess of an inertia over that from the planted centers, from which on it is told."""

Floats = NDArray[np.float64]
Event = tuple[str, frozenset[str], frozenset[str]]
"""Kind, and the planted segments before and now."""


@dataclass(frozen=True)
class Quarter:
    """Lumps of customers at a time.

    Attributes
    ----------
    centers : float64 (n_lumps, d)
    segments : list of str
        Planted segment of each lump; "" while the lump has no customers.
    """

    centers: Floats
    segments: list[str]

    @property
    def names(self) -> list[str]:
        """All planted segments."""
        return sorted({*self.segments} - {""})


@dataclass(frozen=True)
class Pair:
    """Two quarters, and what happened to the segments between them."""

    kind: str
    sizes: Floats
    before: Quarter
    now: Quarter
    event: Event | None
    facts: dict[str, Any]

    @property
    def events(self) -> set[Event]:
        """All events that are right."""
        changed = self.event[1] | self.event[2] if self.event else set()
        stayed = {*self.before.names} - changed
        survived = {("survived", frozenset({name}), frozenset({name})) for name in stayed}
        return survived | ({self.event} if self.event else set())


def planted_pair(kind: str, number: int) -> Pair:
    """Return a pair of a kind; each number has its own geometry.

    Where the definition changes, the smaller one of the two lumps is drawn until it has 30 % of
    their customers, as it has otherwise: below `refresh.split` no piece is one of a split.
    """
    rng = np.random.default_rng((KINDS.index(kind), number))
    pair = drawn_pair(kind, number, rng)
    while pair.facts.get("share", 0.5) < MIN_SHARE:
        pair = drawn_pair(kind, number, rng)
    return pair


def drawn_pair(kind: str, number: int, rng: np.random.Generator) -> Pair:
    """Draw a pair of a kind."""
    k, d = int(rng.integers(4, 13)), int(rng.integers(4, 17))
    separation, largest = rng.uniform(4, 10), rng.uniform(1, 10)
    sizes = rng.permutation([1, largest, *rng.uniform(1, largest, k - 2)])
    centers = apart(rng.standard_normal((k, d)), separation)
    names = [str(i) for i in range(k)]
    facts = {"number": number, "k": k, "d": d, "separation": separation, "largest": largest}
    quarter, one = Quarter(centers, names), int(rng.integers(k))
    absent = Quarter(centers, [*names[:one], "", *names[one + 1 :]])
    gone: Event = ("disappeared", frozenset({names[one]}), frozenset())
    come: Event = ("emerged", frozenset(), frozenset({names[one]}))
    if kind in ("split", "merge"):
        return split_pair(kind, quarter, sizes, facts, rng)
    if kind == "vanish":
        return Pair(kind, sizes, quarter, absent, gone, facts)
    if kind == "appear":
        return Pair(kind, sizes, absent, quarter, come, facts)
    if kind == "shift":
        facts["step"] = rng.uniform(0.1, 1)
        steps = np.array([facts["step"] * direction(d, rng) for _ in names])
        return Pair(kind, sizes, quarter, Quarter(centers + steps, names), None, facts)
    return Pair(kind, sizes, quarter, quarter, None, facts)


def split_pair(
    kind: str, quarter: Quarter, sizes: Floats, facts: dict[str, Any], rng: np.random.Generator
) -> Pair:
    """Return a pair in which a large lump becomes two: k-means would not rather part another one.

    The halves are lumps of their own in the first quarter, too: at the same center, or, where only
    the definition changes, apart.
    """
    separation, is_definition = facts["separation"], bool(facts["number"] % 2)
    one = int(rng.choice(np.flatnonzero(sizes >= sizes.max() / 2)))
    gap, share = rng.uniform(4, max(4.5, min(8, separation))), rng.uniform(MIN_SHARE, 0.5)
    step = gap * direction(quarter.centers.shape[1], rng)
    center = quarter.centers[one]
    halves = np.array([center + (1 - share) * step, center - share * step])
    half_sizes = sizes[one] * np.array([share, 1 - share])
    parted = Quarter(
        np.vstack([np.delete(quarter.centers, one, axis=0), halves]),
        [*np.delete(quarter.segments, one).tolist(), f"{one}a", f"{one}b"],
    )
    sizes = np.append(np.delete(sizes, one), half_sizes)
    if is_definition:
        first, second = cheapest_union(parted.centers, sizes)
        centers, share = parted.centers, min(sizes[[first, second]]) / sum(sizes[[first, second]])
    else:
        first, second = len(sizes) - 2, len(sizes) - 1
        centers = np.vstack([parted.centers[:-2], center, center])
    pieces = frozenset({parted.segments[first], parted.segments[second]})
    union = "+".join(sorted(pieces))
    whole = Quarter(centers, [union if name in pieces else name for name in parted.segments])
    facts |= {"gap": gap, "share": share, "definition": is_definition}
    if kind == "split":
        return Pair(kind, sizes, whole, parted, ("split", frozenset({union}), pieces), facts)
    return Pair(kind, sizes, parted, whole, ("merged", pieces, frozenset({union})), facts)


def cheapest_union(centers: Floats, sizes: Floats) -> tuple[int, int]:
    """Return the two lumps whose union adds least to the inertia, as Ward has it."""
    squares = ((centers[:, None] - centers) ** 2).sum(axis=2)
    costs = squares * (sizes[:, None] * sizes) / (sizes[:, None] + sizes)
    np.fill_diagonal(costs, np.inf)
    first, second = np.unravel_index(costs.argmin(), costs.shape)
    return int(first), int(second)


def apart(centers: Floats, separation: float) -> Floats:
    """Scale centers so that the nearest two are this far apart."""
    squares = ((centers[:, None] - centers) ** 2).sum(axis=2)
    nearest = np.sqrt(squares[np.triu_indices(len(centers), 1)].min())
    return centers * separation / nearest


def direction(d: int, rng: np.random.Generator) -> Floats:
    """Return a random vector of length 1."""
    vector = rng.standard_normal(d)
    return vector / np.linalg.norm(vector)


@dataclass(frozen=True)
class Seen:
    """What a refresh publishes about a pair.

    Attributes
    ----------
    events : set of Event
    ids_survived : bool
        Whether the ids of both outputs and those alive in the lineage are the same, each of the
        same planted segment before and now.
    mode : str
        How the refresh was made.
    reached : tuple of (float, float)
        Inertia per customer, of the first and the second output, and that from the
        planted centers; empty for a pair that is right.
    sentences : list of str
        The events in words.
    """

    events: set[Event]
    ids_survived: bool
    mode: str
    reached: tuple[tuple[float, float], ...]
    sentences: list[str]


class PlantedTables:
    """Both tables of a pair, as files, and jobs for them."""

    def __init__(self, pair: Pair, n_rows: int, n_init: int, folder: Path) -> None:
        self.pair, self._folder, self._n_init = pair, folder, n_init
        self._quarters = pair.before, pair.now
        rng = np.random.default_rng(pair.facts["number"])
        self._lump = rng.choice(len(pair.sizes), n_rows, p=pair.sizes / pair.sizes.sum())
        seeds = (1, 1) if pair.kind == "reseed" else (1, 2)
        for i, (quarter, seed) in enumerate(zip(self._quarters, seeds, strict=True)):
            noise = np.random.default_rng((pair.facts["number"], seed))
            values = noise.standard_normal((n_rows, quarter.centers.shape[1]), np.float32)
            values += quarter.centers[self._lump].astype(np.float32)
            ids = np.flatnonzero(np.array(quarter.segments)[self._lump] != "")
            table = {"customer_id": ids} | {f"x{j}": x for j, x in enumerate(values[ids].T)}
            pq.write_table(pa.table(table), folder / f"{i}.parquet", compression="none")

    def job(self, i: int, name: str, **segment: Any) -> dict[str, Any]:
        """Return the job for one of the tables, with the planted number of segments."""
        n_clusters = len(self._quarters[i].names)
        fit = {"n_clusters": n_clusters, "n_init": self._n_init, "random_state": 1 + i}
        return {
            "input": {"path": str(self._folder / f"{i}.parquet"), "id": "customer_id"},
            "prepare": {"scale": "none"},
            "segment": fit | segment,
            "output": {"path": str(self._folder / name)},
        }

    def planted_of(self, i: int, output: str) -> dict[int, str]:
        """Return the planted segment of most customers of each segment of an output."""
        parts = ds.dataset(output).to_table(["customer_id", "segment"])
        ids, labels = (parts[name].to_numpy() for name in parts.column_names)
        names = self._quarters[i].segments
        n_lumps = len(names)
        counts = np.bincount(labels * n_lumps + self._lump[ids]).astype(np.int64)
        counts = np.pad(counts, (0, -len(counts) % n_lumps)).reshape(-1, n_lumps)
        of_planted = counts @ (np.array(names)[:, None] == np.unique(names))
        most = np.unique(names)[of_planted.argmax(axis=1)]
        return {segment: str(most[segment]) for segment in np.unique(labels).tolist()}

    def planted_centers(self, i: int) -> list[list[float]]:
        """Return the center of each planted segment."""
        quarter, sizes = self._quarters[i], self.pair.sizes
        members = [[s == name for s in quarter.segments] for name in quarter.names]
        return [np.average(quarter.centers[m], axis=0, weights=sizes[m]).tolist() for m in members]


def refreshed(pair: Pair, n_rows: int, n_init: int = N_INIT) -> dict[str, Seen]:
    """Segment the first table, and refresh it on the second one; by the mode asked for."""
    with TemporaryDirectory() as folder:
        tables = PlantedTables(pair, n_rows, n_init, Path(folder))
        first = gpuseg.run(tables.job(0, "first"))
        modes = ("fresh", "warm", "auto") if pair.kind in SURVIVAL else ("fresh",)
        return {mode: _refreshed(tables, first.path, first.record, mode) for mode in modes}


def _refreshed(tables: PlantedTables, first: str, before: Manifest, mode: Any) -> Seen:
    second = gpuseg.refresh(tables.job(1, mode), first, mode=mode)
    refresh = second.record.refresh
    if refresh is None:
        raise RuntimeError(f"the manifest of {second.path} has no refresh")
    old, new = tables.planted_of(0, first), tables.planted_of(1, second.path)
    published = [event for each in refresh.definitions for event in each.events]
    events = {
        (
            event.kind,
            frozenset(old[segment] for segment in event.before),
            frozenset(new[segment] for segment in event.now),
        )
        for event in published
    }
    if refresh.mode == "score":  # the older segments go on
        events = {("survived", frozenset({old[i]}), frozenset({new[i]})) for i in old}
    reached: tuple[tuple[float, float], ...] = ()
    if events != tables.pair.events:
        jobs = [
            tables.job(i, f"{mode}-{i}", init=tables.planted_centers(i), n_init=1) for i in (0, 1)
        ]
        planted = (gpuseg.run(jobs[0]).record, gpuseg.refresh(jobs[1], first, mode="fresh").record)
        pairs = zip((before, second.record), planted, strict=True)
        reached = tuple((inertia(of), inertia(by)) for of, by in pairs)
    alive = {each.segment for each in second.record.lineage[0].segments if each.retired is None}
    return Seen(
        events,
        old == new and {*new} == alive,
        refresh.mode,
        reached,
        [each.sentence for each in published],
    )


def inertia(manifest: Manifest | ScoresManifest) -> float:
    """Return the mean squared distance to the segments of an output."""
    if isinstance(manifest, Manifest):
        return float(manifest.result.facts["inertia"]) / manifest.n_customers
    if manifest.drift is None or manifest.drift.inertia_now is None:
        raise RuntimeError(f"run {manifest.run_id} has no inertia")
    return manifest.drift.inertia_now


def why_wrong(pair: Pair, seen: Seen) -> dict[str, Any]:
    """Return what is wrong, and whether k-means or the rule is to blame."""
    above = [of / by - 1 for of, by in seen.reached]
    at = [name for name, x in zip(("first", "second"), above, strict=True) if x > _LOCAL_MINIMUM]
    return {
        **{name: round(float(value), 2) for name, value in pair.facts.items()},
        "mode": seen.mode,
        "above_planted_inertia": [round(x, 5) for x in above],
        "cause": f"local minimum of the {' and the '.join(at)} fit" if at else "other",
        "missed": sorted(map(plain, pair.events - seen.events)),
        "sentences": seen.sentences,
    }


def plain(event: Event) -> str:
    """Return an event in words."""
    return f"{event[0]}: {', '.join(sorted(event[1]))} to {', '.join(sorted(event[2]))}"


def main() -> None:
    """Try all pairs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="pairs of each kind")
    parser.add_argument("--n-init", type=int, default=N_INIT, help="starts of each fit")
    args = parser.parse_args()
    started, results = time.perf_counter(), dict[str, Any]()
    for kind in KINDS:
        pairs = [planted_pair(kind, number) for number in range(args.pairs)]
        outcomes = [refreshed(pair, args.rows, args.n_init) for pair in pairs]
        for asked in outcomes[0]:
            seen = [(pair, outcome[asked]) for pair, outcome in zip(pairs, outcomes, strict=True)]
            wrong = [why_wrong(pair, each) for pair, each in seen if each.events != pair.events]
            row = {"right": args.pairs - len(wrong), "of": args.pairs}
            if kind in SURVIVAL:
                row["all_ids_survived"] = sum(each.ids_survived for _, each in seen)
            modes = [each.mode for _, each in seen]
            if asked == "auto":
                row |= {f"took_{mode}": modes.count(mode) for mode in sorted(set(modes))}
            print(f"{kind:7} {asked:5}", ", ".join(f"{name} {n}" for name, n in row.items()))
            for each in wrong:
                print("   ", each)
            results.setdefault(kind, {})[asked] = {**row, "wrong": wrong}
    right = sum(each["fresh"]["right"] for each in results.values())
    minima = sum(
        "minimum" in each["cause"] for kind in results.values() for each in kind["fresh"]["wrong"]
    )
    seconds = round(time.perf_counter() - started)
    total = args.pairs * len(KINDS)
    print(f"{right} of {total} right with fresh fits of {args.n_init} starts, in {seconds} s")
    print(f"{minima} of the wrong ones are local minima of k-means")
    if (args.rows, args.pairs) == (ROWS, PAIRS):
        facts = {"rows": ROWS, "n_init": args.n_init, "seconds": seconds, "right": right}
        name = "planted_events" if args.n_init == N_INIT else f"planted_events-{args.n_init}"
        save(name, {**facts, "local_minima": minima, "kinds": results})


if __name__ == "__main__":
    main()
