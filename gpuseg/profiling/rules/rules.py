"""Each segment's rule, in words and in SQL, from a tree that tells the segments apart."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.numerics.intervals import Z_95
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.profiling.rules.rule_language import Feature, features_of
from gpuseg.profiling.rules.surrogate_tree import Bound, Node, assigned, grow, paths
from gpuseg.profiling.sample import Sample

Told = tuple[Mapping[str, Any], dict[int, dict[str, Any]]]


def rules(sample: Sample, encoders: Sequence[Encoder], fill: NDArray[np.float32]) -> Told | None:
    """Return what the tree says as a whole, and of each segment; None where there is no tree.

    Parameters
    ----------
    fill : float32 (d,)
        What stands in for missing values, NaN where none is missing.

    Returns
    -------
    dict
        ``sql``: an expression for the segment of a row of the input; ``fidelity``: the share of
        the sample for whom it is right, ``fidelity_error`` half its 95 % interval; ``of`` whom.
    dict of int to dict
        For each segment that has a rule: ``text``; ``sql``, a condition; ``precision``: the share
        of those who meet it that are of the segment; ``coverage``: of the segment, that meets it;
        ``main``: the same of the condition that most customers meet.
    """
    filled = np.where(np.isnan(sample.x), fill, sample.x)
    names = list(sample.features)
    there = {name: float(v) for name, v in zip(names, fill, strict=True) if not np.isnan(v)}
    sayable = features_of(encoders, there)
    kept = [f for f, name in enumerate(names) if name in sayable]
    x = filled[:, kept]
    complete = np.isfinite(x).all(axis=1)
    x, label = x[complete], sample.label[complete]
    if not kept or len(np.unique(label)) < 2:
        return None
    features = [_seen(sayable[names[f]], x[:, i]) for i, f in enumerate(kept)]
    tree = grow(x, label)
    found = assigned(tree, x)
    fidelity = float((found == label).mean())
    spread = math.sqrt(fidelity * (1 - fidelity) / len(label))
    whole: dict[str, Any] = {
        "fidelity": fidelity,
        "fidelity_error": 0.0 if sample.is_whole else Z_95 * spread,
        "of": sample.said(),
        "sql": _case(tree, features),
    }
    leaves = sorted(paths(tree), key=lambda leaf: -int(_meet(leaf[1], x).sum()))
    return whole, {
        segment: _of_segment(
            [bounds for leaf, bounds in leaves if leaf == segment], features, x, label == segment
        )
        for segment in sorted({segment for segment, _ in leaves})
    }


def _meet(bounds: Sequence[Bound], x: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which rows are within bounds."""
    met = np.ones(len(x), bool)
    for own in bounds:
        values = x[:, own.feature].astype(np.float64)
        met &= (values > own.low) & (values <= own.high)
    return met


def _seen(feature: Feature, values: NDArray[np.float32]) -> Feature:
    return replace(feature, whole=bool((values == np.rint(values)).all()))


def _case(tree: Node, features: Sequence[Feature]) -> str:
    """Return the tree as one expression."""
    leaves = [(segment, _condition(bounds, features)) for segment, bounds in paths(tree)]
    if len(leaves) == 1:
        return str(leaves[0][0])
    cases = [f"  WHEN {condition} THEN {segment}" for segment, condition in leaves[:-1]]
    return "\n".join(["CASE", *cases, f"  ELSE {leaves[-1][0]}", "END"])


def _of_segment(
    leaves: Sequence[Sequence[Bound]],
    features: Sequence[Feature],
    x: NDArray[np.float32],
    members: NDArray[np.bool_],
) -> dict[str, Any]:
    """Return the rule of a segment, those conditions first that most customers meet."""
    conditions = [_condition(bounds, features) for bounds in leaves]
    met = [_meet(bounds, x) for bounds in leaves]
    said = [_sentence(bounds, features) for bounds in leaves]
    return {
        "text": "; or ".join(said),
        "sql": conditions[0] if len(leaves) == 1 else " OR ".join(f"({c})" for c in conditions),
        **_right(np.any(met, axis=0), members),
        "main": {"text": said[0], **_right(met[0], members)},
    }


def _right(met: NDArray[np.bool_], members: NDArray[np.bool_]) -> dict[str, float]:
    """Return how many who meet a condition are members, and how many members meet it."""
    both = int((met & members).sum())
    return {
        "precision": both / max(int(met.sum()), 1),
        "coverage": both / max(int(members.sum()), 1),
    }


def _condition(bounds: Sequence[Bound], features: Sequence[Feature]) -> str:
    return " AND ".join(features[own.feature].in_sql(own) for own in bounds) or "1 = 1"


def _sentence(bounds: Sequence[Bound], features: Sequence[Feature]) -> str:
    return ", ".join(features[own.feature].in_words(own) for own in bounds) or "everyone"
