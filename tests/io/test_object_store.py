"""Object stores, which cannot rename: memory:// and S3 (moto's server) in and out."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import customers, cut, job, read_parts, run, write_files

import gpuseg
from gpuseg.errors import ConfigError, DataError
from gpuseg.io.output.object_store import ObjectOutput

SIDECARS = [
    "_SUCCESS",
    "_examples.json",
    "_manifest.json",
    "_model/drift.safetensors",
    "_model/model.json",
    "_model/model.safetensors",
]
REPLACE = {"overwrite": True}


def names(fs: Any, folder: str) -> list[str]:
    root = fs._strip_protocol(folder)
    return sorted(path[len(root) + 1 :] for path in fs.find(root))


def parts(fs: Any, folder: str) -> list[str]:
    return [name for name in names(fs, folder) if name.startswith("part-")]


def stored(fs: Any, folder: str) -> pa.Table:
    """Read the parts that the manifest lists, which must be those that are there."""
    manifest = json.loads(fs.cat_file(f"{folder}/_manifest.json"))
    listed = [part["name"] for part in manifest["parts"]]
    assert listed == parts(fs, folder)
    tables = [pq.read_table(io.BytesIO(fs.cat_file(f"{folder}/{name}"))) for name in listed]
    assert [t.num_rows for t in tables] == [part["rows"] for part in manifest["parts"]]
    return pa.concat_tables(tables)


# memory://


def test_memory_output(tmp_path: Path, source: Path, memory: Any) -> None:
    run(source, tmp_path / "out")
    result = run(source, "memory://gpuseg-test/out")
    run_id = result.manifest["run_id"]
    assert names(memory, "/gpuseg-test/out") == [
        *SIDECARS, "_report.html", *(f"part-{i:05d}-{run_id}.parquet" for i in range(3)),
    ]  # fmt: skip
    assert stored(memory, "/gpuseg-test/out").equals(read_parts(tmp_path / "out"))


def test_memory_input_gives_the_same_segments(
    tmp_path: Path, table: pa.Table, source: Path, memory: Any
) -> None:
    for i, piece in enumerate(cut(table, 400)):
        with memory.open(f"/gpuseg-test/in/{i}.parquet", "wb") as file:
            pq.write_table(piece, file)
    run("memory://gpuseg-test/in", tmp_path / "from memory")
    run(source, tmp_path / "from disk")
    assert read_parts(tmp_path / "from memory").equals(read_parts(tmp_path / "from disk"))


def test_an_object_is_compared_once_however_many_row_groups_it_has(
    table: pa.Table, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with memory.open("/gpuseg-test/in/a.parquet", "wb") as file:
        pq.write_table(table, file, row_group_size=20)
    asked: list[str] = []
    info = memory.info
    monkeypatch.setattr(memory, "info", lambda path, **kw: asked.append(path) or info(path, **kw))
    run("memory://gpuseg-test/in", "memory://gpuseg-test/out")
    assert table.num_rows / 20 > 20 > len([path for path in asked if path.endswith("a.parquet")])


def test_older_output_is_replaced_when_asked(source: Path, memory: Any) -> None:
    run(source, "memory://gpuseg-test/out")
    before = names(memory, "/gpuseg-test/out")
    with raises("output.exists", parameter="output_path"):
        run(source, "memory://gpuseg-test/out")
    assert names(memory, "/gpuseg-test/out") == before
    (source / "in-002.parquet").unlink()
    result = run(source, "memory://gpuseg-test/out", output=REPLACE)
    assert stored(memory, "/gpuseg-test/out").num_rows == 450
    assert not set(parts(memory, "/gpuseg-test/out")) & set(before)
    assert all(result.manifest["run_id"] in name for name in parts(memory, "/gpuseg-test/out"))


@pytest.mark.slow
def test_models_of_an_older_sweep_are_removed(source: Path, memory: Any) -> None:
    def models() -> list[str]:
        actual = [name for name in names(memory, "/gpuseg-test/out") if name.endswith(".json")]
        return [name for name in actual if name.startswith("_model")]

    run(source, "memory://gpuseg-test/out", segment={"n_clusters": [2, 4]})
    assert models() == ["_model/model.json", *(f"_models/{k}/model.json" for k in (2, 3, 4))]
    run(source, "memory://gpuseg-test/out", segment={"n_clusters": [3, 5]}, output=REPLACE)
    assert models() == ["_model/model.json", *(f"_models/{k}/model.json" for k in (3, 4, 5))]
    run(source, "memory://gpuseg-test/out", output=REPLACE)
    assert models() == ["_model/model.json"]


def test_files_of_an_older_model_and_refresh_are_removed(source: Path, memory: Any) -> None:
    older = ["_model/core-00000.parquet", "_model/core-00007.sidecar"]
    older += ["_changes/part-00000-1.parquet"]
    for name in older:
        memory.pipe_file(f"/gpuseg-test/out/{name}", b"older")
    memory.pipe_file(
        "/gpuseg-test/out/_manifest.json", b'{"gpuseg": "0.1.0", "run_id": "1", "parts": []}'
    )
    run(source, "memory://gpuseg-test/out", output=REPLACE)
    assert not set(older) & set(names(memory, "/gpuseg-test/out"))


def test_staged_parts_are_no_parquet_files_to_readers(
    source: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    publish = ObjectOutput.publish

    def look(output: ObjectOutput, parts: Sequence[str]) -> None:
        seen.extend(names(memory, "/gpuseg-test/out"))
        publish(output, parts)

    monkeypatch.setattr(ObjectOutput, "publish", look)
    run(source, "memory://gpuseg-test/out")
    assert sum("/part-" in name for name in seen) == 3
    assert not any(name.endswith(".parquet") for name in seen)


def test_what_killed_runs_have_left_is_removed(source: Path, memory: Any) -> None:
    memory.pipe_file("/gpuseg-test/out/_staging/20200101T000000-abc123/part-00000.parquet", b"half")
    run(source, "memory://gpuseg-test/out")
    assert stored(memory, "/gpuseg-test/out").num_rows == 600
    assert not any("_staging" in name for name in names(memory, "/gpuseg-test/out"))


def test_failed_run_leaves_the_older_output(tmp_path: Path, source: Path, memory: Any) -> None:
    run(source, "memory://gpuseg-test/out")
    before = {path: memory.cat_file(path) for path in memory.find("/gpuseg-test")}
    bad = write_files(tmp_path / "bad", [customers(600, blobs=1).slice(0, 2)])
    with pytest.raises(DataError, match="only 2 rows"):
        run(bad, "memory://gpuseg-test/out", output=REPLACE)
    assert {path: memory.cat_file(path) for path in memory.find("/gpuseg-test")} == before


@pytest.mark.parametrize(
    "name",
    [
        "precious.txt",
        pytest.param(
            "_staging/precious.sql",
        ),
    ],
)
def test_foreign_prefix_is_never_replaced(source: Path, memory: Any, name: str) -> None:
    memory.pipe_file(f"/gpuseg-test/out/{name}", b"precious")
    memory.pipe_file("/gpuseg-test/out/part-00000.parquet", b"precious")
    with raises("output.not_gpuseg"):
        run(source, "memory://gpuseg-test/out", output=REPLACE)
    assert names(memory, "/gpuseg-test/out") == sorted([name, "part-00000.parquet"])


def test_memory_output_may_not_overlap_its_input(source: Path, memory: Any) -> None:
    run(source, "memory://gpuseg-test/out")
    with pytest.raises(ConfigError, match="overlaps"):
        run("memory://gpuseg-test/out", "memory://gpuseg-test/out/x", input={"features": None})


@pytest.mark.parametrize(
    "url",
    ["foo://bucket/x", "github://x"],
)
@pytest.mark.parametrize("side", ["input", "output"])
def test_unknown_url_is_the_jobs_fault(source: Path, url: str, side: str) -> None:
    ends = (url, "memory://gpuseg-test/out") if side == "input" else (source, url)
    with raises("path.unknown_file_system", value=url, parameter=f"{side}.path"):
        run(*ends)


# S3.


def put(fs: Any, path: str, table: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=100)
    fs.pipe_file(path, buffer.getvalue())


def s3_job(url: str, options: dict[str, Any], **sections: dict[str, Any]) -> dict[str, Any]:
    both = {"storage_options": options}
    output = {**both, **sections.pop("output", {})}
    source = {**both, **sections.pop("input", {})}
    return job(f"{url}/in", f"{url}/out", input=source, output=output, **sections)


@pytest.mark.slow
def test_s3_in_and_out(
    tmp_path: Path, table: pa.Table, source: Path, bucket: Any, options: dict[str, Any]
) -> None:
    fs, url = bucket
    for i, piece in enumerate(cut(table, 150, 300)):
        put(fs, f"{url}/in/country=X/{i}.parquet", piece)
    first = gpuseg.run(s3_job(url, options))
    run(source, tmp_path / "out")
    assert stored(fs, f"{url}/out").equals(read_parts(tmp_path / "out"))
    before = parts(fs, f"{url}/out")
    with raises("output.exists", parameter="output_path"):
        gpuseg.run(s3_job(url, options))
    second = gpuseg.run(s3_job(url, options, output=REPLACE, segment={"n_clusters": 2}))
    assert set(stored(fs, f"{url}/out")["segment"].to_pylist()) == {0, 1}
    assert not set(before) & set(parts(fs, f"{url}/out"))
    assert names(fs, f"{url}/out")[: len(SIDECARS)] == SIDECARS
    assert not any("_staging" in name for name in names(fs, f"{url}/out"))
    for result in (first, second):
        assert "SECRET" not in json.dumps(result.manifest)


@pytest.mark.slow
def test_globs_and_lists_of_s3(
    tmp_path: Path, table: pa.Table, source: Path, bucket: Any, options: dict[str, Any]
) -> None:
    fs, url = bucket
    for i, piece in enumerate(cut(table, 150, 300)):
        put(fs, f"{url}/in/day=0{i}/{i}.parquet", piece)
    fs.pipe_file(f"{url}/in/day=00/notes.md", b"# notes")
    run(source, tmp_path / "out")
    paths: list[Any] = [f"{url}/in/**/[0-9].parquet", [f"{url}/in/*[12]", f"{url}/in/day=00/0*"]]
    for path in paths:
        gpuseg.run(s3_job(url, options, input={"path": path}, output=REPLACE))
        assert stored(fs, f"{url}/out").equals(read_parts(tmp_path / "out"))
    for path, code in (
        (f"{url}/in/day=1*", "path.no_match"),
        (f"{url}/**", "output.overlaps_input"),
    ):
        with raises(code):
            gpuseg.run(s3_job(url, options, input={"path": path}, output=REPLACE))


@pytest.mark.slow
def test_s3_from_and_to_dask_workers(
    table: pa.Table, bucket: Any, options: dict[str, Any], two_workers: dict[str, Any]
) -> None:
    fs, url = bucket
    for i, piece in enumerate(cut(table, 150, 300)):
        put(fs, f"{url}/in/{i}.parquet", piece)
    gpuseg.run(s3_job(url, options, runtime=two_workers))
    assert stored(fs, f"{url}/out")["customer"].to_pylist() == list(range(600))


@pytest.mark.slow
def test_second_run_sees_what_others_have_put(
    table: pa.Table, bucket: Any, options: dict[str, Any]
) -> None:
    fs, url = bucket
    first, second = cut(table, 300)
    put(fs, f"{url}/in/a.parquet", first)
    gpuseg.run(s3_job(url, options))
    put(fs, f"{url}/in/b.parquet", second)
    gpuseg.run(s3_job(url, options, output=REPLACE))
    assert stored(fs, f"{url}/out").num_rows == 600


def test_no_such_bucket(tmp_path: Path, options: dict[str, Any]) -> None:
    both = {"storage_options": options}
    with raises("path.unlistable", value="s3://no-such-bucket/in"):
        run("s3://no-such-bucket/in", tmp_path / "out", input=both)


def test_no_bucket_is_made_for_an_output(source: Path, options: dict[str, Any]) -> None:
    with raises("output.not_writable"):
        run(source, "s3://no-such-bucket/out", output={"storage_options": options})


@pytest.mark.parametrize("side", ["input", "output"])
def test_s3_without_credentials_is_a_missing_resource(
    source: Path, side: str, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    url, both = "s3://bucket/x", {"storage_options": {"endpoint_url": endpoint}}
    ends = (url, "memory://gpuseg-test/out") if side == "input" else (source, url)
    with raises("path.unreachable", value=url) as caught:
        run(*ends, **{side: both})
    assert str(caught.value).startswith(f"{side}.path = ")


@pytest.mark.slow
def test_a_delta_table_on_s3(
    tmp_path: Path, table: pa.Table, bucket: tuple[Any, str], options: dict[str, Any]
) -> None:
    deltalake = pytest.importorskip("deltalake")
    fs, url = bucket
    deltalake.write_deltalake(tmp_path / "in", table)
    deltalake.write_deltalake(tmp_path / "in", table.slice(100), mode="overwrite")
    fs.put(str(tmp_path / "in"), f"{url}/table", recursive=True)
    run(f"{url}/table", tmp_path / "out", input={"storage_options": options})
    run(tmp_path / "in", tmp_path / "local")
    assert read_parts(tmp_path / "out").equals(read_parts(tmp_path / "local"))
    assert read_parts(tmp_path / "out").num_rows == 500
    unknown = {**options, "use_ssl": False}
    with raises("table.unknown_option", ConfigError):
        run(f"{url}/table", tmp_path / "no", input={"storage_options": unknown})
