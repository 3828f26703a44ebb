"""From the matrix of the features to the rows that are clustered; see `FeatureTransform`."""

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.feature_transform import LOG1P, YEO_JOHNSON, FeatureTransform, Projection
from gpuseg.exports.onnx.elementwise import log1p, yeo_johnson
from gpuseg.exports.onnx.graph import Graph


def prepared_columns(graph: Graph, features: str, transform: FeatureTransform) -> list[str]:
    """Return the columns of the rows that are clustered, each (rows, 1)."""
    x = features
    is_filled = ~np.isnan(transform.fill)
    if is_filled.any():
        x = graph("Where", graph("IsNaN", x), transform.fill.astype(np.float64), x)
    if transform.clip is not None:
        low, high = transform.clip.astype(np.float64)
        x = graph("Where", graph("Less", x, low), low, x)
        x = graph("Where", graph("Greater", x, high), high, x)
    x = _transformed(graph, x, transform)
    z = graph.rounded(graph.scaled("Div", graph("Sub", x, transform.shift), transform.scale))
    columns = graph.single_columns(z, transform.n_features)
    if transform.projection is not None:
        z = _projected(graph, columns, transform.projection)
        columns = graph.single_columns(z, transform.n_columns)
    if transform.unit:
        squares = [graph("Mul", column, column) for column in columns]
        length = graph("Sqrt", added(graph, squares))
        columns = [graph.rounded(graph("Div", column, length)) for column in columns]
    return columns


def added(graph: Graph, terms: list[str]) -> str:
    """Return the sum of terms, added in their order."""
    total = terms[0]
    for term in terms[1:]:
        total = graph("Add", total, term)
    return total


def _transformed(graph: Graph, x: str, transform: FeatureTransform) -> str:
    """Return the matrix with log1p and Yeo-Johnson applied to the features that have them."""
    parts: list[str] = []
    order: list[NDArray[np.int64]] = []
    for code in np.unique(transform.transform).tolist():
        positions = np.flatnonzero(transform.transform == code)
        part = x if len(positions) == transform.n_features else graph.columns(x, positions)
        if code == LOG1P:
            part = graph.rounded(log1p(graph, part))
        elif code == YEO_JOHNSON:
            part = yeo_johnson(graph, part, transform.powers()[positions])
        parts.append(part)
        order.append(positions)
    if len(parts) == 1:
        return parts[0]
    return graph.columns(graph.joined(parts), np.argsort(np.concatenate(order)))


def _projected(graph: Graph, columns: list[str], projection: Projection) -> str:
    """Return the principal components, (rows, p)."""
    terms = []
    for f, column in enumerate(columns):
        deviation = graph("Sub", column, float(projection.mean[f]))
        component = np.ascontiguousarray(projection.components[:, f])
        terms.append(graph.scaled("Mul", deviation, component))
    return graph.rounded(added(graph, terms))
