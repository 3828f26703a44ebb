"""Every mistake has its exit code and a message with place, value, rule and next step.

2: the job or the command line; 3: the data; 4: a resource. Nothing is written, no traceback.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.bad_jobs import CASES, BadJob, Scene
from support.helpers import THOROUGH, Outcome, call, listing, shell

import gpuseg
from gpuseg.errors import GpusegError
from gpuseg.runtime import cluster

EXIT_CODES = {"ConfigError": 2, "DataError": 3, "ResourceError": 4}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_refused(tmp_path: Path, case: BadJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 1)
    file = case.write(tmp_path)
    before = listing(tmp_path)
    with pytest.raises(GpusegError) as caught:
        gpuseg.run(file)
    error = caught.value
    assert type(error) is case.kind, error
    assert error.exit_code == EXIT_CODES[case.kind.__name__]
    assert error.code == case.code or not case.code, error
    assert [word for word in case.words if word not in str(error)] == [], error
    assert listing(tmp_path) == before


def refused(outcome: Outcome, code: int, words: list[str]) -> None:
    assert "Traceback" not in outcome.err
    assert outcome.code == code, outcome.err
    assert [word for word in words if word not in outcome.err] == [], outcome.err
    assert outcome.out == ""


def test_older_output_is_not_replaced(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = Scene(tmp_path).write()
    assert call(capfd, "run", file).code == 0
    refused(call(capfd, "run", file), 2, ["/out'", "--overwrite"])
    assert call(capfd, "run", file, "--overwrite").code == 0


def test_more_clusters_than_rows_are_refused_before_the_data_is_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = Scene(tmp_path).write()
    outcome = call(capfd, "run", file, "--dry-run", "--set", "segment.n_clusters=[2, 900]")
    refused(outcome, 3, ["segment.n_clusters = 900", "600 rows"])


@pytest.mark.parametrize("name", ["one null", "transform of no feature", "memory"])
def test_command_prints_one_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    case = CASES[name]
    outcome = call(capfd, "run", case.write(tmp_path))
    refused(outcome, EXIT_CODES[case.kind.__name__], list(case.words))
    assert sum(line.startswith("error: ") for line in outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "none.toml"], ["none.toml"]),
        (["run", "JOB", "--set", "n_clusters=3"], ["--set 'n_clusters=3'", "section.key=value"]),
        (["run", "JOB", "--set", "input.id.x=3"], ["--set 'input.id.x=3'", "'id'"]),
        (["run", "JOB", "--dry-run", "--set", "input.x=3"], ["input.x", "id_hash_key_env"]),
        (["synth", "DIR", "--rows", "0"], ["rows = 0", "at least 1"]),
        (["frob"], ["'frob'"]),
        (["--frob"], ["--frob"]),
        (["run"], ["JOB.toml"]),
        (["run", "JOB", "--frob"], ["--frob"]),
        (["run", "JOB", "--set"], ["--set"]),
        (["run", "JOB", "again.toml"], ["again.toml"]),
        (["synth", "DIR", "--rows", "many"], ["--rows"]),
    ],
)
def test_command_line_is_wrong(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    paths = {"JOB": str(Scene(tmp_path).write()), "DIR": str(tmp_path / "synth")}
    before = listing(tmp_path)
    outcome = call(capfd, *(paths.get(argument, argument) for argument in arguments))
    refused(outcome, 2, words)
    assert listing(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["run", "JOB", "--set", "input.path=none"], 3, "none"),
        *[
            (["run", "none.toml"], 2, "none.toml"),
            (["run", "JOB", "--set", "runtime.backend=cuda"], 4, "cuda"),
            (["frob"], 2, "frob"),
        ]
        * THOROUGH,
    ],
)
def test_exit_code_reaches_the_shell(
    tmp_path: Path, arguments: list[str], code: int, word: str
) -> None:
    file = str(Scene(tmp_path).write())
    outcome = shell(tmp_path, *(file if a == "JOB" else a for a in arguments))
    refused(outcome, code, [word])
