"""Products that the customers of a segment buy together: FP-growth, as mlxtend has it.

Han, Pei and Yin, "Mining frequent patterns without candidate generation", SIGMOD 2000. A rule says
that of the baskets with some products, a share, its confidence, has another too; its lift is how
many times as many that are as of all baskets of the segment.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_SUPPORT, MIN_BASKETS = 0.01, 20
"""Of the segment's baskets, that a rule must hold in; as a share and as a number."""

MIN_CONFIDENCE, MIN_LIFT = 0.2, 1.2
MIN_GAIN = 1.2
"""By which factor a second product must raise the confidence that the first gives alone."""

_MAX_PRODUCTS, _MAX_TOGETHER, _MAX_RULES = 300, 3, 8


def bought_together(
    basket: NDArray[np.int64], product: NDArray[np.object_]
) -> dict[str, Any] | None:
    """Return how many baskets there are, and the rules of the highest lift.

    Parameters
    ----------
    basket : int64 (n,)
        Of each purchase; no product is twice in one.
    product : str (n,)

    Returns
    -------
    dict or None
        ``baskets``: how many; ``rules``: each with ``of`` and ``also`` (products), ``support``,
        ``confidence`` and ``lift``. None where no two products are bought together often enough.
    """
    n_baskets = len(np.unique(basket))
    least = max(MIN_BASKETS, int(np.ceil(MIN_SUPPORT * n_baskets)))
    names, code, count = np.unique(product.astype(str), return_inverse=True, return_counts=True)
    frequent = np.flatnonzero(count >= least)
    frequent = np.sort(frequent[np.argsort(-count[frequent], kind="stable")[:_MAX_PRODUCTS]])
    if len(frequent) < 2:
        return None
    place = np.full(len(names), -1)
    place[frequent] = np.arange(len(frequent))
    there = place[code] >= 0
    rows = np.unique(basket, return_inverse=True)[1]
    bits = np.zeros((n_baskets, len(frequent)), bool)
    bits[rows[there], place[code[there]]] = True
    found = _rules(bits, names[frequent].tolist(), least / n_baskets)
    return {"baskets": n_baskets, "rules": found} if found else None


def _rules(bits: NDArray[np.bool_], names: Sequence[str], support: float) -> list[dict[str, Any]]:
    import pandas as pd  # two seconds to import with mlxtend, for few runs
    from mlxtend.frequent_patterns import association_rules, fpgrowth

    sets = fpgrowth(pd.DataFrame(bits), min_support=support, max_len=_MAX_TOGETHER)
    if sets["itemsets"].map(len).max() < 2:
        return []
    rules = association_rules(sets, metric="confidence", min_threshold=MIN_CONFIDENCE)
    told: list[dict[str, Any]] = [
        {
            "of": sorted(names[i] for i in row.antecedents),
            "also": sorted(names[i] for i in row.consequents),
            "support": float(row.support),
            "confidence": float(row.confidence),
            "lift": float(row.lift),
        }
        for row in rules.itertuples()
        if row.lift >= MIN_LIFT and len(row.consequents) == 1
    ]
    alone = {
        (own["of"][0], own["also"][0]): own["confidence"] for own in told if len(own["of"]) == 1
    }
    gaining = [own for own in told if _gains(own, alone)]
    order = sorted(gaining, key=lambda own: (-own["lift"], -own["support"], own["of"], own["also"]))
    return _different(order)[:_MAX_RULES]


def _gains(rule: dict[str, Any], alone: Mapping[tuple[str, str], float]) -> bool:
    """Whether a rule says more than one of its products alone does."""
    known = [alone.get((name, rule["also"][0]), 0.0) for name in rule["of"]]
    return len(known) == 1 or rule["confidence"] >= MIN_GAIN * max(known)


def _different(rules: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out rules with a product of a rule before them: they tell of one thing."""
    seen: set[str] = set()
    kept = []
    for rule in rules:
        own = {*rule["of"], *rule["also"]}
        if seen.isdisjoint(own):
            kept.append(rule)
            seen |= own
    return kept
