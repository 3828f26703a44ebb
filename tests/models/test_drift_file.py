"""The counts of the fit in a saved model, and files of them that are damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.errors import raises
from support.fitted_outputs import fitted

import gpuseg
from gpuseg.errors import DataError
from gpuseg.models.identity import SegmentIdentity
from gpuseg.output_columns import SEGMENT

Arrays = dict[str, np.ndarray[Any, Any]]


@pytest.mark.parametrize("case", ["plain", "hierarchy", "dbscan"])
def test_a_model_that_is_saved_again_keeps_the_counts(case: str, tmp_path: Path) -> None:
    model = gpuseg.load_model(fitted(case))
    ids = np.arange(model.n_clusters, dtype=np.int32) * 7 + 2
    levels = {f"segment_{model.n_clusters}": ids} if "hier" in case else {}
    known = {name: ids for name in levels if name in model.level_columns()}
    changed = model.with_identity(SegmentIdentity({SEGMENT: ids, **known}))
    folder = shutil.copytree(fitted(case) / "_model", tmp_path / "model")
    for name, content in changed.to_files().items():
        (folder / name).write_bytes(content)
    again, before = gpuseg.load_model(folder).reference, model.reference
    assert again is not None and before is not None
    assert again.segments.tolist() == [-1, *ids.tolist()]
    np.testing.assert_array_equal(again.counts, before.counts)
    np.testing.assert_array_equal(again.sizes, before.sizes)


def without(name: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {other: array for other, array in arrays.items() if other != name}


def changed(name: str, change: Callable[[Any], Any]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: arrays | {name: np.ascontiguousarray(change(arrays[name]))}


DAMAGES = {
    "no edges": without("edges"),
    "no groups": without("groups"),
    "fewer edges": changed("edges", lambda edges: edges[:, 1:]),
    "edges of another type": changed("edges", lambda edges: edges.astype(np.float64)),
    "edges that fall": changed("edges", lambda edges: edges[:, ::-1]),
    "an edge that is no number": changed("edges", lambda edges: edges * np.float32(np.nan)),
    "other segments": changed("segments", lambda segments: segments + 1),
    "fewer distances": changed("far_distance", lambda distance: distance[1:]),
    "another group": changed("groups", lambda groups: groups + 1),
    "no dropped rows": without("dropped"),
    "negative counts": changed("counts", lambda counts: counts - 10_000),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_refused(damage: str, tmp_path: Path) -> None:
    folder = shutil.copytree(fitted("plain") / "_model", tmp_path / "model")
    path = folder / "drift.safetensors"
    save_file(DAMAGES[damage](load_file(path)), path)
    with raises("model.damaged", DataError):
        gpuseg.load_model(folder)
