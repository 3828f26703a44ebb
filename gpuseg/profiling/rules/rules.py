"""The rule of each segment, in words and in SQL, from a surrogate tree."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.manifest import NOT_DESCRIBED, RuleQuality, SegmentRule, SurrogateRules
from gpuseg.numerics.intervals import Z_95
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.profiling.rules.rule_language import RuleFeature, rule_features
from gpuseg.profiling.rules.surrogate_tree import Bound, Leaf, Node, fit_tree, paths, predict
from gpuseg.profiling.sample import ProfilingSample


class SegmentRules(NamedTuple):
    """The rules for all segments as one expression, and the rule of each segment that has one."""

    surrogate: SurrogateRules
    by_segment: dict[int, SegmentRule]


def segment_rules(
    sample: ProfilingSample,
    encoders: Sequence[Encoder],
    fill: NDArray[np.float32],
    columns: Sequence[str] = (),
) -> SegmentRules | None:
    """Return the rules, or None where there is no tree.

    Customers of segments that are not described are one class of the tree: a rule is as precise
    as it is among all customers. The expression is NULL for them.

    Parameters
    ----------
    fill : float32 (d,)
        Values that replace missing ones, NaN for features in which none is missing.
    columns : sequence of str
        All columns of the input.
    """
    filled = np.where(np.isnan(sample.x), fill, sample.x)
    names = list(sample.features)
    fill_by_name = {
        name: float(value) for name, value in zip(names, fill, strict=True) if not np.isnan(value)
    }
    expressible = rule_features(encoders, fill_by_name, names, columns)
    kept = [f for f, name in enumerate(names) if name in expressible]
    x = filled[:, kept]
    complete = np.isfinite(x).all(axis=1)
    x, label = x[complete], sample.label[complete]
    if not kept or len(np.unique(label)) < 2:
        return None
    features = [
        _with_values(expressible[names[f]], x[:, i].astype(np.float64)) for i, f in enumerate(kept)
    ]
    tree = fit_tree(x, label)
    if tree == Leaf(NOT_DESCRIBED):
        return None
    fidelity = float((predict(tree, x) == label).mean())
    error = math.sqrt(fidelity * (1 - fidelity) / len(label))
    surrogate = SurrogateRules(
        fidelity=fidelity,
        fidelity_error=0.0 if sample.is_complete else Z_95 * error,
        sample=sample.describe(),
        sql=_case(tree, features),
    )
    leaves = sorted(paths(tree), key=lambda leaf: -int(_matches(leaf[1], x).sum()))
    by_segment = {
        number: _segment_rule(
            [bounds for segment, bounds in leaves if segment == number],
            features, x, label == number,
        )
        for number in sorted({segment for segment, _ in leaves} - {NOT_DESCRIBED})
    }  # fmt: skip
    return SegmentRules(surrogate, by_segment)


def _matches(bounds: Sequence[Bound], x: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which rows are within all bounds."""
    match = np.ones(len(x), bool)
    for bound in bounds:
        values = x[:, bound.feature].astype(np.float64)
        match &= (values > bound.low) & (values <= bound.high)
    return match


def _with_values(feature: RuleFeature, values: NDArray[np.float64]) -> RuleFeature:
    """Return the feature, marked as an integer where all its values are whole numbers."""
    in_units = values + feature.origin
    return replace(feature, is_integer=bool((in_units == np.rint(in_units)).all()))


def _case(tree: Node, features: Sequence[RuleFeature]) -> str:
    """Return the tree as one SQL expression."""
    leaves = [
        ("NULL" if segment == NOT_DESCRIBED else segment, _condition(bounds, features))
        for segment, bounds in paths(tree)
    ]
    if len(leaves) == 1:
        return str(leaves[0][0])
    cases = [f"  WHEN {condition} THEN {segment}" for segment, condition in leaves[:-1]]
    return "\n".join(["CASE", *cases, f"  ELSE {leaves[-1][0]}", "END"])


def _segment_rule(
    leaves: Sequence[Sequence[Bound]],
    features: Sequence[RuleFeature],
    x: NDArray[np.float32],
    members: NDArray[np.bool_],
) -> SegmentRule:
    """Return the rule of a segment: its leaves, in their order, joined by "or"."""
    conditions = [_condition(bounds, features) for bounds in leaves]
    matches = [_matches(bounds, x) for bounds in leaves]
    texts = [_sentence(bounds, features) for bounds in leaves]
    whole = _quality("; or ".join(texts), np.any(matches, axis=0), members)
    sql = conditions[0] if len(leaves) == 1 else " OR ".join(f"({c})" for c in conditions)
    return SegmentRule(
        text=whole.text,
        precision=whole.precision,
        coverage=whole.coverage,
        sql=sql,
        main=_quality(texts[0], matches[0], members),
    )


def _quality(text: str, match: NDArray[np.bool_], members: NDArray[np.bool_]) -> RuleQuality:
    """Return a condition with its precision and coverage."""
    both = int((match & members).sum())
    return RuleQuality(
        text=text,
        precision=both / max(int(match.sum()), 1),
        coverage=both / max(int(members.sum()), 1),
    )


def _condition(bounds: Sequence[Bound], features: Sequence[RuleFeature]) -> str:
    return " AND ".join(features[bound.feature].in_sql(bound) for bound in bounds) or "1 = 1"


def _sentence(bounds: Sequence[Bound], features: Sequence[RuleFeature]) -> str:
    return ", ".join(features[bound.feature].in_words(bound) for bound in bounds) or "everyone"
