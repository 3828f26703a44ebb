"""The history of segments: carried, merged, and where the line of descent is broken."""

from typing import Any

import pytest
from support.pages import make_manifest, make_scores_manifest
from support.refreshed_outputs import drift, history, refresh

from gpuseg.lineage.history import broken_descent, merged_history
from gpuseg.manifest import Manifest, ScoresManifest
from gpuseg.run_history import history_of


def refreshed(**changes: Any) -> Manifest:
    content = {"refresh": refresh(), "drift": drift(), "history": history(), **changes}
    return Manifest.from_json({**make_manifest(), **content})


def test_an_output_without_lineage_is_the_first_run() -> None:
    (entry,) = history_of(Manifest.from_json(make_manifest()))
    assert (entry.mode, entry.from_run_id, entry.rows) == ("run", None, 10_000)
    assert entry.sizes == {"0": 1000, "1": 2000, "2": 3000, "3": 4000}
    assert entry.inertia == pytest.approx(123.4 / 10_000)
    assert entry.feature_psi is entry.segment_psi is entry.changed is entry.moved is None


def test_a_weighted_run_has_no_mean_of_squared_distances() -> None:
    content = make_manifest()
    content["input"]["weight"] = "households"
    assert history_of(Manifest.from_json(content))[0].inertia is None


def test_a_refreshed_output_adds_itself_to_what_it_carries() -> None:
    manifest = refreshed()
    entries = history_of(manifest)
    assert entries[:-1] == manifest.history
    last = entries[-1]
    assert (last.run_id, last.mode) == (manifest.run_id, "warm")
    assert last.from_run_id == entries[-2].run_id
    assert last.inertia == pytest.approx(123.4 / 10_000)  # of its fit, not of the older model
    assert last.feature_psi == 0.31  # of a column of categories
    assert manifest.refresh is not None and manifest.refresh.migration is not None
    overlap = manifest.refresh.definitions[0].overlap
    assert last.changed == sum(c.rows for c in overlap if c.before != c.now) / sum(
        c.rows for c in overlap
    )
    moved = manifest.refresh.migration
    assert last.moved == moved.moved / (moved.moved + moved.stayed)
    assert not broken_descent(entries)


def test_histories_of_several_outputs_have_each_run_once() -> None:
    last = refreshed()
    older = Manifest.from_json(
        make_manifest() | {"run_id": last.history[-1].run_id, "started": last.history[-1].started}
    )
    entries = merged_history([last, older, last])
    assert [entry.run_id for entry in entries] == [entry.run_id for entry in history_of(last)]
    assert entries[-2].rows == older.n_customers  # its record, and not what the newer one carries
    assert entries[-2].mode == "run"


def test_a_broken_line_of_descent_has_a_sentence() -> None:
    last = refreshed(history=history()[-1:])
    other = Manifest.from_json(
        make_manifest() | {"run_id": "other", "started": "2027-01-01T00:00:00Z"}
    )
    breaks = broken_descent(merged_history([other, last]))
    assert list(breaks) == [last.history[0].run_id, "other"]
    assert str(last.history[0].from_run_id) in breaks[last.history[0].run_id]
    assert "continues no other run" in breaks["other"]


def test_scored_rows_continue_the_run_that_fitted_the_model() -> None:
    fit = Manifest.from_json(make_manifest(3))
    scored = ScoresManifest.from_json({**make_scores_manifest(), "drift": drift(3)})
    entries = merged_history([scored, fit])
    assert [entry.mode for entry in entries] == ["run", "score"]
    assert entries[1].from_run_id == fit.run_id and entries[1].inertia == 1.9
    assert not broken_descent(entries)
