"""Ways of scoring a frame of Spark; each returns the id, the segment and the distance of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

import gpuseg


def by_map_in_arrow(output: Path, frame: Any, id_column: str) -> pa.Table:
    """Score batches of Arrow in the Python processes of Spark."""
    path = str(output)

    def score(batches: Any) -> Any:

        model = gpuseg.load_model(path)
        for batch in batches:
            scored = model.predict_frame(batch)
            columns = [batch[id_column], scored["segment"], scored["distance"]]
            names = ["id", "segment", "distance"]
            yield from type(scored).from_arrays(columns, names).to_batches()

    schema = "id long, segment int, distance float"
    return frame.mapInArrow(score, schema).toArrow()


def by_spark_udf(model: Path, frame: Any, id_column: str) -> pa.Table:
    """Score with the function that MLflow makes of its saved model."""
    from mlflow import pyfunc
    from pyspark.sql.functions import col, struct

    import gpuseg.mlflow

    udf = pyfunc.spark_udf(frame.sparkSession, str(model))
    columns = gpuseg.mlflow.load_model(str(model)).pipeline.columns
    scored = frame.withColumn("scores", udf(struct(*columns)))
    return scored.select(col(id_column).alias("id"), "scores.*").toArrow()
