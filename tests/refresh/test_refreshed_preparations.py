"""Every preparation and algorithm goes through a refresh: labels are those of the new model."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fitted_outputs import CASES, fitted, job_of
from support.helpers import manifest_of, read_parts, write_files
from support.refresh_cases import check_refreshed, newer_rows, refreshed, rows_of_output

import gpuseg

CHOSEN = (
    # numbers, gaps, clipping, powers
    ("plain", "append", "keep"),
    ("median", "warm", "keep"),
    ("median", "fresh", "fit"),
    ("drop", "warm", "fit"),
    ("clip_log1p", "fresh", "keep"),
    # categories that the first run has not seen
    ("one_hot_with_other", "score", "keep"),
    ("frequency", "warm", "keep"),
    ("ordinal", "warm", "fit"),
    ("pca_of_categories", "fresh", "keep"),
    ("all_steps", "warm", "fit"),
    # columns that the first run has dropped
    ("dropped_features", "warm", "fit"),
    ("first_of_duplicates", "auto", "keep"),
    ("weights", "warm", "keep"),
    ("cosine", "warm", "keep"),
    ("vectors", "append", "keep"),
    ("hashed_ids", "score", "keep"),
    ("many_segments", "append", "keep"),
    ("hierarchy", "score", "keep"),
    ("hierarchy", "fresh", "fit"),
    ("dbscan_of_all", "score", "keep"),
    ("dbscan", "fresh", "keep"),
)
"""Case, mode, preparation."""


@pytest.mark.parametrize(("name", "mode", "preparation"), CHOSEN)
def test_labels_are_those_of_the_model(
    name: str, mode: str, preparation: str, tmp_path: Path
) -> None:
    older, case = fitted(name), CASES[name]
    refreshed(name, tmp_path, older, mode, refresh={"preparation": preparation})
    hashed = "id_hash_key_env" in case.inputs
    rows = rows_of_output(name, newer_rows(name))
    check_refreshed(tmp_path / "out", older, rows, None if hashed else case.id)
    refresh = manifest_of(tmp_path / "out")["refresh"]
    assert (refresh["mode"] == mode) or mode == "auto"
    if hashed:
        n_old, n_new = (read_parts(path).num_rows for path in (older, tmp_path / "out"))
        migration = refresh["migration"]
        both = migration["stayed"] + migration["moved"]
        assert both > 0
        assert (both + migration["left"], both + migration["came"]) == (n_old, n_new)


def test_a_transform_may_name_a_column_that_the_first_run_has_dropped(tmp_path: Path) -> None:
    prepare = {
        **CASES["dropped_features"].prepare,
        "transform": {"constant": "log1p", "spend": "none"},
    }
    source = write_files(tmp_path / "first", [newer_rows("dropped_features")])
    gpuseg.run({**job_of("dropped_features", source, tmp_path / "older"), "prepare": prepare})
    result = refreshed("dropped_features", tmp_path, tmp_path / "older", "warm", prepare=prepare)
    assert result.record.refresh is not None
    assert result.model.pipeline.columns == ("recency", "orders", "spend")
    again = refreshed(
        "dropped_features", tmp_path / "again", tmp_path / "out", "warm", prepare=prepare
    )
    assert again.model.pipeline.columns == result.model.pipeline.columns


def test_the_finest_level_has_the_numbers_of_segment_where_levels_change(tmp_path: Path) -> None:
    older, rows = fitted("hierarchy"), newer_rows("hierarchy")
    for n, levels in enumerate(([3, 6, 9], [3, 6])):
        segment = {**job_of("hierarchy", tmp_path, tmp_path)["segment"], "levels": levels}
        folder = tmp_path / str(n)
        refreshed("hierarchy", folder, older, "fresh", segment=segment)
        check_refreshed(folder / "out", older, rows, CASES["hierarchy"].id)
        older = folder / "out"
    definitions = manifest_of(older)["refresh"]["definitions"]
    assert [each["column"] for each in definitions] == ["segment", "segment_3"]
