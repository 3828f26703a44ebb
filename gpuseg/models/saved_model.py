"""What model.json of every model holds; the schema of each algorithm is in its own module."""

from typing import Annotated, Any, Literal

from pydantic import Field

from gpuseg.preprocessing.saved_pipeline import SavedPipeline

FORMAT: Literal[2] = 2
"""Version of the files of a model; other versions are refused."""


Number = Annotated[int, Field(ge=0, lt=2**31)]


class SavedModel(SavedPipeline):
    """Base of the schemas of model.json."""

    format: Literal[2]
    algorithm: str
    labels: str
    segment_ids: dict[str, list[Number]] = Field(default_factory=dict)
    lineage: list[dict[str, Any]] = Field(default_factory=list)
    drift: bool = False
    """Whether there is a file with what drift is measured against."""
