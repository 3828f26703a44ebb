"""The commands of registries of models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.fitted_outputs import fitted
from support.helpers import call

import gpuseg


def test_add_list_promote_and_path(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    registry, shop = tmp_path / "registry", f"{tmp_path}/registry/shop"
    first = call(capfd, "models", "add", shop, fitted("plain"), "--alias", "champion")
    assert first.code == 0
    assert first.out.splitlines() == ["version    1 (champion)", f"path       {shop}/1"]
    second = json.loads(call(capfd, "models", "add", shop, fitted("one_segment"), "--json").out)
    assert second == {"name": "shop", "version": 2, "path": f"{shop}/2", "alias": None}
    assert call(capfd, "models", "path", shop).out == f"{shop}/1\n"
    change = json.loads(call(capfd, "models", "promote", shop, "2", "--json").out)
    assert (change["alias"], change["version"], change["before"]) == ("champion", 2, 1)
    for model in (shop, f"{shop}@champion", f"{shop}@latest", f"{shop}:2", f"{shop}/"):
        path = call(capfd, "models", "path", model)
        assert (path.code, path.out) == (0, f"{shop}/2\n")
    assert gpuseg.load_model(path.out.strip()).n_clusters == 1
    listed = json.loads(call(capfd, "models", "list", shop, "--json").out)
    assert [version["aliases"] for version in listed["versions"]] == [[], ["champion"]]
    assert json.loads(call(capfd, "models", "list", registry, "--json").out)["models"] == [listed]
    assert call(capfd, "models", "promote", shop, "1").out.strip() == (
        "champion  version 1 (version 2 before)"
    )
    assert call(capfd, "models", "promote", shop, "1", "--alias", "old").out.endswith("(new)\n")
    for place, text in ((registry, "champion"), (shop, "before it version 2")):
        shown = call(capfd, "models", "list", place)
        assert shown.code == 0
        assert text in shown.out


def test_a_registry_may_be_the_root_of_a_store(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    memory: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    added = call(capfd, "models", "add", "memory://gpuseg-test", fitted("plain"), "--json")
    assert json.loads(added.out)["path"] == "memory://gpuseg-test/1"
    assert memory.exists("/gpuseg-test/1/_model/model.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("list", "nowhere"), 3),
        (("path", "nowhere/shop"), 3),
        (("promote", "nowhere/shop", "1"), 3),
        (("promote", "nowhere/shop", "1" * 5000), 3),
        (("promote", "nowhere/shop", "1", "--alias", "a b"), 2),
        (("add", "nowhere/a b", "nothing"), 2),
        (("add", "nowhere/shop", "nothing"), 3),
        (("add", "nowhere/shop"), 2),
    ],
)
def test_wrong_commands(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = call(capfd, "models", *arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert not list(tmp_path.iterdir())


def test_a_list_of_no_models(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    assert call(capfd, "models", "list", tmp_path / "file").code == 3
    listed = call(capfd, "models", "list", tmp_path / "empty")
    assert (listed.code, listed.out) == (0, f"no models in {tmp_path}/empty\n")
