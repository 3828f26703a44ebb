"""The command history."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.errors import raises
from support.helpers import call
from support.pages import make_manifest, make_scores_manifest
from support.refreshed_outputs import drift, history, refresh

import gpuseg
from gpuseg.manifest import Manifest
from gpuseg.reporting.history_table import shares_table
from gpuseg.run_history import history_of


def write_output(folder: Path, content: Mapping[str, Any]) -> Path:
    folder.mkdir()
    (folder / "_manifest.json").write_text(json.dumps(content))
    return folder


def test_history_prints_the_runs_and_the_shares(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    first = write_output(
        tmp_path / "first",
        make_manifest() | {"run_id": "other", "started": "2019-01-01T00:00:00Z"},
    )
    last = write_output(
        tmp_path / "last",
        make_manifest() | {"refresh": refresh(), "drift": drift(), "history": history()},
    )
    shown = call(capfd, "history", first, last)
    assert shown.code == 0
    entries = gpuseg.history([first, last])
    assert entries[0].run_id == "other" and len(entries) == 7
    assert all(entry.run_id in shown.out for entry in entries)
    assert "high spend" in shown.out and "10.0%" in shown.out and "7 runs" in shown.out
    assert "note: " in shown.out and shown.out.count("continues no other run") == 1
    as_json = call(capfd, "history", last, "--json")
    assert json.loads(as_json.out) == [entry.to_json() for entry in gpuseg.history(last)]
    assert len(json.loads(as_json.out)) == 6


def test_the_table_of_runs_fits_a_usual_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    last = write_output(
        tmp_path / "last",
        make_manifest() | {"refresh": refresh(), "drift": drift(), "history": history()},
    )
    out = call(capfd, "history", last).out
    assert "…" not in out
    runs, _ = out.split("Shares of the segments")
    assert all(f"{entry.rows:,}" in runs for entry in gpuseg.history(last))


def test_runs_of_one_day_have_heads_that_differ() -> None:
    runs = [{**run, "started": "2026-08-01T06:00:00Z"} for run in history(3)]
    manifest = Manifest.from_json(make_manifest() | {"refresh": refresh(), "history": runs})
    heads = [str(column.header) for column in shares_table(history_of(manifest)).columns]
    assert len(set(heads)) == len(heads)
    assert heads[2] == "2026-\n08-01\nrun 1"
    runs = [{**run, "started": f"2026-0{i}-01T06:00:00Z"} for i, run in enumerate(history(3), 1)]
    manifest = Manifest.from_json(make_manifest() | {"refresh": refresh(), "history": runs})
    heads = [str(column.header) for column in shares_table(history_of(manifest)).columns]
    assert heads[2] == "2026-\n01-01"


def test_outputs_without_a_history_are_refused(tmp_path: Path) -> None:
    with raises("history.no_outputs"):
        gpuseg.history([])
    with raises("manifest.missing"):
        gpuseg.history(tmp_path)
    liked = {"segment": 1, "column": "segment", "requested": 9, "rows": 9} | {
        "excludes_members": False, "farthest": 1.5
    }  # fmt: skip
    output = write_output(tmp_path / "liked", {**make_scores_manifest(), "lookalikes": liked})
    with raises("history.of_lookalikes"):
        gpuseg.history(output)
