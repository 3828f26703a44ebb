"""Globs and lists of paths: which files they are, and which are refused by name."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import bits, customers, cut, job, read_parts, write_files

import gpuseg
from gpuseg.errors import ConfigError, DataError
from gpuseg.features.api import from_transactions
from gpuseg.io.glob_patterns import has_magic, matches
from gpuseg.io.input_files import input_files
from gpuseg.io.input_paths import has_file_inside, open_paths, overlaps
from gpuseg.io.parquet.dataset import Dataset, open_dataset
from gpuseg.io.storage import Storage

NAMES = (
    *("data/2023-12/part-0.parquet", "data/2024-01/part-0.parquet", "data/2024-01/part-1.parquet"),
    *("data/2024-02/part-0.parquet", "data/2024-02/deep/part-2.parquet", "data/b.parquet"),
    *("data/2024-02/_old/part-9.parquet", "data/.c.parquet", "data/[1]/x.parquet"),
    *("windows/a.parquet", "windows/a.parquet:Zone.Identifier", "windows/~$a.xlsx"),
)


def names_of(root: str, path: str | Sequence[str]) -> list[str]:
    """Return the files of a path, or of a list, relative to a folder."""
    urls = [path] if isinstance(path, str) else list(path)
    storage = open_paths([f"{root}/{url}" for url in urls], {}, "input_path")
    start = storage.fs._strip_protocol(root)
    return [file.path.removeprefix(f"{start}/") for file in input_files(storage, "input_path")[1]]


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    url = str(tmp_path) if request.param == "local" else "memory://globs"
    fs, base = fsspec.core.url_to_fs(url)
    for name in NAMES:
        fs.makedirs(f"{base}/{name}".rpartition("/")[0], exist_ok=True)
        fs.pipe_file(f"{base}/{name}", b"x")
    yield url
    if request.param == "memory":
        fs.rm(base, recursive=True)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("data/2024-*/part-*.parquet", [1, 2, 3]),
        ("data/*/part-0.parquet", [0, 1, 3]),
        ("data/2024-0[12]/part-[0-9].parquet", [1, 2, 3]),
        ("data/2024-0[!1]", [3, 4]),
        ("data/202?-1?", [0]),
        ("data/**/part-2.parquet", [4]),
        ("data/**/part-*", [0, 1, 2, 3, 4]),
        ("data/**/**/deep/*", [4]),
        ("data/**", [0, 1, 2, 3, 4, 8, 5]),
        ("**/b.parquet", [5]),
        ("data/2024-02/_old/*", [6]),
        ("data/*/_old/*", [6]),
        ("data/2024-02/_*/*", [6]),
        ("data/.*", [7]),
        ("windows/a*", [9]),
        ("data/[1]", [8]),
        ("data/[1]/*", [8]),
        (["data/2024-01", "data/b.parquet"], [1, 2, 5]),
        (["data/b.parquet", "data/*-12/*", "data/2024-01/part-1.parquet"], [0, 2, 5]),
    ],
    ids=str,
)
def test_files_of_a_glob(root: str, path: str | list[str], expected: list[int]) -> None:
    files = names_of(root, path)
    assert sorted(files) == sorted(NAMES[i] for i in expected)
    assert files == sorted(files, key=lambda name: name.split("/"))


@pytest.mark.parametrize(
    ("path", "code", "text"),
    [
        ("data/2025-*", "path.no_match", "2025-*"),
        ("nowhere/*/x", "path.no_match", "nowhere/*/x"),
        ("data/b.parquet/*", "path.no_match", "b.parquet/*"),
        ("data/*/_*.parquet", "path.no_match", "_*.parquet"),
        ("windows/~*", "path.no_match", "~*"),
        ("data/{a,b}/*", "path.no_match", "list of paths"),
        ("data/{a,b}.parquet", "path.not_found", "list of paths"),
        (["data/b.parquet", "data/2025-*"], "path.no_match", "2025-*"),
        (["data/b.parquet", "data/c.parquet"], "path.not_found", "c.parquet"),
        (["data/b.parquet", "data/b.parquet"], "path.listed_twice", "b.parquet"),
        (["data", "data/2024-*/*"], "path.listed_twice", "2024-01/part-0.parquet"),
    ],
    ids=str,
)
def test_paths_without_files_and_files_of_two_paths(
    root: str, path: str | list[str], code: str, text: str
) -> None:
    with raises(code, DataError) as caught:
        names_of(root, path)
    assert text in str(caught.value)


@pytest.mark.parametrize("name", ["a*b", "[x]", "what?", "**"])
def test_existing_path_is_no_glob(tmp_path: Path, name: str) -> None:
    for folder in (name, "axb", "x", "whatx"):
        write_files(tmp_path / folder, [customers(5)])
    (file,) = input_files(open_paths(str(tmp_path / name), {}, "input_path"), "input_path")[1]
    assert file.path == str(tmp_path / name / "in-000.parquet")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("data/*.csv", True),
        ("s3://bucket/a*/b", True),
        ("https://host/a?b=c*", False),
        ("https://host/a*.parquet?b", True),
        ("http://[::1]:80/a.parquet", False),
        ("data/a.csv", False),
    ],
)
def test_characters_of_globs(path: str, expected: bool) -> None:
    assert has_magic(path) == expected


def test_web_server_has_no_globs() -> None:
    with raises("path.glob_of_web_server", ConfigError):
        open_paths("http://127.0.0.1:1/data/*.parquet", {}, "input_path")


def test_paths_of_several_file_systems(tmp_path: Path) -> None:
    for other in ("memory://x", "https://host/x"):
        with raises("path.several_file_systems", ConfigError):
            open_paths([str(tmp_path), other], {}, "input_path")
    with raises("path.several_file_systems", ConfigError):
        open_paths(["https://one/x", "https://two/x"], {}, "input_path")


@pytest.mark.parametrize(
    "pattern", ["a/*/c", "a/**/c", "**/c", "a/**", "a/*", "*/b/*", "**/b/**/c", "a/b"]
)
def test_matching_is_that_of_pythons_glob(tmp_path: Path, pattern: str) -> None:
    for name in ("a/b/c", "a/c", "a/b/d/c", "b/c", "c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if not (tmp_path / name).exists():
            (tmp_path / name).touch()
    patterns = pattern.split("/")
    for file in (p for p in tmp_path.rglob("*") if p.is_file()):
        names = file.relative_to(tmp_path).parts
        listed = set(glob.glob(pattern, root_dir=tmp_path, recursive=True))  # noqa: PTH207
        prefixes = {"/".join(names[:i]) for i in range(1, len(names) + 1)}
        assert matches(patterns, names) == bool(listed & prefixes)


def test_links_in_a_circle_and_unreadable_folders(tmp_path: Path) -> None:
    write_files(tmp_path / "a" / "b", [customers(5)])
    (tmp_path / "a" / "b" / "loop").symlink_to(tmp_path / "a")
    with raises("path.link_in_a_circle"):
        names_of(str(tmp_path), "a/**/x.parquet")
    assert names_of(str(tmp_path), "a/*/*.parquet") == ["a/b/in-000.parquet"]


def test_link_to_a_file_of_another_path_is_listed_twice(tmp_path: Path) -> None:
    write_files(tmp_path / "a", [customers(5)])
    (tmp_path / "b").symlink_to(tmp_path / "a" / "in-000.parquet")
    with raises("path.listed_twice"):
        names_of(str(tmp_path), ["a", "b"])


@pytest.mark.parametrize("path", ["t/*.parquet", "*/part", ["x", "t"], "*"], ids=str)
def test_tables_are_no_part_of_several_paths(tmp_path: Path, path: str | list[str]) -> None:
    write_files(tmp_path / "x", [customers(5)])
    write_files(tmp_path / "t" / "part", [customers(5)])
    write_files(tmp_path / "t", [customers(5)])
    (tmp_path / "t" / "_delta_log").mkdir()
    with pytest.raises(DataError) as caught:
        names_of(str(tmp_path), path)
    assert caught.value.code in ("table.path_inside", "table.among_paths")


def dataset(root: Path, *paths: str, **options: Any) -> Dataset:
    storage = open_paths([str(root / path) for path in paths], {}, "input_path")
    return open_dataset(storage, **options)


def test_partition_values_below_the_common_folder(tmp_path: Path) -> None:
    for region in ("007", "12"):
        write_files(tmp_path / "in" / f"region={region}", [customers(5)])
    patterns = (["in/region=*/*"], ["in/*"], ["in/region=007", "in/region=12/in-000.parquet"])
    for paths in patterns:
        data = dataset(tmp_path, *paths, categories=["region"])
        assert [f.constants["region"].as_py() for f in data.files] == ["007", "12"]
    with raises("categorical.missing_column"):
        dataset(tmp_path, "in/region=007/*", categories=["region"])


@pytest.mark.parametrize(
    ("pattern", "output", "expected"),
    [
        ("data/*.parquet", "data/out", False),
        ("data/*/*.parquet", "data/out", True),
        ("data/*/lines.parquet", "data/out", False),
        ("data/*/part-?????.parquet", "data/out", True),
        ("data/*/part-*-*.parquet", "data/out", True),
        ("data/*", "data/out", True),
        ("data/**", "data/deep/out", True),
        ("data/**/x.parquet", "data/out", False),
        ("data/2024-*", "data/2024-01/out", True),
        ("data/2024-*", "data/out", False),
        ("data/*.parquet", "data", True),
        ("data/*.parquet", ".", True),
        ("data/*.parquet", "other", False),
        ("data", "data/out", True),
    ],
)
def test_output_inside_of_a_glob(tmp_path: Path, pattern: str, output: str, expected: bool) -> None:
    source = open_paths([str(tmp_path / pattern), str(tmp_path / "b.parquet")], {}, "input_path")
    assert overlaps(source, Storage.from_url(str(tmp_path / output), {}, "o")) == expected


def run_on(path: Any, target: Path) -> dict[str, Any]:
    return {**job("", target), "input": {**job("", target)["input"], "path": path}}


@pytest.mark.slow
def test_jobs_on_globs_and_lists(tmp_path: Path) -> None:
    pieces = cut(customers(300), 100, 100)
    write_files(tmp_path / "in", pieces)
    names = [str(tmp_path / "in" / f"in-00{i}.parquet") for i in range(3)]
    gpuseg.run(run_on(str(tmp_path / "in"), tmp_path / "out"))
    expected = bits(tmp_path / "out")
    paths: list[Any] = [f"{tmp_path}/in/*.parquet", [f"{tmp_path}/in/*[01].parquet", names[2]]]
    for path in [*paths, *map(list, permutations(names))][:5]:
        gpuseg.run({**run_on(path, tmp_path / "out-2"), "output": {
            "path": str(tmp_path / "out-2"), "overwrite": True,
        }})  # fmt: skip
        assert bits(tmp_path / "out-2") == expected


def test_output_with_a_matched_file_in_it(tmp_path: Path) -> None:
    for folder in ("out", "other"):
        write_files(tmp_path / folder, [customers(5)])
    source = open_paths(f"{tmp_path}/*/in-*.parquet", {}, "input_path")
    paths = [file.path for file in input_files(source, "input_path")[1]]
    target = Storage.from_url(str(tmp_path / "out"), {}, "output_path")
    assert not overlaps(source, target)
    assert has_file_inside(source, paths, target)
    assert not has_file_inside(source, paths[:1], target)


def test_output_that_a_glob_would_read_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path / "shop" / "a", [customers(50)])
    with raises("output.overlaps_input", ConfigError):
        gpuseg.run(run_on(f"{tmp_path}/shop/*/*.parquet", tmp_path / "shop" / "out"))


@pytest.mark.parametrize(("path", "target"), [("people", "people/out"), ("o*", "out")])
def test_output_that_overlaps_a_joined_table_is_refused(
    tmp_path: Path, path: str, target: str
) -> None:
    lines = pa.table({"who": [1, 2], "at": ["2025-01-02", "2025-03-01"], "paid": [1, 2]})
    pq.write_table(lines, tmp_path / "lines.parquet")
    for folder in ("people", "old"):
        write_files(tmp_path / folder, [pa.table({"who": [1, 2], "age": [20, 60]})])
    with raises("output.overlaps_input", ConfigError) as caught:
        gpuseg.run({
            "transactions": {
                "path": f"{tmp_path}/lines.parquet", "customer": "who", "time": "at",
                "amount": "paid",
            },
            "join": [{"path": f"{tmp_path}/{path}", "id": "who"}],
            "segment": {"n_clusters": 2},
            "output": {"path": f"{tmp_path}/{target}"},
        })  # fmt: skip
    assert "join[0].path" in str(caught.value)


@pytest.mark.parametrize("path", [[], [""], ["a", 1], {"a": 1}, 5], ids=str)
def test_what_is_no_path(tmp_path: Path, path: Any) -> None:
    with raises("job.invalid_value", ConfigError, parameter="input.path"):
        gpuseg.run(run_on(path, tmp_path / "out"))


@pytest.mark.slow
def test_lines_and_joins_on_globs(tmp_path: Path) -> None:
    who = list(range(40)) * 3
    paid, at = [1 + n for n in who], ["2025-01-02"] * 60 + ["2025-03-01"] * 60
    lines = pa.table({"who": who, "at": at, "paid": paid})
    people = pa.table({"who": range(40), "age": range(20, 60)})
    for name, pieces in {"lines": cut(lines, 50), "people": cut(people, 20)}.items():
        write_files(tmp_path / name, pieces)
    pq.write_table(pa.table({"other": [1]}), tmp_path / "lines" / "other.parquet")
    gpuseg.run({
        "transactions": {
            "path": [f"{tmp_path}/lines/in-*"], "customer": "who", "time": "at", "amount": "paid",
        },
        "join": [{"path": f"{tmp_path}/people/in-00[01].parquet", "id": "who"}],
        "segment": {"n_clusters": 2},
        "output": {"path": str(tmp_path / "out")},
    })  # fmt: skip
    assert read_parts(tmp_path / "out").num_rows == 40
    paths = [tmp_path / "lines" / f"in-00{i}.parquet" for i in range(2)]
    built = from_transactions(paths, customer="who", time="at", amount="paid")
    assert built.num_rows == 40
