"""A segmentation as JSON: its centers and its preparation in plain numbers.

docs/guide/export.md describes each key, and how a row is scored with them.
"""

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg import __version__
from gpuseg.backends.feature_transform import TRANSFORMS, YEO_JOHNSON, FeatureTransform
from gpuseg.exports.center_model import CenterModel
from gpuseg.exports.export_format import ExportedFiles, ExportFormat, ExportOptions, Layout
from gpuseg.exports.feature_sources import FeatureSource, feature_sources
from gpuseg.manifest import Manifest
from gpuseg.models.described_model import DescribedModel
from gpuseg.models.hierarchical import HierarchicalModel
from gpuseg.preprocessing.pipeline import FeaturePipeline

JSON_FORMAT = 1
"""Number of this format; it rises when a key is renamed, moved or removed."""


def json_files(source: DescribedModel, options: ExportOptions) -> ExportedFiles:
    """Return the model as one file of JSON.

    Raises
    ------
    ConfigError
        For an algorithm without centers.
    """
    text = json.dumps(json_model(source), indent=1, allow_nan=False)
    return {"segments.json": f"{text}\n".encode()}


def json_model(source: DescribedModel) -> dict[str, Any]:
    """Return the model as values of JSON.

    Raises
    ------
    ConfigError
        For an algorithm without centers.
    """
    model = CenterModel.of(source.model, "json")
    pipeline, transform = model.pipeline, model.pipeline.feature_transform
    projection = transform.projection
    pca = None
    if projection is not None:
        pca = {"mean": _list(projection.mean), "components": _list(projection.components)}
    content = {
        "format": JSON_FORMAT,
        "gpuseg": __version__,
        "run_id": source.run_id,
        "algorithm": source.model.name,
        "columns": _columns(pipeline),
        "drops_missing": pipeline.drops_missing,
        "features": [
            _feature(feature, transform, f) for f, feature in enumerate(feature_sources(pipeline))
        ],
        "pca": pca,
        "unit_length": transform.unit,
        "centers": _list(model.centers),
        "centers_in_input_units": _list(transform.inverse(model.centers)),
        "segment_of_center": model.segment.tolist(),
        "segments": _segments(source.manifest, model),
    }
    if isinstance(source.model, HierarchicalModel):
        content["levels"] = {name: labels.tolist() for name, labels in model.levels.items()}
        content["merges"] = _list(source.model.hierarchy.merges)
    return content


def _columns(pipeline: FeaturePipeline) -> list[dict[str, Any]]:
    """Return the columns that a row must have, and their values."""
    columns: dict[str, dict[str, Any]] = {}
    for source in feature_sources(pipeline):
        column: dict[str, Any] = {"name": source.column}
        if source.lookup is not None:
            column["values"] = source.encoder.value_type or "text"
        elif source.encoder.shape:
            column |= {"values": "vectors", "shape": list(source.encoder.shape)}
        else:
            column["values"] = "numbers"
        columns.setdefault(source.column, column)
    return [columns[name] for name in pipeline.columns]


def _feature(source: FeatureSource, transform: FeatureTransform, f: int) -> dict[str, Any]:
    """Return how a feature is made from its column, in the order of the steps."""
    low, high = transform.bounds()[:, f].tolist()
    code = int(transform.transform[f])
    return {
        "name": source.name,
        "column": source.column,
        **_value_of_column(source),
        "fill": _number(float(transform.fill[f])),
        "clip": [_number(low), _number(high)],
        "transform": TRANSFORMS[code],
        "power": float(transform.powers()[f]) if code == YEO_JOHNSON else None,
        "shift": float(transform.shift[f]),
        "scale": float(transform.scale[f]),
    }


def _value_of_column(source: FeatureSource) -> dict[str, Any]:
    """Return how the value of the column becomes a number."""
    kind = source.encoder.kind
    if source.lookup is not None:
        values = {name: _number(value) for name, value in source.lookup.values.items()}
        return {
            "from": "category",
            "categories": values,
            "otherwise": _number(source.lookup.otherwise),
            "missing": _number(source.lookup.missing),
        }
    if kind == "is missing":
        return {"from": "gap"}
    if kind == "vector":
        return {"from": "element", "element": source.element, "origin": source.origin}
    return {"from": "number", "origin": source.origin}


def _segments(manifest: Manifest | None, model: CenterModel) -> list[dict[str, Any]]:
    """Return what is known of each segment, by number."""
    known = {} if manifest is None else {item.segment: item for item in manifest.segments}
    segments = []
    for number in np.unique(model.segment).tolist():
        item = known.get(number)
        segments.append(
            {
                "segment": number,
                "name": item and item.name,
                "size": item and item.size,
                "share": item and item.share,
            }
        )
    return segments


def _list(array: NDArray[np.float64]) -> list[Any]:
    """Return an array as lists of numbers; what is not finite is null."""
    if array.ndim > 1:
        return [_list(row) for row in array]
    return [_number(value) for value in array.tolist()]


def _number(value: float) -> float | None:
    """Return a number that JSON has; NaN and infinity are null."""
    return value if math.isfinite(value) else None


FORMAT = ExportFormat("json", Layout.TEXT, json_files)
