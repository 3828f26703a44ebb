"""One refresh after another: numbers, lineage and history go on, whatever mode each one has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.helpers import (
    FEATURES,
    call,
    customers,
    job,
    manifest_of,
    read_parts,
    run,
    toml,
    write_files,
)

import gpuseg
from gpuseg.jobs.run import RunResult
from gpuseg.jobs.score.run_score import ScoreResult

HIERARCHY = {"algorithm": "hierarchical", "levels": [2, 4], "micro_segments": 30}


def month(n: int) -> pa.Table:
    """Return the customers of a month: some have come, some have left, the places stay."""
    return customers(900, blobs=4).slice(60 * n, 600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows of four months, and the outputs of the first one."""
    folder = tmp_path_factory.mktemp("chains")
    for n in range(4):
        write_files(folder / f"month-{n}", [month(n)])
    run(folder / "month-0", folder / "kmeans", segment={"n_clusters": 4})
    gpuseg.score(folder / "kmeans", folder / "month-0", folder / "scored")
    gpuseg.run(job_of(folder, 0, folder / "hierarchy", HIERARCHY))
    return folder


def job_of(
    folder: Path, month: int, out: Path, segment: dict[str, Any] | None = None
) -> dict[str, Any]:
    values = job(folder / f"month-{month}", out)
    values["segment"] = segment or {"n_clusters": 4}
    return values


@pytest.mark.parametrize(
    ("of", "modes"),
    [
        ("kmeans", ("score", "warm", "fresh")),
        ("kmeans", ("append", "score", "warm")),
        ("scored", ("score", "fresh", "append")),
        ("scored", ("warm", "auto", "score")),
        ("hierarchy", ("fresh", "score", "fresh")),
    ],
)
def test_three_refreshes(of: str, modes: tuple[str, ...], folder: Path, tmp_path: Path) -> None:
    """The places of the segments stay, so that all survive, and nobody moves."""
    segment = HIERARCHY if of == "hierarchy" else None
    older, runs = folder / of, [manifest_of(folder / "kmeans")["run_id"]]
    if of != "kmeans":
        runs = [*(runs if of == "scored" else []), manifest_of(folder / of)["run_id"]]
    first_lineage = manifest_of(older)["lineage"]
    for i, mode in enumerate(modes):
        out, append = tmp_path / f"out-{i}", mode == "append"
        choice: dict[str, Any] = {"append": append, "mode": None if append else mode}
        result = gpuseg.refresh(job_of(folder, i + 1, out, segment), older, **choice)
        record = result.record.refresh
        assert record is not None and record.migration is not None
        kept = record.mode == "score"
        assert isinstance(result, ScoreResult if kept else RunResult)
        assert record.from_run_id == runs[-1]
        assert record.migration.moved == 0 and record.migration.stayed > 500
        assert (record.migration.came, record.migration.left) == (60, 0 if append else 60)
        parts = read_parts(out)
        frame = gpuseg.load_model(out).predict_frame(month(i + 1).select(FEATURES))
        for column in ("segment", *result.model.level_columns()):
            assert frame[column].to_pylist() == parts[column].to_pylist()
        assert manifest_of(out)["lineage"] == first_lineage
        runs.append(result.record.run_id)
        assert [entry.run_id for entry in gpuseg.history([str(out)])] == runs
        older = out


def test_a_number_is_never_given_again(folder: Path, tmp_path: Path) -> None:
    """From four segments to two, and back: the numbers of those that were lost are retired."""
    older, seen = folder / "kmeans", {0, 1, 2, 3}
    for i, k in enumerate((2, 4, 3)):
        out = tmp_path / f"out-{i}"
        result = gpuseg.refresh(job_of(folder, 1, out, {"n_clusters": k}), older, mode="fresh")
        (lineage,) = result.record.lineage
        now = set(result.model.segment_ids.tolist())
        before = set(gpuseg.load_model(older).segment_ids.tolist())
        assert not (now - before) & seen
        seen |= now
        assert {each.segment for each in lineage.segments} == seen
        assert {each.segment for each in lineage.segments if each.retired is None} == now
        assert lineage.next_segment == max(seen) + 1
        older = out


def test_auto_fits_again_if_rows_have_drifted_or_the_job_asks_for_others(
    folder: Path, tmp_path: Path
) -> None:
    rows = month(1)
    spend = pa.array(rows["spend"].to_numpy() + 15.0)
    write_files(tmp_path / "drifted", [rows.set_column(3, "spend", spend)])
    values = {**job(tmp_path / "drifted", tmp_path / "a"), "segment": {"n_clusters": 4}}
    refreshed = gpuseg.refresh(values, folder / "kmeans")
    assert isinstance(refreshed, RunResult) and refreshed.record.refresh is not None
    assert refreshed.record.refresh.mode in ("warm", "fresh")
    assert refreshed.record.drift is not None and refreshed.record.drift.alarms
    more = job_of(folder, 1, tmp_path / "b", {"n_clusters": 5})
    refreshed = gpuseg.refresh(more, folder / "kmeans")
    assert refreshed.record.refresh is not None
    assert (refreshed.record.refresh.mode, refreshed.model.n_clusters) == ("fresh", 5)
    assert refreshed.record.refresh.reason.count("5 segments") == 1


def test_a_warm_fit_says_that_it_does_not_use_the_centers_of_the_job(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    centers = [[float(i)] * len(FEATURES) for i in range(4)]
    values = job_of(folder, 1, tmp_path / "warm", {"n_clusters": 4, "init": centers})
    with caplog.at_level("INFO", logger="gpuseg"):
        gpuseg.refresh(values, folder / "kmeans", mode="warm")
    assert any("segment.init was for the first one" in text for text in caplog.messages)


def test_few_rows_may_be_appended_and_names_stay(folder: Path, tmp_path: Path) -> None:
    """Only the newest rows say little of their segments."""
    older, names = folder / "kmeans", names_of(folder / "kmeans")
    for n in (1, 3):
        source = write_files(tmp_path / f"in-{n}", [month(1).slice(0, n)])
        values = {**job(source, tmp_path / f"out-{n}"), "segment": {"n_clusters": 4}}
        result = gpuseg.refresh(values, older, append=True)
        older, record = tmp_path / f"out-{n}", result.record.refresh
        assert record is not None and record.migration is not None
        assert names_of(older) == names
        assert {event.kind for event in record.definitions[0].events} == {"survived"}
        assert not record.previous_names
        assert record.migration.left == 0


def names_of(out: Path) -> dict[int, str]:
    return {segment["segment"]: segment["name"] for segment in manifest_of(out)["segments"]}


def test_a_score_warns_of_keys_that_only_fits_use(folder: Path, tmp_path: Path) -> None:
    values = job_of(folder, 1, tmp_path / "out")
    values["output"]["plots"] = True
    result = gpuseg.refresh(values, folder / "kmeans", mode="score")
    (warning,) = result.record.warnings
    assert warning.startswith("output.plots left out: ")


@pytest.mark.parametrize("mode", ["score", "warm"])
def test_the_command(
    mode: str, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "job.toml"
    path.write_text(toml(job_of(folder, 1, tmp_path / "out")))
    older = folder / "kmeans"
    shown = call(capfd, "refresh", path, "--from", older, "--mode", mode)
    assert shown.code == 0, shown.err
    assert f"segments   {tmp_path / 'out'}" in shown.out
    assert f"changes    {tmp_path / 'out' / '_changes'}" in shown.out
    assert f"report     {tmp_path / 'out' / '_report.html'}" in shown.out
    again = call(capfd, "refresh", path, "--from", tmp_path / "out", "--mode", mode, "--overwrite")
    assert again.code == 0, again.err
    assert "\nchanges    " not in again.out  # nobody has moved, come or left
    in_json = call(
        capfd, "refresh", path, "--from", older, "--mode", mode, "--overwrite", "--json"
    )  # fmt: skip
    assert gpuseg.history([str(tmp_path / "out")])[-1].mode == mode
    assert in_json.code == 0 and in_json.out.startswith("{")
    assert manifest_of(tmp_path / "out")["run_id"] in in_json.out
    refused = call(capfd, "refresh", path, "--from", tmp_path / "nowhere")
    assert (refused.code, refused.out) == (3, "")
    assert refused.err.splitlines()[-1].startswith("error: from: ")
