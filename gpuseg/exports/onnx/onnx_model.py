"""The ONNX model of a segmentation: its graph, its outputs and its metadata."""

import json

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from gpuseg import __version__
from gpuseg.errors import ConfigError
from gpuseg.exports.center_model import CenterModel
from gpuseg.exports.export_format import ExportedFiles, ExportFormat, ExportOptions, Layout
from gpuseg.exports.onnx.graph import FLOAT, INT32, ML_DOMAIN, Graph
from gpuseg.exports.onnx.prepare import added, prepared_columns
from gpuseg.exports.onnx.raw_columns import InputColumn, feature_matrix, input_columns
from gpuseg.models.described_model import DescribedModel
from gpuseg.output_columns import DISTANCE, SEGMENT
from gpuseg.printable import printable

REFUSED = int(np.iinfo(np.int32).min)
"""The segment of a row that gpuseg refuses; its distance is NaN."""

MAX_FEATURES = 5000
"""Most features; each is some nodes of the graph."""

OPSET, _ML_OPSET, IR_VERSION = 20, 3, 9
"""Versions of the operators and of the file. onnxruntime before 1.17 refuses them, which is needed:
its optimizer drops the roundings to float32."""

_ROW = np.array([1])
"""The axis along a row."""


def onnx_files(source: DescribedModel, options: ExportOptions) -> ExportedFiles:
    """Return the model as one ONNX file.

    Raises
    ------
    ConfigError
        For an algorithm without centers, too many features, and categories beyond 64 bits.
    """
    return {"segments.onnx": onnx_model(source).SerializeToString(deterministic=True)}


def onnx_model(source: DescribedModel) -> onnx.ModelProto:
    """Return the model.

    Raises
    ------
    ConfigError
        As `onnx_files`.
    """
    model = CenterModel.of(source.model, "onnx")
    n_features = len(model.pipeline.features)
    if n_features > MAX_FEATURES:
        raise ConfigError(
            "export.too_many_features",
            f"the model has {n_features:,} features",
            value="onnx",
            rule=f"the format takes at most {MAX_FEATURES:,}",
            hint="fit with fewer features, or score with gpuseg score",
            parameter="to",
        )
    outputs = (SEGMENT, DISTANCE, *model.levels)
    columns = input_columns(model.pipeline, outputs)
    graph = Graph([*outputs, *(column.input for column in columns)])
    features = feature_matrix(graph, columns, model.pipeline.features)
    z = prepared_columns(graph, features, model.pipeline.feature_transform)
    _add_outputs(graph, model, z, _is_refused(graph, features, z))
    proto = helper.make_model(
        graph.finish("gpuseg"),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ML_DOMAIN, _ML_OPSET)],
        ir_version=IR_VERSION,
        producer_name="gpuseg",
        producer_version=__version__,
    )
    helper.set_model_props(proto, _metadata(source, model, columns))
    return proto


def _is_refused(graph: Graph, features: str, columns: list[str]) -> str:
    """Return which rows cannot be clustered, bool (rows,)."""
    z = graph.joined(columns)
    is_finite = graph("Less", graph("Abs", z), np.inf)  # false for NaN, too
    refused = [
        graph.cast(graph("IsInf", features), INT32),  # clipping would hide it
        graph.cast(graph("Not", is_finite), INT32),
    ]
    counts = [graph("ReduceMax", part, _ROW, keepdims=0) for part in refused]
    return graph("Greater", graph("Add", *counts), np.array(0, np.int32))


def _add_outputs(graph: Graph, model: CenterModel, columns: list[str], refused: str) -> None:
    """Add the squared distances to the centers, and the outputs that follow from them."""
    terms = []
    for f, column in enumerate(columns):
        difference = graph("Sub", column, np.ascontiguousarray(model.centers[:, f]))
        terms.append(graph("Mul", difference, difference))
    squares = added(graph, terms)
    nearest = graph("ArgMin", squares, axis=1, keepdims=0, select_last_index=0)
    distance = graph.cast(graph("Sqrt", graph("ReduceMin", squares, _ROW, keepdims=0)), FLOAT)

    def label(segments: NDArray[np.int32]) -> str:
        if np.array_equal(segments, np.arange(len(segments))):
            of_center = graph.cast(nearest, INT32)
        else:
            of_center = graph("Gather", segments, nearest)
        return graph("Where", refused, np.array(REFUSED, np.int32), of_center)

    meaning = f"{REFUSED} for a row that cannot be scored"
    graph.add_output(SEGMENT, label(model.segment), INT32, f"the segment; {meaning}")
    distance = graph("Where", refused, np.array(np.nan, np.float32), distance)
    graph.add_output(DISTANCE, distance, FLOAT, "in scaled units; NaN where there is no segment")
    for name, segments in model.levels.items():
        graph.add_output(name, label(segments), INT32, f"the segment at this level; {meaning}")


def _metadata(
    source: DescribedModel, model: CenterModel, columns: list[InputColumn]
) -> dict[str, str]:
    """Return what the file says of itself, by key."""
    inputs = [
        {"column": c.column, "input": c.input, "values": c.values, "missing": c.missing}
        for c in columns
    ]
    names = {str(number): name for number, name in source.segment_names.items()}
    return {
        "gpuseg": __version__,
        "run_id": printable(source.run_id or ""),
        "algorithm": source.model.name,
        "features": json.dumps(list(model.pipeline.features)),
        "inputs": json.dumps(inputs),
        "segment_names": json.dumps(names),
        "refused_segment": str(REFUSED),
    }


FORMAT = ExportFormat("onnx", Layout.BINARY, onnx_files)
