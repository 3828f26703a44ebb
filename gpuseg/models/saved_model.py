"""What model.json of every model holds; the schema of each algorithm is in its own module."""

from typing import Literal

from gpuseg.preprocessing.saved_pipeline import SavedPipeline

FORMAT: Literal[2] = 2
"""Version of the files of a model; other versions are refused."""


class SavedModel(SavedPipeline):
    """Base of the schemas of model.json."""

    format: Literal[2]
    algorithm: str
    labels: str
