"""The signature of a model: the columns that it reads, and those that it returns.

MLflow converts no 64-bit integers to floating point, and gpuseg reads numbers of any type. So a
column that may come in several types has the type "any", of which MLflow looks at each value by
itself; gpuseg checks the column. With `number_type` "double", MLflow checks a column at once.
"""

from typing import Any, Literal, get_args

from gpuseg.errors import ConfigError
from gpuseg.mlflow.package import import_mlflow
from gpuseg.models.base import SegmentModel
from gpuseg.models.example_row import columns_with_optional_values
from gpuseg.output_columns import CONFIDENCE, DISTANCE, NEXT_SEGMENT, SEGMENT
from gpuseg.preprocessing.encoding.encoder import Encoder

NumberType = Literal["any", "double"]

NEXT_PARAM, CONFIDENCE_PARAM = "next", "confidence"

COLUMN_OF_PARAM = {NEXT_PARAM: NEXT_SEGMENT, CONFIDENCE_PARAM: CONFIDENCE}
"""The column that each parameter of `predict` adds."""


def signature_of(model: SegmentModel, number_type: NumberType = "any") -> Any:
    """Return the signature of a model, as MLflow has it.

    Inputs are optional if the model scores rows without a value there. The parameters of `predict`
    are `next` and `confidence`, for algorithms that have these.

    Parameters
    ----------
    model : SegmentModel
    number_type : {"any", "double"}, default "any"
        The type of columns of numbers.

    Raises
    ------
    ConfigError
        For another type.
    ResourceError
        When MLflow cannot be imported.
    """
    import_mlflow()
    if number_type not in get_args(NumberType):
        raise ConfigError(
            "mlflow.unknown_number_type", value=number_type,
            rule=f"must be one of {', '.join(get_args(NumberType))}", parameter="number_type",
        )  # fmt: skip
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    pipeline = model.pipeline
    optional = columns_with_optional_values(pipeline)
    encoders = {encoder.column: encoder for encoder in reversed(pipeline.encoders)}
    inputs = [
        ColSpec(
            _type_of(encoders[name], name in optional, number_type),
            name,
            required=name not in optional,
        )
        for name in pipeline.columns
    ]
    outputs = [ColSpec("integer", SEGMENT), ColSpec("float", DISTANCE)]
    outputs += [ColSpec("integer", name) for name in model.level_columns()]
    has_next = model.runner_up() is not None
    params = [ParamSpec(name, "boolean", False) for name in COLUMN_OF_PARAM if has_next]
    return ModelSignature(
        inputs=Schema(inputs),
        outputs=Schema(outputs),
        params=ParamSchema(params) if params else None,
    )


def _type_of(encoder: Encoder, is_optional: bool, number_type: NumberType) -> Any:
    from mlflow.types.schema import AnyType

    if encoder.value_type == "text":
        return "string"
    is_number = not (encoder.value_type or encoder.categories or encoder.shape)
    if is_number and number_type == "double":
        return "double"
    # With gaps, pandas has whole numbers as floats, and booleans as objects.
    if encoder.value_type in ("whole numbers", "booleans") and not is_optional:
        return "long" if encoder.value_type == "whole numbers" else "boolean"
    return AnyType()
