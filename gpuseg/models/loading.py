"""Saved models of any algorithm, read again."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from gpuseg.errors import DataError
from gpuseg.models.base import MODELS, SegmentModel, register_model
from gpuseg.models.dbscan import DBSCANModel
from gpuseg.models.hierarchical import HierarchicalModel
from gpuseg.models.kmeans import FORMAT, KMeansModel

register_model("kmeans", KMeansModel)
register_model("dbscan", DBSCANModel)
register_model("hierarchical", HierarchicalModel)


def load_model(path: str | Path) -> SegmentModel:
    """Load the model of an output folder, or of its ``_model`` folder, from a local path.

    Returns
    -------
    Model, DBSCANModel or HierarchicalModel

    Raises
    ------
    DataError
        When there is no model at `path`, or not one that this version reads.
    """
    folder = Path(path)
    folder = folder / "_model" if (folder / "_model").is_dir() else folder
    try:
        return _from_files(lambda name: (folder / name).read_bytes())
    except OSError as error:
        raise DataError(
            f"{path}: no model there ({error.filename}: {error.strerror}); give the output folder "
            "of a run, as a local path"
        ) from None
    except DataError:
        raise
    except (ValueError, KeyError, SafetensorError) as error:
        raise DataError(
            f"{folder}: model.json or model.safetensors is damaged ({error}); run the job again"
        ) from None


def _from_files(read: Callable[[str], bytes]) -> SegmentModel:
    """Build the model that is described in model.json, by a function that reads its files."""
    description: Mapping[str, Any] = json.loads(read("model.json"))
    if description.get("format") != FORMAT:
        raise DataError(
            f"model.json: format {description.get('format')!r}: this version of gpuseg reads "
            f"format {FORMAT}; read it with the version that wrote it"
        )
    return MODELS[description["algorithm"]].from_files(description, read)
