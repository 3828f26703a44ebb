"""Association rules: products that the customers of a segment buy together.

Agrawal and Srikant, "Fast algorithms for mining association rules", VLDB 1994. An itemset is
frequent only where all its subsets are, so each longer itemset is tried only if those are. Baskets
are bits: the baskets with a product are one row of words, and those with several products are the
bitwise "and" of their rows.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gpuseg.manifest import AssociationRule, BasketSummary

MIN_SUPPORT, MIN_BASKETS = 0.01, 20
"""Baskets of the segment that a rule must hold in: a share of them, and a number."""

MIN_CONFIDENCE, MIN_LIFT = 0.2, 1.2

MIN_GAIN = 1.2
"""A second antecedent must raise the confidence by this factor."""

MAX_PRODUCTS = 300
"""The most frequent products, which rules are made of."""

MAX_RULES = 8

_WORDS = 2**20
"""Words of bits that are looked at together: 8 MiB."""

Itemset = tuple[int, ...]
"""Products by number, in rising order."""


def association_rules(
    basket: NDArray[np.int64], product: NDArray[np.object_]
) -> BasketSummary | None:
    """Return the number of baskets and the rules of the highest lift.

    A rule has one or two antecedents and one consequent. A second antecedent is there only where it
    raises the confidence, and each product is in one rule only.

    Parameters
    ----------
    basket : int64 (n,)
        Number of the basket of each purchase; a product is at most once in a basket.
    product : str (n,)

    Returns
    -------
    BasketSummary or None
        None where no two products are bought together often enough.
    """
    n_baskets = len(np.unique(basket))
    min_count = max(MIN_BASKETS, int(np.ceil(MIN_SUPPORT * n_baskets)))
    names, code, count = np.unique(product.astype(str), return_inverse=True, return_counts=True)
    frequent = np.flatnonzero(count >= min_count)
    frequent = np.sort(frequent[np.argsort(-count[frequent], kind="stable")[:MAX_PRODUCTS]])
    if len(frequent) < 2:
        return None
    row, end = np.unique(basket, return_inverse=True)[1], np.cumsum(count)
    by_product = row[np.argsort(code, kind="stable")]
    bits = np.stack([_bits(by_product[end[i] - count[i] : end[i]], n_baskets) for i in frequent])
    counts = dict(frequent_itemsets(bits, min_count))
    supports = {itemset: count / n_baskets for itemset, count in counts.items()}
    rules = _select(_rules(supports, names[frequent].tolist()))
    return BasketSummary(n_baskets=n_baskets, rules=tuple(rules)) if rules else None


def _bits(baskets: NDArray[np.int64], n_baskets: int) -> NDArray[np.uint64]:
    """Return baskets as bits, padded with zeros to whole words."""
    flags = np.zeros(-(-n_baskets // 64) * 64, bool)
    flags[baskets] = True
    return np.packbits(flags).view(np.uint64)


def frequent_itemsets(bits: NDArray[np.uint64], min_count: int) -> Iterator[tuple[Itemset, int]]:
    """Yield the sets of up to three products that at least `min_count` baskets have, with counts.

    Parameters
    ----------
    bits : uint64 (n_products, n_words)
        A bit for each basket of each product; each product is in `min_count` baskets.
    """
    yield from (((i,), count) for i, count in enumerate(_n_bits(bits).tolist()))
    partners = [_frequent_with(bits[i], bits, np.arange(i + 1, len(bits)), min_count)
                for i in range(len(bits))]  # fmt: skip
    for i, with_i in enumerate(partners):
        yield from (((i, j), count) for j, count in with_i.items())
        for j in with_i:
            thirds = np.array([k for k in with_i if k in partners[j]], np.int64)
            triples = _frequent_with(bits[i] & bits[j], bits, thirds, min_count)
            yield from (((i, j, k), count) for k, count in triples.items())


def _frequent_with(
    baskets: NDArray[np.uint64],
    bits: NDArray[np.uint64],
    candidates: NDArray[np.int64],
    min_count: int,
) -> dict[int, int]:
    """Return the candidates that enough of the baskets have, with their numbers of baskets."""
    if not len(candidates):
        return {}
    step = max(_WORDS // len(baskets), 1)
    counts = np.concatenate([
        _n_bits(baskets & bits[candidates[i : i + step]]) for i in range(0, len(candidates), step)
    ])  # fmt: skip
    enough = counts >= min_count
    return dict(zip(candidates[enough].tolist(), counts[enough].tolist(), strict=True))


def _n_bits(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the number of bits that are set in each row."""
    n_bits: NDArray[np.int64] = np.bitwise_count(words).sum(axis=-1, dtype=np.int64)
    return n_bits


def _rules(supports: Mapping[Itemset, float], names: Sequence[str]) -> list[AssociationRule]:
    """Return the rules of sufficient confidence and lift whose antecedents all contribute."""
    rules: dict[tuple[Itemset, int], AssociationRule] = {}
    for itemset in sorted(supports, key=len):
        for consequent in itemset if len(itemset) > 1 else ():
            antecedents = tuple(item for item in itemset if item != consequent)
            confidence = supports[itemset] / supports[antecedents]
            lift = confidence / supports[(consequent,)]
            if confidence < MIN_CONFIDENCE or lift < MIN_LIFT:
                continue
            rules[antecedents, consequent] = AssociationRule(
                antecedents=tuple(sorted(names[item] for item in antecedents)),
                consequents=(names[consequent],),
                support=supports[itemset],
                confidence=confidence,
                lift=lift,
            )
    return [
        rule
        for (antecedents, consequent), rule in rules.items()
        if len(antecedents) == 1
        or rule.confidence
        >= MIN_GAIN
        * max(
            single.confidence if (single := rules.get(((item,), consequent))) else 0.0
            for item in antecedents
        )
    ]


def _select(rules: Sequence[AssociationRule]) -> list[AssociationRule]:
    """Return the rules of the highest lift; each product is in the first of its rules only."""
    order = sorted(rules, key=lambda r: (-r.lift, -r.support, r.antecedents, r.consequents))
    seen: set[str] = set()
    selected = []
    for rule in order:
        products = {*rule.antecedents, *rule.consequents}
        if seen.isdisjoint(products):
            selected.append(rule)
            seen |= products
    return selected[:MAX_RULES]
