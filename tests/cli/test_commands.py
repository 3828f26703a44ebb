"""The commands: results on standard output, all else on standard error, no color in a pipe."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from support.helpers import (
    call,
    customers,
    cut,
    job,
    listing,
    manifest_of,
    read_parts,
    toml,
    write_files,
)

import gpuseg


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A job file; three of its customers have the id of another."""
    table = customers(600).set_column(0, "customer", pa.array([i % 597 for i in range(600)]))
    source = write_files(tmp_path / "in", cut(table, 150, 300))
    path = tmp_path / "job.toml"
    path.write_text(toml(job(source, tmp_path / "deep" / "out")))
    return path


def test_run_prints_the_segments(
    tmp_path: Path, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = call(capfd, "run", file)
    out = tmp_path / "deep" / "out"
    sizes = sorted((s["size"] for s in manifest_of(out)["segments"]), reverse=True)
    assert outcome.code == 0
    assert outcome.out.startswith("600 customers in 3 segments")
    assert [int(n) for n in re.findall(r"(?m)^ [012] .*? (\d+) +\d+\.\d%", outcome.out)] == sizes
    assert outcome.out.splitlines()[-2:] == [
        f"segments   {out}", f"report     {out}/_report.html",
    ]  # fmt: skip
    assert "\x1b" not in outcome.out + outcome.err
    assert "warning: input.id = 'customer': 3 rows" in outcome.err
    stages = re.findall(r"(?m)^(\w+(?: ids)?) +[\d.]+ s", outcome.err)
    stages = list(dict.fromkeys(stages))  # a slow one has several lines
    assert stages == [
        *("plan", "start", "read", "prepare", "fit", "examples", "write"),
        *("check ids", "describe", "publish"),
    ]


def test_json_is_the_manifest(
    tmp_path: Path, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = call(capfd, "run", file, "--json", "--set", "segment.n_clusters=2")
    assert outcome.code == 0
    assert json.loads(outcome.out) == manifest_of(tmp_path / "deep" / "out")
    assert json.loads(outcome.out)["job"]["segment"]["n_clusters"] == 2
    assert re.search(r"read .* 600 rows", outcome.err)


def test_overwrite_replaces(tmp_path: Path, file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    codes = [call(capfd, "run", file).code, call(capfd, "run", file).code]
    others = ["--set", "input.id=orders", "--set", 'input.features=["spend", "recency"]']
    changed = call(capfd, "run", file, "--overwrite", *others)
    assert (*codes, changed.code) == (0, 2, 0)
    assert read_parts(tmp_path / "deep" / "out").column_names == ["orders", "segment", "distance"]


def test_dry_run_touches_nothing(
    tmp_path: Path, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = listing(tmp_path)
    plain = call(capfd, "run", file, "--dry-run", "--set", "segment.n_clusters=12")
    as_json = call(capfd, "run", file, "--dry-run", "--json")
    assert (plain.code, as_json.code) == (0, 0)
    assert re.search(r"rows +600 in 7 row groups of 3 files", plain.out)
    assert re.search(r"backend +numba \(auto: ", plain.out)
    assert re.search(r"rows are +resident \([\d,]+ MiB per worker, within the ", plain.out)
    assert re.search(r"memory +about \d+ MiB per worker", plain.out)
    assert "n_clusters = 12" in plain.out
    plan = json.loads(as_json.out)
    assert (plan["rows"], plan["row_groups"], plan["files"]) == (600, 7, 3)
    assert plan["backend"]["name"] == "numba"
    storage, mib = plan["row_storage"], plan["estimated_bytes_per_worker"] / 2**20
    assert storage["mode"] == "resident"
    assert storage["reason"].startswith(f"{mib:,.0f} MiB per")
    assert plan["estimated_bytes_per_worker"] > 2**20
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("override", "code"),
    [
        ("input.id=custmer", 3),
        ("input.path=nowhere", 3),
        ("runtime.backend=cuda", 4),
        pytest.param(
            "prepare.transform.spnd=log1p", 2,
        ),
        pytest.param(
            "runtime.memory_limit=1MiB", 4,
        ),
        pytest.param(
            "output.path=deep/../in", 2,
        ),
    ],
)  # fmt: skip
def test_dry_run_refuses_what_a_run_would(
    tmp_path: Path, file: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, override: str, code: int,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert call(capfd, "run", file, "--set", override).code == code
    assert call(capfd, "run", file, "--set", override, "--dry-run").code == code


def test_info_and_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert call(capfd, "--version").out == f"gpuseg {gpuseg.__version__}\n"
    outcome = call(capfd, "info", "--json")
    facts = json.loads(outcome.out)
    assert outcome.code == 0
    assert facts["gpuseg"] == gpuseg.__version__
    assert facts["backends"]["numpy"] == "available"
    assert facts["backends"]["auto"].startswith("is numba (auto: compiled CPU kernels; CuPy ")
    assert facts["backends"]["cuda"].startswith("unavailable: ")
    assert facts["devices"] == "no GPU"
    assert f"gpuseg     {gpuseg.__version__}" in call(capfd, "info").out.splitlines()


def test_synthetic_customers_make_a_job(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = call(capfd, "synth", tmp_path / "in", "--rows", "900", "--features", "4", "--files", "3")
    assert made.code == 0
    assert made.out == f"900 customers × 4 features in 3 files: {tmp_path / 'in'}\n"
    file = tmp_path / "job.toml"
    file.write_text(toml({"input": {"path": str(tmp_path / "in"), "id": "customer_id"},
                          "output": {"path": str(tmp_path / "out")}}))  # fmt: skip
    assert call(capfd, "run", file).code == 0
    assert read_parts(tmp_path / "out")["customer_id"].to_pylist() == list(range(1, 901))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "warned"), [
    ("customer_id", True), ("id", True), ("userId", True), ("CUSTOMER ID", True),
    ("paid", False), ("grid", False), ("bids", False),
])  # fmt: skip
def test_features_named_like_ids_are_warned_of(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, warned: bool
) -> None:
    table = customers(60).rename_columns([name, *customers(1).column_names[1:]])
    write_files(tmp_path / "in", [table])
    (tmp_path / "job.toml").write_text(
        f"[input]\npath = '{tmp_path / 'in'}'\n[segment]\nn_clusters = 2\n"
        f"[output]\npath = '{tmp_path / 'out'}'\n"
    )
    outcome = call(capfd, "run", tmp_path / "job.toml")
    words = f"warning: feature '{name}' looks like an id"
    assert outcome.code == 0
    assert (words in outcome.err) == warned
    named = call(capfd, "run", tmp_path / "job.toml", "--overwrite", "--set", f"input.id='{name}'")
    assert named.code == 0
    assert words not in named.err


def test_report_is_rendered_again(
    tmp_path: Path, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    call(capfd, "run", file)
    out = tmp_path / "deep" / "out"
    first = (out / "_report.html").read_text()
    (out / "_report.html").write_text("old")
    outcome = call(capfd, "report", out)
    assert outcome.code == 0 and outcome.out == f"report     {out}/_report.html\n"
    assert (out / "_report.html").read_text() == first
    manifest = out / "_manifest.json"
    manifest.write_text(json.dumps({"format": 1}))
    outcome = call(capfd, "report", out)
    assert outcome.code == 3 and f"{out}: the manifest" in outcome.err
    manifest.unlink()
    outcome = call(capfd, "report", out)
    assert outcome.code == 3 and f"{out}: has no _manifest.json" in outcome.err


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does, in a shell."""
    program = f"{shlex.quote(sys.executable)} -m gpuseg.cli"
    return subprocess.run(
        ["bash", "-c", line.replace("gpuseg", program, 1)], capture_output=True, text=True
    )


def test_a_process_ends_with_the_code_of_its_outcome(tmp_path: Path) -> None:
    """The command ends without taking Python down, so it flushes its streams itself."""
    for line, code, shown in [
        ("gpuseg --version", 0, "gpuseg 0."),
        ("gpuseg --version >&-", 0, ""),
        (f"gpuseg run {tmp_path}/no.toml", 2, ""),
        ("gpuseg nonsense", 2, ""),
    ]:
        done = shell(line)
        assert (done.returncode, done.stdout[:9]) == (code, shown), (line, done.stderr)
        assert "Traceback" not in done.stderr
