"""The job file: its defaults, what each broken rule says, overrides, and what is made public."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from support.helpers import toml

from gpuseg.algorithms.kmeans.params import KMeansParams
from gpuseg.errors import ConfigError
from gpuseg.jobs.job import JobSpec, load_job

MINIMAL = {"input": {"path": "in"}, "output": {"path": "out"}}

COUNTS = ", the [first, last] of a range, or a list of at least three that rises"
"""What the rule of n_clusters says after "a number"."""

DEFAULTS = {
    "input": {
        "path": "in", "id": None, "features": None, "weight": None,
        "id_hash_key_env": None, "storage_options": {},
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
        "reader": "auto", "memory_limit": None,
    },
    "output": {
        "path": "out", "overwrite": False, "plots": False, "confidence": False,
        "storage_options": {},
    },
}  # fmt: skip


def changed(dotted: str, value: Any) -> dict[str, Any]:
    """The smallest job with one key set; "" as the section sets a key at the top."""
    section, key = dotted.split(".")
    if not section:
        return {**MINIMAL, key: value}
    return {**MINIMAL, section: {**MINIMAL.get(section, {}), key: value}}


def at(spec: JobSpec, dotted: str) -> Any:
    section, key = dotted.split(".")
    return getattr(getattr(spec, section), key)


def refusal(job: Any, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_job(job, overrides)
    return str(error.value)


# What a job is.


def test_defaults_are_the_contracts() -> None:
    assert load_job(MINIMAL).public() == DEFAULTS


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


def test_initial_centres_may_be_given() -> None:
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


def test_initial_centres_suit_no_sweep() -> None:
    job = changed("segment.init", [[0.0], [1.0]])
    assert load_job(job, ["segment.n_clusters=2"]).segment.counts() == [2]
    assert "init: centres suit one n_clusters only; give one, or leave init out" in refusal(
        job, "segment.n_clusters=[2, 3]"
    )


def test_job_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_job(MINIMAL).segment.n_clusters = 3


# Broken rules: each message has the key, the value, the rule.


@pytest.mark.parametrize(
    ("dotted", "hint"),
    [
        (".imput", "did you mean 'input'?"),
        (".outputs", "did you mean 'output'?"),
        (".qqq", "known are transactions, join, input, prepare, segment, audit, runtime, output"),
        ("input.feature", "did you mean 'features'?"),
        ("input.wieght", "did you mean 'weight'?"),
        ("prepare.mising", "did you mean 'missing'?"),
        ("segment.n_cluster", "did you mean 'n_clusters'?"),
        ("segment.random_sate", "did you mean 'random_state'?"),
        ("runtime.memory", "did you mean 'memory_limit'?"),
        ("runtime.workers", "did you mean 'n_workers'?"),
        ("output.over_write", "did you mean 'overwrite'?"),
        ("output.zzz", "known are path, overwrite, plots, confidence, storage_options"),
    ],
)
def test_unknown_key_names_the_nearest_known_one(dotted: str, hint: str) -> None:
    assert refusal(changed(dotted, {})) == f"{dotted.lstrip('.')}: unknown key; {hint}"


@pytest.mark.parametrize(
    ("dotted", "value", "rule"),
    [
        *(("segment.n_clusters", value, COUNTS) for value in ("8", 8.5, 8.0, True, 0, -1)),
        *(("segment.n_clusters", value, COUNTS) for value in ([], [3], [0, 3], [3, 3], [5, 2])),
        *(("segment.n_clusters", value, COUNTS) for value in ([2, 4, 3], [2, 3, 3], [2, "5"])),
        *(("segment.n_clusters", value, COUNTS) for value in ([2.0, 5], [True, 3], {"from": 2})),
        ("segment.metric", "manhattan", "must be 'euclidean' or 'cosine'"),
        ("segment.tol", -0.1, "must be greater than or equal to 0"),
        ("segment.tol", float("nan"), "must be"),
        ("segment.tol", float("inf"), "must be a finite number"),
        ("segment.random_state", -1, "must be greater than or equal to 0"),
        ("segment.random_state", 2**63, "must be less than"),
        ("segment.n_init", 0, "must be 'auto' or greater than or equal to 1"),
        ("segment.init", "kmeans", "must be 'k-means++' or 'random'"),
        ("segment.algorithm", "optics", "must be 'kmeans', 'dbscan' or 'hierarchical'"),
        ("input.path", "", "at least 1 character"),
        ("input.path", 5, "must be a valid string"),
        ("input.id", ["a"], "must be a valid string"),
        ("input.features", "spend", "must be a valid list"),
        ("input.features", [], "at least 1 item"),
        ("input.features", ["a", "b", "a"], "must name each column once; twice: a"),
        ("input.features", ["a", 1], "must be a valid string"),
        ("prepare.missing", "ignore", "must be 'error', 'drop', 'mean', 'median' or 'zero'"),
        ("prepare.clip", 0.99, "must be two quantiles, such as [0.01, 0.99]"),
        ("prepare.clip", [0.9, 0.1], "must be two quantiles that rise, from 0 to 1"),
        ("prepare.clip", [0.0, 99], "must be two quantiles that rise, from 0 to 1"),
        ("prepare.scale", "l2", "must be 'none', 'standard', 'robust' or 'minmax'"),
        ("prepare.transform", "log", "must be 'none', 'log1p' or 'yeo-johnson'"),
        ("prepare.transform", {"spend": "log"}, "must be 'none', 'log1p' or 'yeo-johnson'"),
        ("runtime.cluster", "laptop", "must be 'local', 'dask', 'cuda' or the address"),
        ("runtime.cluster", "slurm", "'slurm' is not in this version"),
        ("runtime.n_workers", 0, "must be greater than or equal to 1"),
        ("runtime.backend", "gpu", "must be 'auto', 'numpy', 'numba' or 'cuda'"),
        ("runtime.reader", "pyarrow", "must be 'auto', 'arrow' or 'cudf'"),
        ("runtime.memory_limit", "lots", "must be a size such as '4GiB'"),
        ("runtime.memory_limit", "-4GiB", "must be a size such as '4GiB'"),
        ("runtime.memory_limit", True, "must be a size such as '4GiB'"),
        ("output.overwrite", "yes", "must be a valid boolean"),
        ("output.overwrite", 1, "must be a valid boolean"),
    ],
)
def test_wrong_value_says_key_value_and_rule(dotted: str, value: Any, rule: str) -> None:
    message = refusal(changed(dotted, value))
    assert dotted in message
    assert rule in message
    if not isinstance(value, list | dict):
        assert message.startswith(f"{dotted} = {value!r}: ")
        assert message.endswith(f"; change it in the job, or with --set {dotted}=VALUE")


def test_all_broken_rules_are_said_at_once() -> None:
    message = refusal({"input": {"path": 1}, "segment": {"n_clusters": 0, "tols": 1}})
    assert [line.split(":")[0].split(" ")[0] for line in message.splitlines()] == [
        "input.path", "segment.n_clusters", "segment.tols", "output",
    ]  # fmt: skip
    assert "output: missing; this key is required" in message


@pytest.mark.parametrize("section", ["input", "segment", "output"])
def test_section_that_is_no_table_is_refused(section: str) -> None:
    assert refusal({**MINIMAL, section: 3}).startswith(f"{section} = 3: must be")


@pytest.mark.parametrize("name", ["segment", "distance"])
def test_id_must_not_be_a_column_of_the_output(name: str) -> None:
    assert refusal(changed("input.id", name)) == (
        f"input.id = {name!r}: the output has a column of that name itself; rename the id column"
    )


# The job file as a file.


def test_no_job_file(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    assert refusal(path) == f"{path}: no such job file; give the path of a TOML file"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[input\npath = 'x'", "not valid TOML"),
        (b"[input]\npath = 'x'\npath = 'y'", "not valid TOML"),
        (b"n_clusters: 8", "at line 1"),
        (b"[input]\npath = '\xff\xfe'", "cannot be read as a job file"),
        (b"", "input: missing; this key is required"),
    ],
)
def test_file_that_is_no_job(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "job.toml"
    path.write_bytes(content)
    message = refusal(path)
    assert words in message
    assert message.startswith(str(path)) or not content


def test_folder_is_no_job_file(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path}: is a folder; give the path of")


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


def test_overrides_follow_one_another_and_leave_the_mapping_alone() -> None:
    job = {**MINIMAL, "prepare": {"transform": {"a": "none"}}}
    before = json.dumps(job)
    spec = load_job(job, ["prepare.transform.b=log1p", "segment.tol=1", "segment.tol=2"])
    assert spec.prepare.transform == {"a": "none", "b": "log1p"}
    assert spec.segment.tol == 2
    assert json.dumps(job) == before


@pytest.mark.parametrize("text", ["n_clusters=8", "segment.n_clusters", "=8", ".=8", "segment.=8"])
def test_malformed_override(text: str) -> None:
    assert refusal(MINIMAL, text) == (
        f"--set {text!r}: must be section.key=value, such as segment.n_clusters=12"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("input.path.deep=1", "'path' is a value, not a section"),
        ("segment.n_clusters=many", "segment.n_clusters = 'many': must be a "),
        ("segment.n_clusters=", "segment.n_clusters = '': must be a "),
        ("segment.n_clusters=[4,2]", "segment.n_clusters = [4, 2]: must be a "),
        ("segment.n_clusters=[2,4", "segment.n_clusters = '[2,4': must be a "),
        ("segment.clusters=3", "segment.clusters: unknown key; did you mean 'n_clusters'?"),
        ("sgment.tol=3", "sgment: unknown key; did you mean 'segment'?"),
        ("input.features=[1,", "input.features = '[1,': must be a valid list"),
    ],
)
def test_override_breaks_a_rule(text: str, words: str) -> None:
    assert words in refusal(MINIMAL, text)


# What is made public.


def test_secrets_are_not_public() -> None:
    options = {"key": "SECRET-1", "client_kwargs": {"token": "SECRET-2"}, "since": date(2026, 1, 2)}
    job = changed("input.storage_options", options)
    job["output"] = {"path": "out", "storage_options": {"secret": "SECRET-3"}}
    spec = load_job(job)
    public = json.dumps(spec.public())
    assert "SECRET" not in public
    assert "2026" not in public
    assert spec.public()["output"]["storage_options"] == {"secret": "(not shown)"}
    assert spec.input.storage_options == options
    assert spec.output.storage_options == {"secret": "SECRET-3"}


def test_public_job_is_json_and_a_job_again() -> None:
    job = changed("runtime.memory_limit", "4GiB")
    job["prepare"] = {"transform": {"a": "log1p"}}
    job["segment"] = {"n_clusters": [2, 5], "metric": "cosine"}
    spec = load_job(job)
    assert load_job(json.loads(json.dumps(spec.public(), allow_nan=False))) == spec
