"""Registries of models on the disk, in memory and on S3: versions, aliases, races and kills."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import pytest
from support.errors import raises
from support.fitted_outputs import fitted
from support.helpers import THOROUGH, leftovers
from support.registry_changes import add_and_be_killed, change_at_the_same_time

import gpuseg
from gpuseg.errors import ConfigError, DataError
from gpuseg.models.loading import load_output
from gpuseg.models.registered_models import RegisteredModel, resolve_model


class RegistryPlace(NamedTuple):
    """Where a registry is."""

    registry: gpuseg.ModelRegistry
    options: Mapping[str, Any]

    @property
    def files(self) -> list[str]:
        """The files of the model `shop`, relative to its folder."""
        fs, root = fsspec.url_to_fs(f"{self.registry.url}/shop", **self.options)
        fs.invalidate_cache()
        return sorted(path[len(root) + 1 :] for path in fs.find(root))

    def version_files(self) -> list[str]:
        """Return what `files` has in folders of versions."""
        return [path for path in self.files if "/" in path]

    def write(self, name: str, content: bytes) -> None:
        """Write a file below the folder of the model `shop`."""
        fs, root = fsspec.url_to_fs(f"{self.registry.url}/shop", **self.options)
        fs.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
        fs.pipe_file(f"{root}/{name}", content)


S3 = pytest.param("s3", marks=pytest.mark.slow)

ALSO_ON_S3 = pytest.mark.parametrize("place", ["disk", "memory", S3], indirect=True)
"""For tests of what differs there; --thorough has all."""


@pytest.fixture(params=["disk", "memory", *[S3] * THOROUGH])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RegistryPlace]:
    """An empty registry on each kind of file system."""
    options: dict[str, Any] = {}
    url = str(tmp_path / "registry")
    if request.param == "memory":
        request.getfixturevalue("memory")
        url = "memory://gpuseg-test/registry"
    elif request.param == "s3":
        options = request.getfixturevalue("options")
        url = f"{request.getfixturevalue('bucket')[1]}/registry"
    yield RegistryPlace(gpuseg.ModelRegistry(url, storage_options=options), options)


def versions(record: RegisteredModel) -> list[int]:
    return [version.version for version in record.versions]


@ALSO_ON_S3
def test_versions_and_aliases(place: RegistryPlace) -> None:
    registry = place.registry
    assert registry.add("shop", fitted("plain"), alias="champion") == 1
    assert registry.add("shop", fitted("hierarchy"), alias="challenger") == 2
    assert registry.add("corner-shop_2.0", fitted("dbscan") / "_model") == 1
    assert registry.names() == ["corner-shop_2.0", "shop"]
    change = registry.promote("shop", "challenger")
    assert (change.alias, change.version, change.before) == ("champion", 2, 1)
    assert registry.promote("shop", 2).before == 2  # which is no change
    registry.promote("shop", "latest", alias="next")
    record = registry.describe("shop")
    assert record.aliases == {"champion": 2, "challenger": 2, "next": 2}
    assert [(c.alias, c.before, c.version) for c in record.history] == [
        ("champion", None, 1), ("challenger", None, 2), ("champion", 1, 2), ("next", None, 2),
    ]  # fmt: skip
    first, second = record.versions
    assert (first.algorithm, second.algorithm) == ("kmeans", "hierarchical")
    assert first.run_id == load_output(fitted("plain")).run_id
    assert registry.path("shop", 1) == f"{registry.url}/shop/1"
    assert registry.path("shop") == registry.path("shop", "latest") == f"{registry.url}/shop/2"


def test_a_version_has_no_customers(place: RegistryPlace) -> None:
    place.registry.add("shop", fitted("plain"))
    sidecars = {
        *("_manifest.json", "_report.html", "_SUCCESS"),
        *("_model/drift.safetensors", "_model/model.json", "_model/model.safetensors"),
    }
    assert set(place.version_files()) == {f"1/{name}" for name in sidecars}


@pytest.mark.parametrize("case", ["plain", "dbscan"])
def test_versions_are_loaded_by_path_and_by_reference(place: RegistryPlace, case: str) -> None:
    url, options = f"{place.registry.url}/shop", place.options
    place.registry.add("shop", fitted("hierarchy"))
    place.registry.add("shop", fitted(case), alias="champion")
    expected = gpuseg.load_model(fitted(case)).to_files()
    for path in (f"{url}/2", f"{url}@champion", f"{url}@latest/", f"{url}:2"):
        output = load_output(path, storage_options=options)
        assert output.url.rstrip("/") == f"{url}/2"
        assert output.run_id == load_output(fitted(case)).run_id
        assert gpuseg.load_model(path, storage_options=options).to_files() == expected
    place.registry.promote("shop", 1)
    assert resolve_model(f"{url}@champion", options) == f"{url}/1"


def test_a_model_without_its_output_has_no_run(place: RegistryPlace, tmp_path: Path) -> None:
    folder = shutil.copytree(fitted("plain") / "_model", tmp_path / "model")
    place.registry.add("shop", folder)
    assert place.registry.describe("shop").versions[0].run_id is None
    files = ("drift.safetensors", "model.json", "model.safetensors")
    names = ("_SUCCESS", *(f"_model/{name}" for name in files))
    assert place.version_files() == [f"1/{name}" for name in names]


def test_the_model_of_scored_customers_is_that_of_the_fit(tmp_path: Path) -> None:
    source = fitted("plain").parent / "in"
    registry = gpuseg.ModelRegistry(tmp_path / "registry")
    for model, run_id in (
        (fitted("plain"), load_output(fitted("plain")).run_id), (fitted("plain") / "_model", None),
    ):  # fmt: skip
        if run_id is None:
            model = shutil.copytree(model, tmp_path / "model")
        gpuseg.score(model, source, tmp_path / "scored", overwrite=True)
        number = registry.add("shop", tmp_path / "scored")
        assert load_output(registry.path("shop", number)).run_id == run_id
        names = {path.name for path in Path(registry.path("shop", number)).iterdir()}
        assert names == {"_model", "_SUCCESS", *["_manifest.json"] * bool(run_id)}


@ALSO_ON_S3
def test_a_version_can_be_added_to_another_registry(place: RegistryPlace, tmp_path: Path) -> None:
    place.registry.add("shop", fitted("plain"), alias="champion")
    other = gpuseg.ModelRegistry(tmp_path / "other")
    other.add("shop", f"{place.registry.url}/shop@champion", storage_options=place.options)
    assert other.describe("shop").versions[0].run_id == load_output(fitted("plain")).run_id


def test_the_number_of_a_version_may_be_text(tmp_path: Path) -> None:
    registry = gpuseg.ModelRegistry(tmp_path / "registry")
    registry.add("shop", fitted("plain"))
    assert registry.promote("shop", "1").version == 1
    assert registry.path("shop", "1") == registry.path("shop", 1)


@ALSO_ON_S3
def test_numbers_are_never_given_twice(place: RegistryPlace) -> None:
    for _ in range(2):
        place.registry.add("shop", fitted("plain"))
    fs, root = fsspec.url_to_fs(f"{place.registry.url}/shop", **place.options)
    fs.rm(f"{root}/2", recursive=True)
    place.write("5/begun-by-another", b"")
    assert place.registry.add("shop", fitted("plain")) == 6
    assert versions(place.registry.describe("shop")) == [1, 2, 6]


def test_unknown_models_versions_and_aliases_are_named(place: RegistryPlace) -> None:
    registry, url = place.registry, f"{place.registry.url}/shop"
    with raises("registry.unknown_model", DataError):
        registry.promote("shop", 1)
    assert place.files == []
    with raises("model.not_found", DataError):
        gpuseg.load_model(f"{url}@champion", storage_options=place.options)
    registry.add("shop", fitted("plain"))
    before = place.files
    for selected, code in (
        (7, "registry.unknown_version"), ("7", "registry.unknown_version"),
        ("champion", "registry.unknown_alias"),
    ):  # fmt: skip
        with raises(code, DataError):
            registry.promote("shop", selected)
        with raises(code, DataError):
            registry.path("shop", selected)
    for end, code in ((":7", "registry.unknown_version"), ("@next", "registry.unknown_alias")):
        with raises(code, DataError):
            gpuseg.load_model(url + end, storage_options=place.options)
    for name in ("", "a b", "../shop", "shop@champion", "-shop"):
        with raises("registry.wrong_name", ConfigError, value=name, parameter="name"):
            registry.add(name, fitted("plain"))
    for alias in ("", "latest", "7", "a b", "a@b"):
        with raises("registry.wrong_alias", ConfigError, value=alias, parameter="alias"):
            registry.add("shop", fitted("plain"), alias=alias)
        with raises("registry.wrong_alias", ConfigError, value=alias):
            registry.promote("shop", 1, alias=alias)
    assert place.files == before


def test_no_version_is_added_to_an_output_or_a_registry(place: RegistryPlace) -> None:
    place.write("output/_manifest.json", b"{}")
    place.write("models/tea/aliases.json", b"{}")
    before = place.files
    shop = gpuseg.ModelRegistry(f"{place.registry.url}/shop", storage_options=place.options)
    with raises("registry.is_output", ConfigError, parameter="path"):
        shop.add("output", fitted("plain"))
    with raises("registry.is_registry", ConfigError, parameter="path") as caught:
        shop.add("models", fitted("plain"))
    assert "shop/models/tea" in str(caught.value)
    assert place.files == before
    inner = gpuseg.ModelRegistry(f"{shop.url}/models", storage_options=place.options)
    for registry, name, hint in (
        (inner, "teas", "did you mean 'tea'?"),
        (shop, "models", "name the model, such as "),
    ):
        with raises("registry.unknown_model", DataError) as caught:
            registry.path(name)
        assert hint in str(caught.value)


def test_what_is_no_model_is_not_added(place: RegistryPlace, tmp_path: Path) -> None:
    damaged = shutil.copytree(fitted("plain"), tmp_path / "damaged")
    (damaged / "_model" / "model.safetensors").write_bytes(b"short")
    for output, code in ((tmp_path, "model.not_found"), (damaged, "model.damaged")):
        with raises(code, DataError):
            place.registry.add("shop", output)
    assert place.files == []
    with raises("registry.unknown_model", DataError):
        place.registry.describe("shop")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b'{"format": 2}', b'{"format": 1, "last_version": "x"}',
        b'{"aliases": {"champion": 1}}', b'{"aliases": {"champion": 1}, "aliases": {}}',
        b'{"versions": [{"version": 1, "added": "", "run_id": null, "algorithm": "kmeans", '
        b'"n_clusters": 1}]}',
    ],
)  # fmt: skip
def test_a_damaged_record_is_refused(tmp_path: Path, content: bytes) -> None:
    registry = gpuseg.ModelRegistry(tmp_path)
    registry.add("shop", fitted("plain"), alias="champion")
    (tmp_path / "shop" / "aliases.json").write_bytes(content)
    for call in (
        lambda: registry.describe("shop"),
        lambda: registry.promote("shop", 1),
        lambda: registry.add("shop", fitted("plain")),
        lambda: gpuseg.load_model(tmp_path / "shop@champion"),
    ):
        with raises("registry.damaged", DataError):
            call()
    assert (tmp_path / "shop" / "aliases.json").read_bytes() == content
    assert sorted(path.name for path in (tmp_path / "shop").iterdir() if path.is_dir()) == ["1"]


@pytest.mark.parametrize("name", ["shop@champion", "shop:3", "user@host:80"])
def test_a_path_that_looks_like_a_reference(tmp_path: Path, name: str) -> None:
    shutil.copytree(fitted("plain"), tmp_path / name)
    assert gpuseg.load_model(tmp_path / name).n_clusters == 4


def test_a_registry_that_cannot_be_written_or_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    registry = gpuseg.ModelRegistry(tmp_path / "file")
    with raises("output.not_writable"):
        registry.add("shop", fitted("plain"))
    with raises("registry.not_found"):
        gpuseg.ModelRegistry(tmp_path / "nowhere").names()
    with raises("path.unknown_file_system"):
        gpuseg.ModelRegistry("nothing://registry").add("shop", fitted("plain"))


def test_an_output_that_is_replaced_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpuseg.model_registry import registry as module

    load = module.load_output
    output = shutil.copytree(fitted("plain"), tmp_path / "out")

    def load_and_replace(path: Path, **options: Any) -> Any:
        loaded = load(path, **options)
        shutil.rmtree(output)
        shutil.copytree(fitted("unscaled"), output)
        return loaded

    monkeypatch.setattr(module, "load_output", load_and_replace)
    registry = gpuseg.ModelRegistry(tmp_path / "registry")
    with raises("output.changed", DataError):
        registry.add("shop", output)
    assert registry.names() == []


def test_uploads_that_were_given_up_are_removed(memory: Any) -> None:
    place = RegistryPlace(gpuseg.ModelRegistry("memory://gpuseg-test/registry"), {})
    for number, days in ((3, 2), (4, 0)):
        begun = datetime.now(UTC) - timedelta(days=days)
        place.write(f"{number}/_claim", begun.isoformat().encode())
        place.write(f"{number}/_model/model.safetensors", b"half")
    assert place.registry.add("shop", fitted("plain")) == 5
    assert {path.partition("/")[0] for path in place.version_files()} == {"4", "5"}


def test_a_version_stays_if_only_the_answer_got_lost(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = RegistryPlace(gpuseg.ModelRegistry("memory://gpuseg-test/registry"), {})
    write = memory.pipe_file

    def write_and_lose_the_answer(path: str, *args: Any, **options: Any) -> None:
        write(path, *args, **options)
        if path.endswith("aliases.json"):
            raise OSError("the connection is lost")

    with monkeypatch.context() as patch:
        patch.setattr(type(memory), "pipe_file", staticmethod(write_and_lose_the_answer))
        with raises("output.not_writable"):
            place.registry.add("shop", fitted("plain"), alias="champion")
    gpuseg.load_model(f"{place.registry.url}/shop@champion")
    assert place.registry.add("shop", fitted("plain")) == 2


# Several processes.


@pytest.mark.slow
@pytest.mark.parametrize("place", ["disk", "s3"], indirect=True)
def test_changes_of_several_processes_are_all_kept(place: RegistryPlace) -> None:
    n_processes, n_changes = (6, 10) if THOROUGH else (3, 1)
    change_at_the_same_time(
        place.registry.url, fitted("plain"), place.options, n_processes, n_changes
    )
    record = place.registry.describe("shop")
    total = n_processes * n_changes
    assert versions(record) == list(range(1, total + 1))
    assert len({path.partition("/")[0] for path in place.version_files()}) == total
    assert len(record.history) == 2 * total
    of_alias: dict[str, int] = {}
    for change in record.history:  # each one knows the one before
        assert change.before == of_alias.get(change.alias)
        of_alias[change.alias] = change.version
    assert record.aliases == of_alias


@pytest.mark.slow
@pytest.mark.parametrize("place", ["disk", "s3"], indirect=True)
def test_a_killed_add_is_invisible(place: RegistryPlace) -> None:
    registry, url = place.registry, place.registry.url
    registry.add("shop", fitted("plain"), alias="champion")
    step, n_killed, seen = 0, 0, [1]
    while add_and_be_killed(url, fitted("unscaled"), place.options, step):
        n_killed += 1
        record = registry.describe("shop")
        if versions(record) != seen:  # it was killed after it had changed the record
            seen = versions(record)
            assert record.aliases["champion"] == seen[-1]
        for number in seen:
            gpuseg.load_model(registry.path("shop", number), storage_options=place.options)
        step += 1 if THOROUGH else 4
    assert n_killed >= 2
    assert versions(registry.describe("shop"))[-1] > seen[-1]
    if url.startswith("/"):
        assert leftovers(Path(url) / "shop") == []
        assert not list(Path(url, "shop").glob(".adding-*"))
