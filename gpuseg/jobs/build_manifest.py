"""The manifest: what was done, with what, to what, in how many seconds. Report and table use it."""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from gpuseg import __version__
from gpuseg.backends.cuda import gpus
from gpuseg.backends.feature_transform import TRANSFORMS, YEO_JOHNSON, FeatureTransform
from gpuseg.io.output.assignments import Part
from gpuseg.jobs.environment import versions
from gpuseg.jobs.job import JobSpec
from gpuseg.jobs.plan import SegmentationPlan
from gpuseg.jobs.reader_choice import Reader
from gpuseg.jobs.stages.profile import Seen, described
from gpuseg.preprocessing.encoding.encoder import MISSING, OTHER, Encoder
from gpuseg.preprocessing.fit import PreprocessingFit
from gpuseg.profiling.audit.audit import audit
from gpuseg.profiling.naming import named
from gpuseg.segmentation.base import SegmentationResult

FORMAT = 1


@dataclass(frozen=True)
class Facts:
    """Everything a manifest is made from."""

    spec: JobSpec
    plan: SegmentationPlan
    reader: Reader
    prepared: PreprocessingFit
    outcome: SegmentationResult
    parts: Sequence[Part]
    digest: int
    executor: Mapping[str, Any]
    warnings: Sequence[str]
    seen: Seen
    transactions: Mapping[str, Any] | None = None
    encoders: Sequence[Encoder] = ()

    @property
    def averages_are_customers(self) -> bool:
        """Whether the averages of segments are those of customers."""
        return self.plan.dataset.weight is None and not self.prepared.feature_transform.unit


def _audited(facts: Facts) -> dict[str, Any]:
    """Return how the make-up of the segments differs in the columns that are audited."""
    counts, segments = facts.seen.audited, list(facts.outcome.segments)
    threshold = facts.spec.audit.threshold
    found = {name: audit(own, segments, threshold) for name, own in counts.items()}
    return {"audit": found} if found else {}


Told = tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]
"""What is told of the segments together, and of each."""


def build(
    facts: Facts, told: Told, run_id: str, started: datetime, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Return the manifest; all values are JSON's own."""
    job = facts.spec.redacted(facts.plan.dataset.features)
    choice = facts.plan.backend
    portrait, segments = told
    return {
        "format": FORMAT,
        "gpuseg": __version__,
        "run_id": run_id,
        "started": f"{started:%Y-%m-%dT%H:%M:%SZ}",
        "job": job,
        **({"transactions": dict(facts.transactions)} if facts.transactions else {}),
        "input": _input(facts),
        "backend": {"name": choice.name, "why": choice.why},
        "reader": facts.reader.describe(),
        "devices": _devices(facts),
        "executor": dict(facts.executor),
        "versions": {
            "python": platform.python_version(),
            **versions(),
        },
        "result": dict(facts.outcome.facts),
        "sweep": [dict(line) for line in facts.outcome.sweep],
        "seconds": rounded(seconds),
        "features": _features(facts),
        "preparation": _preparation(facts),
        "portrait": dict(portrait),
        **_audited(facts),
        "segments": [dict(segment) for segment in segments],
        "parts": [
            {"name": part.name, "rows": part.rows, "bytes": part.bytes} for part in facts.parts
        ],
        "warnings": list(facts.warnings),
    }


def _devices(facts: Facts) -> list[str]:
    """Return what the run ran on; GPUs are those of the caller's machine."""
    own = facts.executor
    each = f"{own['n_workers']} workers × {own['threads_per_worker']} threads"
    gpu_names = gpus.devices() if facts.plan.backend.name == "cuda" else []
    return [
        *(f"cpu: {machine}, {each}" for machine in own["machines"]),
        *(f"gpu: {g}" for g in gpu_names),
    ]


def rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds of each stage and of all so far, to the millisecond.

    In the manifest that is up to publishing, which comes after it.
    """
    stages = {name: round(value, 3) for name, value in seconds.items()}
    return {**stages, "total": round(sum(seconds.values()), 3)}


def _input(facts: Facts) -> dict[str, Any]:
    dataset, rows = facts.plan.dataset, facts.prepared.raw.rows
    return {
        "path": dataset.storage.url,
        "files": len(dataset.files),
        "row_groups": dataset.row_groups,
        "rows": rows,
        "rows_dropped": dataset.rows - rows,
        "fingerprint": {"files": dataset.fingerprint(), "content": _content_hash(facts)},
    }


def _content_hash(facts: Facts) -> str:
    """Hash names, features and weights as read; the same however the rows are filed."""
    dataset = facts.plan.dataset
    content = repr((dataset.features, dataset.weight, dataset.rows, facts.digest))
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


def _features(facts: Facts) -> dict[str, Any]:
    prepared = facts.prepared
    p, raw = prepared.feature_transform, prepared.raw
    mean = p.undo_transform(prepared.mean)
    phrases = _phrases(facts.encoders)
    frequencies = [e.column for e in facts.encoders if e.kind == "frequency"]
    looked_at = np.where(p.transform == YEO_JOHNSON, 0, p.transform)  # those as they were
    ends = replace(p, transform=looked_at).undo_transform
    low, high = ends(np.array([raw.minimum, raw.maximum]))
    return {
        name: {
            "mean": float(mean[f]),
            "std": float(prepared.std[f]),
            "min": float(low[f]),
            "max": float(high[f]),
            "missing": int(raw.counts[0, f]),
            "outliers": float(prepared.outliers[f]),
            "fill": None if np.isnan(p.fill[f]) else float(p.fill[f]),
            **(_clip(p, f)),
            "transform": TRANSFORMS[int(p.transform[f])],
            **({"power": float(p.powers()[f])} if p.transform[f] == YEO_JOHNSON else {}),
            "shift": float(p.shift[f]),
            "scale": float(p.scale[f]),
            **({"of_category": phrases[name]} if name in phrases else {}),
            **({"is_frequency": True} if name in frequencies else {}),
        }
        for f, name in enumerate(prepared.features)
    }


def _preparation(facts: Facts) -> dict[str, Any]:
    """Return what was done beyond each feature by itself."""
    prepared, found = facts.prepared, facts.prepared.components
    categories = [
        {
            "column": e.column,
            "as": e.kind,
            "features": e.feature_names(),
            "categories": len(e.categories),
        }
        for e in facts.encoders
        if e.kind != "number"
    ]
    components = {} if found is None else {
        "components": len(found.shares),
        "variance_kept": float(found.shares.sum()),
        "shares": found.shares.tolist(),
    }  # fmt: skip
    return {
        "encoded": categories,
        "dropped": dict(prepared.dropped),
        "redundant": list(prepared.redundant),
        "pca": components or None,
    }


def told(facts: Facts) -> Told:
    """Return the segments with all that is told of them, and what is told of them together.

    They have names and sentences where their averages are those of customers: with weights, and of
    directions, they are not.
    """
    segments, customers = _segments(facts), facts.averages_are_customers
    said: Sequence[Mapping[str, Any]] = [{}] * len(segments)
    if customers:
        said = named(segments, _features(facts))
    whole, added = described(
        facts.seen.sample, facts.prepared, facts.encoders, segments, customers, facts.seen.together
    )
    return whole, [{**a, **b, **c} for a, b, c in zip(segments, said, added, strict=True)]


def _phrases(encoders: Sequence[Encoder]) -> dict[str, str]:
    """Return how to say that a segment is of a category, or lacks a value, feature by feature."""
    said: dict[str, str] = {}
    for e in encoders:
        if e.kind == "is missing":
            said[e.feature_names()[0]] = f"{e.column} missing"
        elif e.kind == "onehot":
            said.update((f"{e.column}={value}", f"{e.column} {value}") for value in e.categories)
            said.update({f"{e.column}={OTHER}": f"other {e.column}"} if e.other else {})
            said.update({f"{e.column}={MISSING}": f"{e.column} missing"} if e.missing else {})
    return said


def _clip(p: FeatureTransform, f: int) -> dict[str, Any]:
    """Return the bounds of a feature, where it has any: categories and flags have none."""
    bounded = p.clip is not None and np.isfinite(p.clip[:, f]).all()
    return {"clip": p.bounds()[:, f].tolist()} if bounded else {}


def _segments(facts: Facts) -> list[dict[str, Any]]:
    prepared, outcome = facts.prepared, facts.outcome
    p, names = prepared.feature_transform, prepared.features
    low, high = p.undo_transform(prepared.extremes)
    scaled = outcome.centers if p.projection is None else p.projection.inverse(outcome.centers)
    transformed = scaled * p.scale + p.shift
    if not p.unit:  # principal components may lead beyond what a bounded transform has values for
        transformed = np.clip(transformed, *prepared.extremes)
    centers = p.undo_transform(transformed)
    if not p.unit:  # rounded, a mean may lie outside its range: no −1e−8 of money
        centers = np.clip(centers, low, high)
    scaled_mean = (prepared.mean - p.shift) / p.scale
    scaled_std = np.where(prepared.std > 0, prepared.std, 1.0) / p.scale
    deviation = (scaled - scaled_mean) / scaled_std
    total = int(outcome.sizes.sum())
    return [
        {
            "segment": segment,
            "size": int(outcome.sizes[i]),
            "share": float(outcome.sizes[i] / total),
            "center": dict(zip(names, centers[i].tolist(), strict=True)),
            "deviation": dict(zip(names, deviation[i].tolist(), strict=True)),
        }
        for i, segment in enumerate(outcome.segments)
    ]
