"""Refreshes that an older output refuses, with the codes of the errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import gpuseg
from support.helpers import customers, job, run, write_files

KEY_VARIABLE = "GPUSEG_TEST_ID_KEY"


def make_folder(folder: Path) -> Path:
    """Write rows of several kinds, and the outputs `older`, `weighted` and `scored`."""
    table = customers(400)
    write_files(folder / "in", [table.append_column("w", pa.array(np.full(400, 2.0)))])
    ids = pa.array([f"c{i}" for i in range(400)])
    write_files(folder / "text", [table.set_column(0, "customer", ids)])
    run(folder / "in", folder / "older")
    run(folder / "in", folder / "weighted", input={"weight": "w"})
    gpuseg.score(folder / "older", folder / "in", folder / "scored")
    (folder / "empty").mkdir()
    return folder


def refresh(folder: Path, older: str = "older", source: str = "in", **sections: Any) -> None:
    mode, append = sections.pop("mode", None), sections.pop("append", False)
    target = sections.pop("target", "out")
    values = job(folder / source, folder / target, **sections)
    gpuseg.refresh(values, folder / older, mode=mode, append=append)


WARM, SCORE = {"mode": "warm"}, {"mode": "score"}

REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "other features": ("refresh.other_features", {"input": {"features": ["recency", "orders"]}}),
    "another scale": ("refresh.other_preparation", {"prepare": {"scale": "robust"}}),
    "components": ("refresh.other_preparation", {"prepare": {"pca": 2}}),
    "another metric": ("refresh.other_metric", {"segment": {"metric": "cosine"}}),
    "more segments, warm": ("refresh.no_warm_start", {"segment": {"n_clusters": 4}, **WARM}),
    "more segments, score": ("refresh.other_segments", {"segment": {"n_clusters": 4}, **SCORE}),
    "up to more segments": (
        "refresh.other_segments", {"segment": {"n_clusters": [2, 4]}, **SCORE}
    ),
    "more segments, append": (
        "refresh.no_warm_start", {"segment": {"n_clusters": 4}, "append": True}
    ),
    "weights, append": ("refresh.no_weight", {"older": "weighted", "append": True}),
    "hashed ids": ("migration.hashed_ids", {"input": {"id_hash_key_env": KEY_VARIABLE}}),
    "ids of another type": ("migration.id_types", {"source": "text"}),
    "ids of another type, score": ("migration.id_types", {"source": "text", **SCORE}),
    "onto itself": ("output.exists", {"target": "older"}),
    "inside": ("refresh.output_overlaps", {"target": "older/newer"}),
    "around": ("refresh.output_overlaps", {"target": ".", "output": {"overwrite": True}}),
    "from nothing": ("model.not_found", {"older": "missing"}),
    "from an empty folder": ("model.not_found", {"older": "empty"}),
    "from rows": ("model.not_found", {"older": "in"}),
    "fewer segments, of a score": (
        "refresh.other_segments", {"older": "scored", "segment": {"n_clusters": 2}, **SCORE}
    ),
}  # fmt: skip
"""By name: code, and what the job has."""
