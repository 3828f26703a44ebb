"""The columns that a model needs, for requests that have them in another form than objects."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gpuseg.preprocessing.encoding.vectors import Shape, element_names
from gpuseg.preprocessing.pipeline import FeaturePipeline

ColumnKind = Literal["number", "text", "whole numbers", "booleans", "no values", "vector"]


@dataclass(frozen=True)
class RequestColumn:
    """A column of the rows that are scored.

    Attributes
    ----------
    name : str
    kind : {"number", "text", "whole numbers", "booleans", "no values", "vector"}
        What its values are; "no values": every value was missing at the fit.
    shape : tuple of int
        Of a vector.
    """

    name: str
    kind: ColumnKind
    shape: Shape = ()

    @property
    def width(self) -> int:
        """Plain values that one value of it takes in a row of plain values."""
        return math.prod(self.shape)

    @property
    def flat_names(self) -> Sequence[str]:
        """The names of these plain values."""
        return element_names(self.name, self.shape) if self.kind == "vector" else (self.name,)


def request_columns(pipeline: FeaturePipeline) -> tuple[RequestColumn, ...]:
    """Return the columns that rows must have, in the order of `pipeline.columns`."""
    return tuple(_request_column(pipeline, name) for name in pipeline.columns)


def _request_column(pipeline: FeaturePipeline, name: str) -> RequestColumn:
    kind: ColumnKind = "number"
    for encoder in (e for e in pipeline.encoders if e.column == name):
        if encoder.shape:
            return RequestColumn(name, "vector", encoder.shape)
        if encoder.kind not in ("number", "is missing"):
            match encoder.value_type:
                case "text" | "whole numbers" | "booleans":
                    kind = encoder.value_type
                case _:
                    kind = "no values"
    return RequestColumn(name, kind)
