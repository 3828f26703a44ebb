"""gpu_check's steps, limits, facts and figures, and gpu_kit, all without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from emulator.build import unavailable
from emulator.strict_arrays import StrictLauncher
from support.helpers import THOROUGH

from gpuseg.backends import registry
from gpuseg.backends.cuda import gpus, nvrtc
from gpuseg.backends.types import RowBounds
from gpuseg.errors import ResourceError

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))

import measure  # noqa: E402
from gpu_check import (  # noqa: E402
    ceilings,
    facts,
    fits,
    inputs,
    kit,
    passes,
    problems,
    profile,
    report,
    sanitize,
    suite,
)
from gpu_check import steps as all_steps  # noqa: E402
from gpu_check.runner import Run, State, StepResult, table  # noqa: E402
from gpu_check.steps import CheckStep  # noqa: E402
from gpu_check.targets import Target, WallClock  # noqa: E402

ON_PATH = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests")])

GOOD = """
from gpu_check import facts
facts.record("speed", GB_s=3)
facts.conclude("fast enough")
"""
BROKEN = """
from gpu_check.facts import Attempts
attempt = Attempts()
attempt("a sum", lambda: 1 + 1)
attempt("a quotient", lambda: 1 / 0)
attempt.finish()
"""
HANGING = """
import subprocess, sys, time
from gpu_check import facts
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
facts.record("child", pid=child.pid)
time.sleep(60)
"""


def step(name: str, code: str, limit: int = 30, emulated: bool = False) -> CheckStep:
    return CheckStep(name, limit, "a try", (sys.executable, "-c", textwrap.dedent(code)), emulated)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", ON_PATH)
    return tmp_path


def read_facts(folder: Path) -> list[dict[str, Any]]:
    return list(facts.read(folder / facts.FILE))


def has_ended(pid: int) -> bool:
    """Return whether a process has ended or is a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.slow
def test_steps_continue_after_a_failure_and_a_timeout(folder: Path) -> None:
    run = Run(
        [step("good", GOOD), step("broken", BROKEN), step("hanging", HANGING, limit=2),
         step("silent", "import sys; sys.exit(3)"), step("skipped", "import sys; sys.exit(5)"),
         step("last", "print('last line')")],
        seconds=60, folder=folder,
    )  # fmt: skip
    run.run()
    assert [(end.step, end.state, end.result) for end in run.outcomes] == [
        ("good", State.OK, "fast enough"),
        ("broken", State.FAILED, "1 of 2 right; wrong: a quotient"),
        ("hanging", State.TIMED_OUT, "ended after 2 s"),
        ("silent", State.FAILED, "ended with 3 and no output"),
        ("skipped", State.SKIPPED, "ended with 5 and no output"),
        ("last", State.OK, "last line"),
    ]
    assert run.code == 1
    by_name = {(fact["step"], fact["what"]): fact for fact in read_facts(folder)}
    assert by_name["good", "speed"]["GB_s"] == 3
    assert by_name["broken", "a sum"]["value"] == 2
    assert by_name["broken", "a quotient"]["error"] == "ZeroDivisionError: division by zero"
    assert "in <lambda>" in by_name["broken", "a quotient"]["trace"]
    assert by_name["hanging", "step"]["state"] == "timed out"
    assert by_name["", "run"]["steps"][0] == "good"
    assert has_ended(by_name["hanging", "child"]["pid"])
    log = (folder / "log.txt").read_text()
    assert [line for line in log.splitlines() if line.startswith("== ")] == [
        f"== {end.step}" for end in run.outcomes
    ]
    assert "last line" in log


@pytest.mark.slow
def test_no_step_exceeds_the_time_limit_of_all(folder: Path) -> None:
    began = time.monotonic()
    run = Run([step("long", HANGING), step("next", GOOD)], seconds=7, folder=folder)
    run.run()
    assert time.monotonic() - began < 7
    assert [end.state for end in run.outcomes] == [State.TIMED_OUT, State.NO_TIME]
    assert run.outcomes[0].result.endswith("s, the time left")
    assert run.code == 1


def test_exit_codes(tmp_path: Path) -> None:
    def code(*states: State, reason: str = "") -> int:
        outcomes = [StepResult("any", state, 1.0, "") for state in states]
        return Run([], 1, tmp_path, no_gpu_reason=reason, outcomes=outcomes).code

    assert code(State.OK, State.SKIPPED) == 0
    assert code(State.OK, State.FAILED) == code(State.NO_TIME) == code(State.TIMED_OUT) == 1
    assert code(State.FAILED, State.FAILED, reason="no GPU") == 4


def test_steps_fail_without_a_gpu(folder: Path) -> None:
    run = Run([step("one", GOOD), step("two", GOOD)], 60, folder, no_gpu_reason="no GPU; get one")
    run.run()
    assert [(end.state, end.result) for end in run.outcomes] == [
        (State.FAILED, "no GPU; get one")
    ] * 2
    assert run.code == 4


def test_the_emulator_runs_what_it_can(folder: Path) -> None:
    shows = "import sys; print(sys.argv[1:])"
    emulated = step("emulated", shows, emulated=True)
    run = Run([step("other", GOOD), emulated], 60, folder, emulator=True, no_gpu_reason="no GPU")
    run.run()
    assert [(end.state, end.result) for end in run.outcomes] == [
        (State.SKIPPED, "needs a GPU"), (State.OK, "['--emulator']"),
    ]  # fmt: skip
    assert run.code == 0


def test_table_has_a_line_for_each_step() -> None:
    shown = table(
        [StepResult("a", State.OK, 1.25, "well"), StepResult("bcd", State.TIMED_OUT, 60, "x")]
    )
    assert shown.splitlines() == [
        "step  state      seconds  result",
        "a     ok             1.2  well",
        "bcd   timed out     60.0  x",
    ]


def test_steps_are_chosen_by_name() -> None:
    assert [step.name for step in all_steps.select_steps(["dbscan", "sanitizers"])] == [
        "dbscan", "memcheck", "racecheck", "initcheck", "synccheck",
    ]  # fmt: skip
    unasked = [step.name for step in all_steps.select_steps([])]
    assert unasked[:4] == ["load", "small_cases", "times", "inputs"]
    assert "quick" not in unasked
    with pytest.raises(ValueError, match="fast: no such step; there are load, small_cases, "):
        all_steps.select_steps(["load", "fast"])


def test_every_step_is_a_module_with_a_main() -> None:
    for step in all_steps.STEPS:
        module = step.command[2]
        text = (ROOT / "benchmarks" / f"{module.replace('.', '/')}.py").read_text()
        assert "def main() -> " in text, module
        assert ("targets.parser(__doc__)" in text) or not step.emulated, module


def gpu_check(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, "OUT": str(folder)}
    return subprocess.run(
        ["bash", str(ROOT / "scripts" / "gpu_check"), *arguments],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip


def test_the_command_refuses_unknown_steps(tmp_path: Path) -> None:
    done = gpu_check(tmp_path, "60", "lod")
    assert done.returncode == 2
    assert "lod: no such step; there are load, small_cases" in done.stderr
    assert gpu_check(tmp_path, "soon").returncode == 2


@pytest.mark.slow
@pytest.mark.skipif(gpus.unavailable() is None, reason="there is a GPU")
def test_the_command_without_a_gpu(tmp_path: Path) -> None:
    done = gpu_check(tmp_path, "60", "load", "memcheck", "tests")
    assert done.returncode == 4
    assert done.stdout.count("failed") == 6
    assert [fact["step"] for fact in read_facts(tmp_path) if fact["what"] == "step"] == [
        "load", "memcheck", "tests",
    ]  # fmt: skip
    assert not (tmp_path / "gpu.md").exists()


emulated = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))


@pytest.mark.slow
@emulated
def test_the_command_with_the_emulator(tmp_path: Path) -> None:
    """Passes of all kinds, with few rows."""
    done = gpu_check(tmp_path, "280", "times", "load", "--emulator")
    assert done.returncode == 0, done.stdout
    known = read_facts(tmp_path)
    states = {fact["step"]: fact["state"] for fact in known if fact["what"] == "step"}
    assert states == {"times": "ok", "load": "skipped"}
    timed = [(fact["kind"], fact["runs"]) for fact in known if fact["what"] == "pass"]
    assert timed == [(kind, runs) for _ in problems.CASES for runs in (1, 8)
                     for kind in passes.KINDS]  # fmt: skip


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    """The emulator, instead of a GPU."""
    launcher = StrictLauncher()
    monkeypatch.setattr(gpus, "unavailable", lambda: None)
    monkeypatch.setattr(gpus, "launcher", lambda: launcher)
    registry.get.cache_clear()
    registry.get_neighbors.cache_clear()
    yield Target(launcher, WallClock(), np, emulated=True)
    registry.get.cache_clear()
    registry.get_neighbors.cache_clear()


@emulated
def test_passes_are_timed_kernel_by_kernel(target: Target) -> None:
    problem = problems.make_problem(np, problems.CASES[0].with_rows(500))
    run = passes.Passes(target, problem, [problem.start])
    for kind, looked_at in (("first", 500), ("full", 500), ("late", 10)):
        run.prepare(kind)
        (partial,) = run.run()
        assert partial.n_rows_scored == looked_at
        timed = run.timed(kind, repeats=2)
        assert [launch.kernel.name.startswith("lloyd") for launch in timed.launches] == [True]
        assert 0 < timed.best_kernels <= timed.kernels <= timed.call


@pytest.mark.slow
@emulated
def test_fits_are_compared_and_timed(target: Target) -> None:
    case = problems.CASES[0].with_rows(600)
    assert fits.same_bits(target, case).keys() == {"cuda", "numba"}
    values = fits.whole_fit(target, case)
    assert values["iterations"] > 3
    assert values["full_passes"] > 0


@pytest.mark.slow
@emulated
def test_inputs_are_compared(target: Target) -> None:
    rows = inputs.CheckRows(300)
    assert rows.check(rows.x) == "numpy"
    assert rows.check(target.backend.to_device(rows.x), "cosine") == "emulator.strict_arrays"
    inputs.rows_on_host(rows)
    other = rows.x.copy()
    other[17] += 1
    with pytest.raises(AssertionError, match="different centers"):
        rows.check(other)


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_the_next_pass_has_the_requested_kind(dtype: Any) -> None:
    bounds = RowBounds(np.zeros(100, np.int32), np.zeros(100, dtype), np.zeros(3, np.float32))

    def skipped() -> int:
        slack = bounds.slack
        if dtype == np.uint16:
            slack = (slack.astype(np.uint32) << 16).view(np.float32)
        return 0 if bounds.fresh else int((slack > bounds.drift[bounds.label]).sum())

    seen = []
    for kind in ("late", "first", "full"):
        passes.set_state(bounds, kind)
        seen.append((bounds.fresh, skipped()))
    assert seen == [(False, 98), (True, 0), (False, 0)]


def test_bytes_moved_by_a_pass() -> None:
    x = np.zeros((100, 16), np.float32)
    bounds = [RowBounds.empty(100, 3)] * 2
    assert passes.bytes_moved(x, bounds, "full") == 100 * (64 + 2 * 8)
    assert passes.bytes_moved(x, bounds, "late") == 100 * (2 * 4) + 2 * (64 + 2 * 8)


def test_columns_are_reduced_in_two_steps() -> None:
    for n in (1, 2, 99, 100, 1003):
        x = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
        low, high, mean = problems._columns(x)
        assert (low == x.min(axis=0)).all()
        assert (high == x.max(axis=0)).all()
        assert np.allclose(mean, x.mean(axis=0, dtype=np.float64), rtol=0, atol=1e-12)


def test_problems_have_rows_around_the_means() -> None:
    problem = problems.make_problem(np, problems.CASES[0].with_rows(4000))
    squares = ((problem.x[:, None] - problem.means) ** 2).sum(axis=2)
    near = squares.min(axis=1)
    assert problem.x.dtype == np.float32
    assert 15 < near.mean() < 17  # as many as there are features
    assert np.abs(problem.start - problem.means).max() < 1.5


def test_bound_is_the_larger_limit() -> None:
    limits = ceilings.Ceilings(copy=3e12, read=3e12, flops=60e12)
    assert limits.bound(problems.CASES[0]) == (64e8 / 3e12, "memory")
    assert limits.bound(problems.CASES[1])[1] == "float32"
    assert limits.bound(problems.CASES[0], 8)[1] == "float32"


def test_ceilings_compile() -> None:
    try:
        nvrtc.library()
    except ResourceError as error:
        pytest.skip(str(error))
    source = ceilings.SOURCE
    cubin, _ = nvrtc.compile_cubin(source.read_text(), source.name, "sm_90", [])
    assert b"read_all" in cubin
    assert b"burn" in cubin


PROFILED = """\
==PROF== Connected to process 4711 (/usr/bin/python3.12)
  lloyd (528, 1, 1)x(128, 1, 1), Context 1, Stream 15, Device 0, CC 9.0
    Section: Command line profiler metrics
    ------------------------------------------------------------ ----------- ------------
    Metric Name                                                  Metric Unit Metric Value
    ------------------------------------------------------------ ----------- ------------
    dram__bytes_read.sum                                               Gbyte         1.02
    l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum                          1,234,567
    ------------------------------------------------------------ ----------- ------------
    Section: Launch Statistics
    Registers Per Thread             register/thread             128
  lloyd_full (396, 1, 1)x(128, 1, 1), Context 1, Stream 15, Device 0, CC 9.0
    dram__bytes_read.sum                                               Gbyte         2.05
"""


def test_counters_are_parsed() -> None:
    assert profile.parse_counters(PROFILED) == [
        {
            "kernel": "lloyd", "blocks": 528, "threads": 128,
            "dram__bytes_read.sum": "1.02 Gbyte",
            "l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum": "1,234,567",
        },
        {"kernel": "lloyd_full", "blocks": 396, "threads": 128,
         "dram__bytes_read.sum": "2.05 Gbyte"},
    ]  # fmt: skip


@pytest.mark.parametrize(("line", "reports"), [
    ("========= ERROR SUMMARY: 0 errors", 0),
    ("========= ERROR SUMMARY: 12 errors", 12),
    ("========= RACECHECK SUMMARY: 3 hazards displayed (1 error, 2 warnings)", 3),
    ("========= COMPUTE-SANITIZER", None),
])  # fmt: skip
def test_reports_are_counted(line: str, reports: int | None) -> None:
    assert sanitize.reports(line) == reports


@pytest.mark.parametrize(("line", "end"), [
    ("673 passed, 12 deselected in 71.20s (0:01:11)", "673 passed, 12 deselected"),
    ("=== 2 failed, 3 passed, 1 warning in 0.51s ===", "2 failed, 3 passed, 1 warning"),
    ("tests/cuda/test_cuda_kernels.py ....", None),
])  # fmt: skip
def test_summaries_of_pytest_are_parsed(line: str, end: str | None) -> None:
    assert suite.end_of(line) == end


def test_figures_are_compared_with_floors_and_aims(tmp_path: Path) -> None:
    (one, two), full = (case.title for case in problems.CASES), {"runs": 1, "kind": "full"}
    passed = {
        "what": "pass", **full, "call_ms": 2.5, "kernels_ms": 2.4, "bound_ms": 2.1,
        "bound_by": "memory", "share": 0.84, "kernels_share": 0.875, "bytes_per_row": 67.0,
        "share_of_copy": 0.9,
    }  # fmt: skip
    known = [
        {"step": "load", "what": "device", "ok": True, "value": {"devices": ["a GPU"]}},
        {"what": "ceilings", "copy": 3e12, "read": 3.1e12, "flops": 6e13},
        {**passed, "case": one},
        {**passed, "case": two, "kind": "late"},
        {"what": "peer", "peer": "torch_one_hot", "case": one, "iteration_ms": 12.5},
        {"what": "peer", "peer": "torch_one_hot", "case": two, "iteration_ms": 12.5},
        {"what": "restarts", "runs": 8, "case": one, "times_one": {"full": 1.2}},
        {"what": "fit", "case": one, "iterations": 20, "full_passes": 7.5},
        {"what": "dbscan", "case": "1M", "cpu_threads": 2, "times_faster": 120.0},
        {"what": "dbscan", "cuml_s": 4.0},
        {"what": "step", "step": "memcheck", "state": "ok", "result": "0 reports"},
        {"what": "step", "step": "load", "state": "ok", "result": "49 forms"},
    ]
    path = report.write(tmp_path, known)
    assert path is not None
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# a GPU, ")
    assert lines[2] == (
        "Measured in this run: copy 3000 GB/s, read 3100 GB/s, 60.0 TFLOP/s in float32."
    )
    for line in (
        "| full pass, 100M × 16, k = 8: share of the bound | 84% | 70% | 85% |",
        "| against torch_one_hot, 100M × 16, k = 8 | 5.00 × | 2.5 × | 4 × |",
        "| 8 restarts together, 100M × 16, k = 8: a full pass, against one | 1.2 × | 2 × | 1.3 × |",
        "| a whole fit, 100M × 16, k = 8, 20 iterations: in full passes | 7.5 | 12 | 8 |",
        "| DBSCAN, 1M, against 2 threads of the CPU | 120.0 × | 20 × | 100 × |",
        "| memcheck | ok: 0 reports | ok | ok |",
        "| 100M × 16, k = 8, full | 1 | 2.50 | 2.40 | 2.10, memory | 84% | 88% | 67 | 90% |",
        "| 50M × 64, k = 50, late | 1 | 2.50 | 2.40 | – | – | – | 67 | 90% |",
    ):
        assert line in lines
    content = json.loads((tmp_path / "gpu.json").read_text())
    assert content["gpu"] == {"devices": ["a GPU"]}
    assert len(content["pass"]) == 2
    assert report.write(tmp_path, known[-1:]) is None


def test_commit_comes_from_the_environment_without_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUSEG_COMMIT", "abc1234")
    assert measure.origin()["commit"] == "abc1234"


# The kit.


def test_a_kit_does_not_replace_other_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvrtc, "library", lambda: None)
    (tmp_path / "letter.txt").write_text("dear")
    monkeypatch.setattr(sys, "argv", ["gpu_kit", str(tmp_path)])
    assert kit.main() == 1
    assert "contains other files than a kit: name a new folder" in capsys.readouterr().err
    assert (tmp_path / "letter.txt").exists()
    (tmp_path / "tree" / "scripts").mkdir(parents=True)
    (tmp_path / "tree" / "scripts" / "gpu_kit").touch()
    kit._clear(tmp_path)  # an old kit is replaced
    assert list(tmp_path.iterdir()) == []


def test_a_kit_needs_nvrtc(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ResourceError("nvrtc.missing", "NVRTC, the CUDA compiler, is not found")

    monkeypatch.setattr(nvrtc, "library", missing)
    monkeypatch.setattr(sys, "argv", ["gpu_kit", str(tmp_path / "kit")])
    assert kit.main() == 1
    assert "gpu_kit: NVRTC, the CUDA compiler, is not found" in capsys.readouterr().err


@pytest.mark.slow
def test_a_kit_needs_a_package_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(kit.KitError, match=r"pip cannot download dask, .*index must be reachable"):
        kit._download(tmp_path)


def test_a_kit_is_small(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvrtc, "library", lambda: None)
    for name in ("_project", "_compile", "_download"):
        monkeypatch.setattr(kit, name, lambda *_: "abc1234")
    monkeypatch.setattr(kit, "MAX_BYTES", 7)
    folder = tmp_path / "kit"
    run = folder / "tree" / "benchmarks" / "gpu_check" / "kit_run"
    monkeypatch.setattr(kit, "_clear", lambda _: run.parent.mkdir(parents=True))
    monkeypatch.setattr(kit, "shutil", SimpleNamespace(copy=lambda *_: None))
    with pytest.raises(kit.KitError, match=r"kit has 0\.0 MB, and a kit may have 0: remove"):
        kit.make(folder, "sm_90")
    assert "commit abc1234, sm_90" in capsys.readouterr().out


@pytest.mark.skipif(not THOROUGH, reason="loads 50 wheels: --thorough")
@pytest.mark.network
def test_a_kit_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the kernels: compiling all of them is slow, and other tests do it."""
    if not (ROOT / ".git").exists():
        pytest.skip("a kit is made of a commit, and this is no checkout")
    try:
        kit._pip(tmp_path / "try", "--no-deps", "zict")
    except kit.KitError as error:
        pytest.skip(f"no package index can be reached: {error}")
    monkeypatch.setattr(nvrtc, "library", lambda: None)
    monkeypatch.setattr(kit, "_compile", lambda dest, arch: (dest / "cubins").mkdir())
    kit.make(tmp_path / "kit", "sm_90")
    make_problem = tmp_path / "kit"
    names = [path.name for path in (make_problem / "wheels").iterdir()]
    for package in ("dask", "distributed", "pydantic", "pydantic_core", "flash_kmeans"):
        assert sum(name.startswith(f"{package}-") for name in names) == 1, package
    assert any("cp312-cp312-manylinux" in name for name in names)
    environment = {**os.environ, "PYTHON": sys.executable, "OUT": str(tmp_path / "out")}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        ["bash", str(make_problem / "run"), "60", "load"], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == (0 if gpus.unavailable() is None else 4), done.stdout + done.stderr
    (begun,) = (fact for fact in read_facts(tmp_path / "out") if fact["what"] == "run")
    assert begun["commit"] == (make_problem / "COMMIT").read_text().strip()
