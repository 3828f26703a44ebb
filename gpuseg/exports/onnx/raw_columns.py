"""From the raw columns, which are the inputs, to the matrix of the features."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gpuseg.errors import ConfigError
from gpuseg.exports.feature_sources import FeatureSource, Lookup, feature_sources
from gpuseg.exports.onnx.graph import DOUBLE, INT64, ML_DOMAIN, STRING, Graph
from gpuseg.preprocessing.encoding.encoder import MISSING
from gpuseg.preprocessing.pipeline import FeaturePipeline
from gpuseg.printable import shortened

MISSING_INTEGER = int(np.iinfo(np.int64).min)
"""In place of a missing category among whole numbers and booleans."""

_WHOLE_NUMBER, _MAX_DIGITS = re.compile(r"0|-?[1-9][0-9]*"), 20

_TYPES = {"text": STRING, "whole numbers": INT64, "booleans": INT64}
"""Types of the inputs of categories."""


@dataclass(frozen=True)
class InputColumn:
    """A column of the rows, and the input that takes it.

    Attributes
    ----------
    column, input : str
        The names differ only where the column has the name of an output, or none.
    values : {"numbers", "vectors", "text", "whole numbers", "booleans"}
    missing : str, int or None
        Stands for a missing value; None is NaN.
    sources : tuple of FeatureSource
        The features that are made from the column.
    """

    column: str
    input: str
    values: str
    missing: str | int | None
    sources: tuple[FeatureSource, ...]

    @property
    def width(self) -> int:
        """Values of a row."""
        encoder = self.sources[0].encoder
        return int(np.prod(encoder.shape)) if self.values == "vectors" else 1

    @property
    def meaning(self) -> str:
        """What the input takes, in words."""
        missing = "NaN" if self.missing is None else repr(self.missing)
        kinds = {"booleans": "1 is true, 0 is false", "vectors": "elements in row-major order"}
        return f"{kinds.get(self.values, self.values)}; {missing} is a missing value"

    def categories(self) -> tuple[str, ...]:
        """Return the categories that have a number of their own in a feature."""
        lookups = [source.lookup for source in self.sources if source.lookup]
        return tuple(dict.fromkeys(name for lookup in lookups for name in lookup.values))


def input_columns(pipeline: FeaturePipeline, outputs: Sequence[str]) -> list[InputColumn]:
    """Return the inputs of a pipeline; none has the name of an output.

    Raises
    ------
    ConfigError
        For categories that the inputs cannot take.
    """
    sources = feature_sources(pipeline)
    columns = []
    for name in pipeline.columns:
        of_column = tuple(source for source in sources if source.column == name)
        columns.append(_input_column(name, _input_name(name, outputs, pipeline), of_column))
    return columns


def _input_name(column: str, outputs: Sequence[str], pipeline: FeaturePipeline) -> str:
    """Return the name of a column's input: that of the column, unless it is taken or empty."""
    name = column
    while not name or name in outputs or (name != column and name in pipeline.columns):
        name = f"input_{name}"
    return name


def _input_column(name: str, input_name: str, sources: tuple[FeatureSource, ...]) -> InputColumn:
    encoder = next((s.encoder for s in sources if s.lookup), None)
    if encoder is None:
        values = "vectors" if sources[0].encoder.shape else "numbers"
        return InputColumn(name, input_name, values, None, sources)
    values = encoder.value_type or "text"
    if any(s.encoder.kind in ("number", "vector") for s in sources):
        raise _unsupported(name, "numbers and categories at once")
    if values != "text":
        column = InputColumn(name, input_name, values, MISSING_INTEGER, sources)
        for category in column.categories() if values == "whole numbers" else ():
            if _WHOLE_NUMBER.fullmatch(category) and not _is_integer(category):
                raise _unsupported(name, f"the category {shortened(category)}, beyond 64 bits")
        return column
    missing = MISSING
    column = InputColumn(name, input_name, values, missing, sources)
    while missing in column.categories():
        missing = f"({missing})"
    return InputColumn(name, input_name, values, missing, sources)


def _is_integer(category: str) -> bool:
    """Return whether an input of 64 bits can have a category; no number is written as "07"."""
    if not _WHOLE_NUMBER.fullmatch(category) or len(category) > _MAX_DIGITS:
        return False
    return MISSING_INTEGER < int(category) < 2**63


def _unsupported(name: str, problem: str) -> ConfigError:
    return ConfigError(
        "export.unsupported_column", f"column '{name}' has {problem}", value="onnx",
        hint="score with gpuseg score, gpuseg serve, or the format 'mlflow'", parameter="to",
    )  # fmt: skip


def feature_matrix(graph: Graph, columns: Sequence[InputColumn], features: Sequence[str]) -> str:
    """Add the inputs; return the features, float64 with the precision of float32, (rows, d).

    Missing values are NaN. What gpuseg refuses is infinite.
    """
    inputs = {
        c.column: graph.add_input(c.input, _TYPES.get(c.values, DOUBLE), c.width, c.meaning)
        for c in columns
    }
    parts: list[tuple[list[str], str]] = []
    numeric = [column for column in columns if column.values not in _TYPES]
    if any(s.encoder.kind != "is missing" for column in numeric for s in column.sources):
        parts.append(_numbers(graph, numeric, inputs))
    for column in columns:
        gaps = [s.name for s in column.sources if s.encoder.kind == "is missing"]
        if column.values in _TYPES:
            names = [source.name for source in column.sources]
            parts.append((names, _categories(graph, column, inputs[column.column])))
        elif gaps:
            parts.append((gaps, _gap(graph, inputs[column.column])))
    names = [name for part, _ in parts for name in part]
    matrix = graph.joined([value for _, value in parts])
    if names == list(features):
        return matrix
    return graph.columns(matrix, np.array([names.index(name) for name in features], np.int64))


def _numbers(
    graph: Graph, columns: Sequence[InputColumn], inputs: Mapping[str, str]
) -> tuple[list[str], str]:
    """Return the features that are numbers or elements of vectors, and their names."""
    names, positions, origins = [], [], []
    start = 0
    for column in columns:
        for source in column.sources:
            if source.encoder.kind != "is missing":
                names.append(source.name)
                positions.append(start + source.element)
                origins.append(source.origin)
        start += column.width
    values = graph.joined([inputs[column.column] for column in columns])
    if positions != list(range(start)):
        values = graph.columns(values, np.array(positions, np.int64))
    if any(origins):
        values = graph("Sub", values, np.array(origins))
    return names, graph.rounded(values)


def _gap(graph: Graph, value: str) -> str:
    """Return 1 for the rows in which a value of the column is missing, else 0, (rows, 1)."""
    gaps = graph.cast(graph("IsNaN", value), DOUBLE)
    return graph("ReduceMax", gaps, np.array([1]), keepdims=1)


def _categories(graph: Graph, column: InputColumn, value: str) -> str:
    """Return the features of a column of categories, each looked up by the code of the category."""
    categories = column.categories()
    codes = {name: code for code, name in enumerate(categories)}
    n = len(codes)
    otherwise, missing, refused = n, n + 1, n + 2
    table = np.empty((n + 3, len(column.sources)), np.float32)
    for j, source in enumerate(column.sources):
        lookup = source.lookup or Lookup({}, 0.0, 1.0)  # where the column is missing
        table[:, j] = lookup.otherwise
        for name, number in lookup.values.items():
            table[codes[name], j] = number
        table[missing, j], table[refused, j] = lookup.missing, np.inf
    if column.values == "text":
        keys = {"keys_strings": [*categories, column.missing]}
        numbers, default = [*range(n), missing], otherwise
    elif column.values == "whole numbers":
        possible = [name for name in categories if _is_integer(name)]
        keys = {"keys_int64s": [*map(int, possible), MISSING_INTEGER]}
        numbers, default = [*(codes[name] for name in possible), missing], otherwise
    else:
        keys = {"keys_int64s": [0, 1, MISSING_INTEGER]}
        numbers = [codes.get("false", otherwise), codes.get("true", otherwise), missing]
        default = refused
    code = graph(
        "LabelEncoder", value, domain=ML_DOMAIN, values_int64s=numbers, default_int64=default,
        **keys,
    )  # fmt: skip
    rows = graph("Reshape", code, np.array([-1]))
    return graph.cast(graph("Gather", table, rows, axis=0), DOUBLE)
