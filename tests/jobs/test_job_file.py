"""The job file: its defaults, broken rules, overrides, and the job without its secrets."""

from __future__ import annotations

import json
import os
import shlex
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from support.bad_jobs import (
    BROKEN_RULES,
    LINES,
    MALFORMED_OVERRIDES,
    MINIMAL,
    UNKNOWN_KEYS,
    WRONG_VALUES,
    changed,
)
from support.errors import raises
from support.helpers import toml

from gpuseg.algorithms.kmeans.params import KMeansParams
from gpuseg.errors import ConfigError, ConfigErrors
from gpuseg.io.null_values import NULL_VALUES
from gpuseg.jobs.job import JobSpec, job_names
from gpuseg.jobs.job_file import load_job
from gpuseg.printable import printable_value

DEFAULTS = {
    "input": {
        "path": "in", "id": None, "features": None, "weight": None,
        "id_hash_key_env": None, "null_values": list(NULL_VALUES),
        "allow_personal": [], "storage_options": {},
    },
    "prepare": {"missing": "error", "clip": None, "transform": "none", "scale": "standard",
        "categorical": {}, "max_categories": 20, "missing_indicator": False,
        "drop_near_constant": False, "drop_correlated": None, "pca": None, "duplicates": "keep",
    },
    "segment": {
        "algorithm": "kmeans", "n_clusters": 8, "max_clusters": 15,
        "init": "k-means++", "n_init": "auto",
        "max_iter": 300, "tol": 1e-4, "random_state": 0, "metric": "euclidean",
    },
    "runtime": {
        "cluster": "local", "n_workers": None, "threads_per_worker": None, "backend": "auto",
        "reader": "auto", "memory_limit": None, "tls_ca_file": None, "tls_cert": None,
        "tls_key": None, "start_timeout": 60.0, "rendezvous": "file", "address": None,
        "interface": None,
    },
    "output": {
        "path": "out", "overwrite": False, "plots": False, "confidence": False,
        "storage_options": {},
    },
}  # fmt: skip


def at(spec: JobSpec, dotted: str) -> Any:
    section, key = dotted.split(".")
    return getattr(getattr(spec, section), key)


def error_of(job: Any, *overrides: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_job(job, overrides)
    return caught.value


# What a job is.


def test_defaults_are_those_of_the_contract() -> None:
    assert load_job(MINIMAL).redacted() == DEFAULTS


def test_file_and_mapping_make_the_same_job(tmp_path: Path) -> None:
    job = {
        "input": {"path": "customers/", "id": "customer_id", "features": ["a", "b"], "weight": "w"},
        "prepare": {"missing": "median", "transform": {"b": "log1p"}, "scale": "robust"},
        "segment": {"algorithm": "kmeans", "n_clusters": 5, "random_state": 7, "tol": 0.5},
        "runtime": {"cluster": "dask", "n_workers": 2, "memory_limit": "4GiB"},
        "output": {"path": "out/segments", "overwrite": True},
    }
    file = tmp_path / "job.toml"
    file.write_text(toml(job))
    assert load_job(file) == load_job(str(file)) == load_job(job)
    assert load_job(file).segment.n_clusters == 5


@pytest.mark.parametrize(
    ("written", "count"),
    [("4GiB", 4 * 2**30), ("4GB", 4 * 10**9), ("512 MiB", 2**29), (2**31, 2**31)],
)
def test_memory_limit_is_in_bytes(written: str | int, count: int) -> None:
    assert load_job(changed("runtime.memory_limit", written)).runtime.memory_limit == count


@pytest.mark.parametrize("cluster", ["local", "dask", "tcp://10.0.0.1:8786", "tls://host:8786"])
def test_clusters_of_this_version(cluster: str) -> None:
    assert load_job(changed("runtime.cluster", cluster)).runtime.cluster == cluster


@pytest.mark.parametrize("address", ["node1", "node1:0", "node1:65536", ":8786", "node1:８７"])
def test_addresses_of_rank_zero_have_a_port(address: str) -> None:
    job = changed("runtime.cluster", "ranks")
    assert load_job(job, ["runtime.address=[::1]:65535"]).runtime.address == "[::1]:65535"
    assert "with a port from 1 to 65535" in str(error_of(job, f"runtime.address={address}"))


def test_initial_centers_can_be_set() -> None:
    assert load_job(changed("segment.init", [[0.0, 1.0], [2, 3]])).segment.init == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("written", "counts"),
    [(4, [4]), ([2, 5], [2, 3, 4, 5]), ([2, 3], [2, 3]), ([2, 3, 7], [2, 3, 7]), ([1, 2], [1, 2])],
)
def test_numbers_of_clusters_make_a_sweep(written: int | list[int], counts: list[int]) -> None:
    """Two of them are the ends of a range, more are a list."""
    job = changed("segment.n_clusters", written)
    job["segment"].update(n_init=3, metric="cosine", random_state=9)
    segment = load_job(job).segment
    assert segment.counts() == counts
    models = segment.models()
    assert [params.n_clusters for params in models] == counts
    assert {params.model_copy(update={"n_clusters": 1}) for params in models} == {
        KMeansParams(n_clusters=1, n_init=3, metric="cosine", random_state=9)
    }


def test_initial_centers_are_not_for_a_sweep() -> None:
    job = changed("segment.init", [[0.0], [1.0]])
    assert load_job(job, ["segment.n_clusters=2"]).segment.counts() == [2]
    assert error_of(job, "segment.n_clusters=[2, 3]").code == "init.several_n_clusters"


def test_job_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_job(MINIMAL).segment.n_clusters = 3


# Broken rules. The texts are in tests/contracts/error_texts.txt.


@pytest.mark.parametrize("dotted", UNKNOWN_KEYS)
def test_unknown_key(dotted: str) -> None:
    with raises("job.unknown_key", ConfigError, parameter=dotted.lstrip(".")):
        load_job(changed(dotted, {}))


@pytest.mark.parametrize(
    ("join", "code", "parameter"),
    [
        ([{"path": "a", "id": "b", "colums": ["c"]}], "job.unknown_key", "join[0].colums"),
        ([{"path": "a", "id": "b"}, {"path": "a"}], "job.missing_key", "join[1].id"),
        ([{"path": "a", "id": "b"}, {"path": 3, "id": "b"}], "job.invalid_value", "join[1].path"),
        ([{"path": "a", "id": "b", "columns": []}], "job.invalid_value", "join[0].columns"),
    ],
)
def test_errors_of_a_list_of_tables_have_the_number(
    join: list[dict[str, Any]], code: str, parameter: str
) -> None:
    job = {"transactions": LINES, "output": {"path": "out"}, "join": join}
    with raises(code, ConfigError, parameter=parameter) as error:
        load_job(job)
    number, key = int(parameter[5]) + 1, parameter.split(".")[1]
    assert str(error.value).startswith(f"[[join]] number {number}, key {key}")
    assert ("--set" in str(error.value)) == (code == "job.invalid_value")
    if code == "job.unknown_key":
        assert error.value.hint == "did you mean 'columns'?"


@pytest.mark.parametrize(
    ("lines", "code", "parameter"),
    [
        ({"price": "p"}, "transactions.price_or_amount", "transactions"),
        (
            {"snapshot": datetime(2026, 1, 2, tzinfo=UTC)}, "snapshot.has_time_zone",
            "transactions.snapshot",
        ),
    ],
)  # fmt: skip
def test_broken_rules_of_lines(lines: dict[str, Any], code: str, parameter: str) -> None:
    with raises(code, ConfigError, parameter=parameter):
        load_job({"transactions": {**LINES, **lines}, "output": {"path": "out"}})


def test_the_indicator_of_missing_values_needs_some() -> None:
    with raises(
        "missing_indicator.no_missing", ConfigError, parameter="prepare.missing_indicator",
        value=True,
    ):  # fmt: skip
        load_job(changed("prepare.missing_indicator", True))


def test_unknown_key_has_a_hint() -> None:
    assert error_of(changed("segment.n_cluster", 3)).hint == "did you mean 'n_clusters'?"
    assert error_of(changed("output.zzz", 3)).hint.endswith(
        "path, overwrite, plots, confidence, storage_options"
    )


def test_unknown_key_of_another_section_has_its_name() -> None:
    """The hint says to add an optional section that the job lacks."""
    sections = {name: keys for name, keys in load_job(MINIMAL) if isinstance(keys, BaseModel)}
    for section, spec in sections.items():
        for key in type(spec).model_fields:
            for other in {"", *sections} - {section}:
                if other and key in type(sections[other]).model_fields:
                    continue
                hint = error_of(changed(f"{other}.{key}", 1)).hint
                assert f"{key} is a key of " in hint and f"[{section}]" in hint
                assert section in MINIMAL or "add a section" in hint or " or [" in hint
    hint = error_of(changed("segment.eps", 1)).hint
    assert hint.startswith('eps is a key of [segment] with algorithm = "dbscan"; choose one of ')


@pytest.mark.parametrize(("dotted", "value"), WRONG_VALUES, ids=map(printable_value, WRONG_VALUES))
def test_wrong_value(dotted: str, value: Any) -> None:
    key = dotted.lstrip(".")
    error = error_of(changed(dotted, value))
    assert error.code == "job.invalid_value"
    if isinstance(value, dict):
        assert str(error.parameter).startswith(key)
        return
    assert error.parameter == key
    assert f"{key}=" in error.hint and "--set" in error.hint
    assert error.has_value == (key != "input.storage_options")
    if error.has_value and not isinstance(value, list):
        assert type(error.value) is type(value)
        assert error.value == value or value != value


@pytest.mark.parametrize(("job", "code", "parameter"), BROKEN_RULES.values(), ids=BROKEN_RULES)
def test_broken_rule(job: dict[str, Any], code: str, parameter: str) -> None:
    error = error_of(job)
    assert error.code == code
    assert parameter in ("", error.parameter, job_key(error))


def job_key(error: ConfigError) -> str | None:
    """Return the key of the job that an error names."""
    return error.names.get(error.parameter or "")


def test_several_broken_rules_are_one_error() -> None:
    error = error_of({"input": {"path": 1}, "segment": {"n_clusters": 0, "tols": 1}})
    assert isinstance(error, ConfigErrors)
    assert error.code == "job.several_errors"
    assert [(part.code, part.parameter) for part in error.parts] == [
        ("job.invalid_value", "input.path"),
        ("job.invalid_value", "segment.n_clusters"),
        ("job.unknown_key", "segment.tols"),
        ("job.missing_key", "output"),
    ]
    assert str(error).splitlines() == [str(part) for part in error.parts]


def test_many_broken_rules_are_a_short_message() -> None:
    job = {"transactions": LINES, "join": [{}] * 100, "output": {"path": "out"}}
    error = error_of(job)
    assert len(error.parts) == 200
    assert str(error).splitlines()[20:] == ["and 180 more errors"]


def test_a_job_that_contains_itself_is_refused() -> None:
    options: dict[str, Any] = {}
    options.update({"a": options, "b": [options, options]})
    assert error_of(changed("input.storage_options", options)).code == "job.nested_too_deeply"


def test_many_features_are_checked_fast() -> None:
    features = [f"column {i}" for i in range(100_000)]
    start = time.process_time()
    assert load_job(changed("input.features", features)).input is not None
    assert error_of(changed("input.features", [*features, "column 7"])).code == "job.invalid_value"
    assert time.process_time() - start < 5


def test_a_single_broken_rule_names_its_parameter() -> None:
    error = error_of(changed("segment.n_clusters", 0))
    assert error.parts == (error,)


def test_errors_have_the_names_of_the_job() -> None:
    names = job_names(load_job(MINIMAL))
    expected = {
        "n_clusters": "segment.n_clusters",
        "n_workers": "runtime.n_workers",
        "memory_limit": "runtime.memory_limit",
        "features": "input.features",
        "id": "input.id",
        "clip": "prepare.clip",
        "input_path": "input.path",
        "output_path": "output.path",
        "audit_columns": "audit.columns",
    }
    assert {name: names[name] for name in expected} == expected
    assert "path" not in names  # of two sections
    lines = {"path": "lines", "customer": "who", "time": "at", "amount": "paid"}
    names = job_names(load_job({"transactions": lines, "output": {"path": "out"}}))
    assert names["features"] == "transactions.features"
    assert names["transactions_path"] == "transactions.path"


# The job file as a file.


@pytest.mark.parametrize(
    ("content", "code", "word"),
    [
        (None, "job_file.missing", ""),
        (b"[input\npath = 'x'", "job_file.not_toml", ""),
        (b"[input]\npath = 'x'\npath = 'y'", "job_file.not_toml", ""),
        (b"n_clusters: 8", "job_file.not_toml", "line 1"),
        (b"[input]\npath = '\xff\xfe'", "job_file.not_utf8", ""),
        (b"[segment]\nn_clusters = " + b"9" * 5000, "job_file.not_toml", "4300 digits"),
        (b"a = " + b"[" * 100_000, "job_file.not_toml", "nested"),
        (b"#" * 5_000_000, "job_file.too_large", "bytes"),
    ],
)
def test_file_that_is_no_job(tmp_path: Path, content: bytes | None, code: str, word: str) -> None:
    path = tmp_path / "job.toml"
    if content is not None:
        path.write_bytes(content)
    error = error_of(path)
    assert error.code == code
    assert str(path) in str(error) and word in str(error)


def test_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    path = tmp_path / "job.toml"
    path.touch()
    monkeypatch.setattr(Path, "open", refuse)
    error = error_of(path)
    assert error.code == "job_file.unreadable"
    assert "may read" in error.hint and "UTF-8" not in error.hint


def test_what_is_no_file_is_no_job_file(tmp_path: Path) -> None:
    """Reading some of these would wait for ever, or fill the memory."""
    assert error_of(tmp_path).code == "job_file.is_folder"
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        assert error_of(path).code == "job_file.not_a_file"
    for text in ("a\0b", "\ud800"):
        assert error_of(text).code == "job_file.not_a_path"
    assert error_of("a" * 5000).code == "job_file.unreadable"


# --set


@pytest.mark.parametrize(
    ("override", "dotted", "value"),
    [
        ("segment.n_clusters=12", "segment.n_clusters", 12),
        ("segment.n_clusters = 12", "segment.n_clusters", 12),
        ("segment.n_clusters=[2,4]", "segment.n_clusters", [2, 4]),
        ("segment.metric=cosine", "segment.metric", "cosine"),
        ("segment.tol=1e-6", "segment.tol", 1e-6),
        ("segment.tol=0", "segment.tol", 0.0),
        ("segment.n_init=auto", "segment.n_init", "auto"),
        ("input.path=data/new", "input.path", "data/new"),
        ("input.path='data/new'", "input.path", "data/new"),
        ('input.path="data/a=b"', "input.path", "data/a=b"),
        ("input.path=data/country=UK", "input.path", "data/country=UK"),
        ("input.path=s3://bucket/x", "input.path", "s3://bucket/x"),
        ("input.path='2024'", "input.path", "2024"),
        ('input.features=["a", "b"]', "input.features", ["a", "b"]),
        ("output.overwrite=true", "output.overwrite", True),
        ("runtime.memory_limit=4GiB", "runtime.memory_limit", 4 * 2**30),
        ("prepare.transform=log1p", "prepare.transform", "log1p"),
        ("prepare.transform.spend=log1p", "prepare.transform", {"spend": "log1p"}),
        ('prepare.transform={spend = "log1p"}', "prepare.transform", {"spend": "log1p"}),
    ],
)
def test_override(override: str, dotted: str, value: Any) -> None:
    assert at(load_job(MINIMAL, [override]), dotted) == value


@pytest.mark.parametrize(
    ("override", "dotted", "value"),
    [
        ("audit.columns=[country]", "audit.columns", ["country"]),
        ("audit.columns=country", "audit.columns", ["country"]),
        ("input.features=[ a, it's ]", "input.features", ["a", "it's"]),
        ('input.allow_personal=["a", b]', "input.allow_personal", ["a", "b"]),
        ("input.null_values=[NULL]", "input.null_values", ["NULL"]),
        ("prepare.categorical.plan=[low,high]", "prepare.categorical", {"plan": ["low", "high"]}),
    ],
)
def test_the_hint_for_a_list_without_quotes_is_right(
    override: str, dotted: str, value: Any
) -> None:
    words = shlex.split(error_of(MINIMAL, override).hint)
    assert at(load_job(MINIMAL, [words[words.index("--set") + 1]]), dotted) == value


@pytest.mark.parametrize("override", ["segment.n_clusters=[a]", "prepare.clip=[a,b]"])
def test_no_list_of_texts_is_proposed_where_none_may_be(override: str) -> None:
    assert '["a"' not in error_of(MINIMAL, override).hint


def test_overrides_follow_one_another_and_do_not_change_the_mapping() -> None:
    job = {**MINIMAL, "prepare": {"transform": {"a": "none"}}}
    before = json.dumps(job)
    spec = load_job(job, ["prepare.transform.b=log1p", "segment.tol=1", "segment.tol=2"])
    assert spec.prepare.transform == {"a": "none", "b": "log1p"}
    assert spec.segment.tol == 2
    assert json.dumps(job) == before


@pytest.mark.parametrize("text", MALFORMED_OVERRIDES)
def test_malformed_override(text: str) -> None:
    error = error_of(MINIMAL, text)
    assert error.code == "override.malformed"
    assert f"--set {text!r}" in str(error)


@pytest.mark.parametrize(
    ("text", "code", "parameter", "value"),
    [
        ("segment.n_clusters=many", "job.invalid_value", "segment.n_clusters", "many"),
        ("segment.n_clusters=", "job.invalid_value", "segment.n_clusters", ""),
        ("segment.n_clusters=[4,2]", "job.invalid_value", "segment.n_clusters", [4, 2]),
        ("segment.n_clusters=[2,4", "job.invalid_value", "segment.n_clusters", "[2,4"),
        ("input.features=[1,", "job.invalid_value", "input.features", "[1,"),
        ("segment.tol=1\nother=2", "job.invalid_value", "segment.tol", "1\nother=2"),
        ("segment.tol=" + "9" * 5000, "job.invalid_value", "segment.tol", "9" * 5000),
    ],
    ids=printable_value,
)
def test_override_breaks_a_rule(text: str, code: str, parameter: str, value: Any) -> None:
    with raises(code, ConfigError, parameter=parameter, value=value):
        load_job(MINIMAL, [text])


@pytest.mark.parametrize(
    ("text", "code", "parameter"),
    [
        ("input.path.deep=1", "override.not_a_section", None),
        ("segment.clusters=3", "job.unknown_key", "segment.clusters"),
        ("sgment.tol=3", "job.unknown_key", "sgment"),
        ("a." * 5000 + "a=3", "job.nested_too_deeply", "a"),
        ("join[0].path=3", "override.no_such_section", None),
        ("input[0].path=3", "override.no_such_section", None),
    ],
    ids=printable_value,
)
def test_override_of_no_key(text: str, code: str, parameter: str | None) -> None:
    with raises(code, ConfigError, parameter=parameter):
        load_job(MINIMAL, [text])


def test_override_of_one_of_several_sections() -> None:
    job = {
        "transactions": {"path": "lines", "customer": "c", "time": "t", "amount": "a"},
        "join": [{"path": "a", "id": "c"}, {"path": "b", "id": "c"}],
        "output": {"path": "out"},
    }
    spec = load_job(job, ["join[1].path=other", 'join[0].columns=["x"]'])
    assert [join.path for join in spec.join] == ["a", "other"]
    assert [join.columns for join in spec.join] == [["x"], None]
    assert job["join"][1] == {"path": "b", "id": "c"}
    with raises("override.no_such_section", ConfigError):
        load_job(job, ["join[2].path=other"])


# The job in manifest and screen.


def test_secrets_are_redacted() -> None:
    options = {"key": "SECRET-1", "client_kwargs": {"token": "SECRET-2"}, "since": date(2026, 1, 2)}
    job = changed("input.storage_options", options)
    job["output"] = {"path": "out", "storage_options": {"secret": "SECRET-3"}}
    spec = load_job(job)
    redacted = json.dumps(spec.redacted())
    assert "SECRET" not in redacted
    assert "2026" not in redacted
    assert spec.redacted()["output"]["storage_options"] == {"secret": "(not shown)"}
    assert spec.input.storage_options == options
    assert spec.output.storage_options == {"secret": "SECRET-3"}


def test_redacted_job_is_json_and_a_job_again() -> None:
    job = changed("runtime.memory_limit", "4GiB")
    job["prepare"] = {"transform": {"a": "log1p"}}
    job["segment"] = {"n_clusters": [2, 5], "metric": "cosine"}
    spec = load_job(job)
    assert load_job(json.loads(json.dumps(spec.redacted(), allow_nan=False))) == spec
