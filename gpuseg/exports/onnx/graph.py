"""Build an ONNX graph, node by node."""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Operand = str | float | NDArray[Any]
"""The name of a value, or a constant; a float is a float64."""

DOUBLE, FLOAT, BOOL = TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.BOOL
INT32, INT64, STRING = TensorProto.INT32, TensorProto.INT64, TensorProto.STRING

ROWS = "rows"
"""The name of the dimension that each call may choose."""

ML_DOMAIN = "ai.onnx.ml"

_NEAR_ONE = 0.01


class Graph:
    """Nodes, constants, inputs and outputs of a graph.

    Parameters
    ----------
    reserved : iterable of str
        Names that nothing inside the graph may have, such as those of its inputs.
    """

    def __init__(self, reserved: Iterable[str]) -> None:
        self._reserved = set(reserved)
        self._n_names = 0
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._initializers: list[onnx.TensorProto] = []

    def add_input(self, name: str, kind: int, width: int, meaning: str) -> str:
        """Add an input of so many values a row, and return its name."""
        shape: list[str | int] = [ROWS, width]
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape, meaning))
        return name

    def add_output(self, name: str, value: str, kind: int, meaning: str) -> None:
        """Let an output be a value, of shape (rows,)."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, kind, [ROWS], meaning))

    def __call__(self, op: str, *operands: Operand, domain: str = "", **attributes: Any) -> str:
        """Add a node with one result, and return its name."""
        (result,) = self.split(op, *operands, n_results=1, domain=domain, **attributes)
        return result

    def split(
        self, op: str, *operands: Operand, n_results: int, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Add a node, and return the names of its results."""
        inputs = [self.constant(operand) for operand in operands]
        results = [self._new_name(op) for _ in range(n_results)]
        self._nodes.append(helper.make_node(op, inputs, results, domain=domain, **attributes))
        return results

    def constant(self, operand: Operand) -> str:
        """Return the name of an operand; equal constants are one."""
        if isinstance(operand, str):
            return operand
        array = np.array(operand, np.float64) if isinstance(operand, float) else operand
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._new_name("constant")
            self._initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def cast(self, value: str, kind: int) -> str:
        """Return a value as another type."""
        return self("Cast", value, to=kind)

    def rounded(self, value: str) -> str:
        """Return a float64 value rounded to float32, as float64."""
        return self.cast(self.cast(value, FLOAT), DOUBLE)

    def scaled(self, op: Literal["Mul", "Div"], value: str, factor: NDArray[np.float64]) -> str:
        """Return a value times or by a constant.

        onnxruntime drops a product or quotient with one number that is 1 up to 1e-7. So this takes
        twice the number, and undoes that, both of which are exact.
        """
        if factor.size > 1 or factor.item() == 1.0 or abs(factor.item() - 1.0) > _NEAR_ONE:
            return self(op, value, factor)
        return self("Mul", self(op, value, 2.0 * factor), 0.5 if op == "Mul" else 2.0)

    def columns(self, value: str, positions: NDArray[np.int64]) -> str:
        """Return some columns of a matrix, in another order."""
        return self("Gather", value, positions, axis=1)

    def joined(self, values: list[str]) -> str:
        """Return matrices side by side."""
        return values[0] if len(values) == 1 else self("Concat", *values, axis=1)

    def single_columns(self, value: str, width: int) -> list[str]:
        """Return each column of a matrix, as (rows, 1)."""
        if width == 1:
            return [value]
        return self.split("Split", value, np.ones(width, np.int64), n_results=width, axis=1)

    def finish(self, name: str) -> onnx.GraphProto:
        """Return the graph."""
        return helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, initializer=self._initializers
        )

    def _new_name(self, op: str) -> str:
        self._n_names += 1
        name = f"{op}_{self._n_names}"
        return self._new_name(op) if name in self._reserved else name
