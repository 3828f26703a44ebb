"""Attempts of a run when a worker is lost: warnings, seconds, results; and the log of a run."""

from __future__ import annotations

import itertools
import logging
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.errors import raises
from support.helpers import bits, customers, job, run, write_files

import gpuseg
from gpuseg.errors import ResourceError
from gpuseg.jobs.context import Reporter
from gpuseg.jobs.stages import describe
from gpuseg.progress import Progress
from gpuseg.runtime.executor import CacheLost
from gpuseg.segmentation.base import FitContext, SegmentationResult
from gpuseg.segmentation.kmeans import KMeansSegmentation, KMeansSpec


class Lines(Progress):
    """Keeps the lines that a run shows."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def log(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of fits after which a worker is lost; a test sets the first item."""
    remaining = [0]
    fit = KMeansSegmentation.fit

    def fit_and_lose(
        algorithm: KMeansSegmentation, spec: KMeansSpec, context: FitContext
    ) -> SegmentationResult:
        result = fit(algorithm, spec, context)
        if remaining[0]:
            remaining[0] -= 1
            raise CacheLost
        return result

    monkeypatch.setattr(KMeansSegmentation, "fit", fit_and_lose)
    return remaining


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_files(tmp_path / "in", [customers(600, blobs=9)])


SEGMENT: dict[str, Any] = {"n_clusters": 6, "max_iter": 1, "tol": 0.0, "init": "random"}
"""A fit that does not converge, and so warns."""


@pytest.mark.slow
def test_a_second_attempt_leaves_no_trace_but_its_seconds(
    source: Path, tmp_path: Path, losses: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run(source, tmp_path / "plain", segment=SEGMENT).manifest
    clock = itertools.count()
    ticking = SimpleNamespace(perf_counter=lambda: float(next(clock)))
    monkeypatch.setattr("gpuseg.jobs.context.time", ticking)
    once = run(source, tmp_path / "once", segment=SEGMENT).manifest
    losses[0] = 2
    lines = Lines()
    recovered = gpuseg.run(
        job(source, tmp_path / "recovered", segment=SEGMENT), progress=lines
    ).manifest
    assert losses[0] == 0
    assert bits(tmp_path / "recovered") == bits(tmp_path / "plain")
    assert len(plain["warnings"]) == 1
    assert recovered["warnings"] == plain["warnings"]
    assert sum("starts again" in line for line in lines.lines) == 2
    assert [line for line in lines.lines if line.startswith("warning: ")] == [
        f"warning: {text}" for text in plain["warnings"]
    ]
    assert once["seconds"]["fit"] == 1
    assert recovered["seconds"]["fit"] == 3  # each attempt counts
    assert recovered["seconds"]["write"] == 1


def test_each_run_with_one_display_has_separate_seconds(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    ticking = SimpleNamespace(perf_counter=lambda: float(next(clock)))
    monkeypatch.setattr("gpuseg.jobs.context.time", ticking)
    shown = Progress()
    runs = [
        gpuseg.run(job(source, tmp_path / name, segment=SEGMENT), progress=shown).manifest
        for name in ("first", "second")
    ]
    assert runs[0]["seconds"]["fit"] == runs[1]["seconds"]["fit"] == 1


def test_a_run_gives_up_after_three_attempts(
    source: Path, tmp_path: Path, losses: list[int]
) -> None:
    losses[0] = 3
    with raises("worker.lost_repeatedly", ResourceError) as error:
        run(source, tmp_path / "out", segment=SEGMENT)
    assert losses[0] == 0
    assert "runtime.n_workers" in str(error.value)
    assert not (tmp_path / "out").exists()
    assert run(source, tmp_path / "out", segment=SEGMENT).record.parts  # it goes on
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


def test_a_run_logs_stages_notes_and_warnings(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="gpuseg"):
        manifest = run(source, tmp_path / "out", segment={**SEGMENT, "n_clusters": [2, 3]}).manifest
    records = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert all(record.name == "gpuseg" for record in caplog.records)
    stages = [text.split(":")[0] for level, text in records if text.endswith(": started")]
    names = list(dict.fromkeys(stages))  # some stages go on after another one
    assert names == [name for name in [*manifest["seconds"], "publish"] if name != "total"]
    assert [text for level, text in records if level == "WARNING"] == manifest["warnings"]
    assert any("n_clusters = 3" in text for level, text in records if level == "INFO")


@pytest.mark.slow
def test_a_library_call_prints_nothing(source: Path, tmp_path: Path) -> None:
    """Without handlers Python prints warnings of the log, unless a library prevents that."""
    content = job(source, tmp_path / "out", segment=SEGMENT)
    code = f"import gpuseg; assert gpuseg.run({content!r}).manifest['warnings']"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_late_failure_of_profiles_is_no_failure_of_the_next_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    act_has_failed, profiled = threading.Event(), threading.Event()

    def fail_late(inputs: Any) -> None:
        act_has_failed.wait(60)
        raise ValueError("no")

    def lose_a_worker() -> None:
        raise CacheLost

    monkeypatch.setattr(describe, "profile_segments", fail_late)
    monkeypatch.setattr(describe, "bare_segments", lambda inputs: profiled.set())
    reporter = Reporter(Progress())
    context: Any = SimpleNamespace(reporter=reporter)
    with pytest.raises(CacheLost):
        describe.profile_meanwhile(context, context, lose_a_worker)
    act_has_failed.set()
    assert profiled.wait(60)
    time.sleep(0.05)  # for what the thread does last
    assert (reporter.failures, reporter.warnings) == ([], [])
