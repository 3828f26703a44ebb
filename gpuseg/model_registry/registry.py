"""A registry of models: a folder with a folder for each name, and versions in it."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpuseg.errors import ConfigError, DataError, parameter_names
from gpuseg.io.storage import Storage
from gpuseg.model_registry.base import VersionStore
from gpuseg.model_registry.copy_output import copy_output
from gpuseg.model_registry.folders import model_names, refuse_other_use, step_to_a_model
from gpuseg.model_registry.local_versions import LocalVersions
from gpuseg.model_registry.object_versions import ObjectVersions
from gpuseg.models.loading import SavedOutput, load_output
from gpuseg.models.registered_models import (
    ALIAS_PATTERN,
    CHAMPION,
    LATEST,
    NAME_PATTERN,
    ModelReference,
    Promotion,
    RegisteredModel,
    RegisteredVersion,
    selected_number,
    version_folder,
)


class ModelRegistry:
    """A registry of models in a folder, on a file system or an object store.

    Parameters
    ----------
    url : str or Path
        The folder, or any fsspec URL. It need not exist.
    storage_options : mapping, optional
        Options of the URL's file system, such as credentials.

    Examples
    --------
    >>> import gpuseg
    >>> registry = gpuseg.ModelRegistry("registry")
    >>> registry.add("shop", "out/segments", alias="champion")  # doctest: +SKIP
    1
    >>> gpuseg.load_model("registry/shop@champion")  # doctest: +SKIP
    KMeansModel(n_clusters=5, n_features=3)
    """

    def __init__(
        self, url: str | Path, *, storage_options: Mapping[str, Any] | None = None
    ) -> None:
        scheme, separator, path = str(url).rpartition("://")
        self.url = f"{scheme}{separator}{path.rstrip('/') or path[:1]}" or "."
        self._options = storage_options or {}

    def __repr__(self) -> str:
        return f"ModelRegistry({Storage.from_url(self.url, self._options, 'path').shown_url!r})"

    def names(self) -> list[str]:
        """Return the names of the registered models, sorted.

        Raises
        ------
        DataError
            If there is no folder.
        ResourceError
            If it cannot be read.
        """
        storage = Storage.from_url(self.url, self._options, "path")
        names = model_names(storage)
        if names is None:
            raise DataError(
                "registry.not_found", "there is no such folder", value=storage.shown_url,
                hint="give the folder of a registry, or add a model first", parameter="path",
            )  # fmt: skip
        return names

    def add(
        self,
        name: str,
        output: str | Path,
        *,
        alias: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> int:
        """Add the model of an output as a new version, and return its number.

        The version has the model, the manifest and the report. The parts of the output, which
        have customers, are not copied.

        Parameters
        ----------
        name : str
        output : str or Path
            An output folder, its ``_model`` folder, or a version of a registry.
        alias : str, optional
            An alias that is to stand for the new version, such as "champion".
        storage_options : mapping, optional
            Options of the file system of `output`.

        Raises
        ------
        ConfigError
            For a name or an alias with other characters than these may have, and for a folder that
            is an output or a registry.
        DataError
            When there is no model, or a damaged one.
        ResourceError
            When a file cannot be read or written.
        """
        if alias is not None:
            check_alias(alias)
        store = self._store(name)
        if store.read() is None:
            refuse_other_use(Storage.from_url(self.folder(name), self._options, "path"))
        with parameter_names({"path": "output"}):
            saved = load_output(output, storage_options=storage_options)
        return store.add(
            lambda target: copy_output(saved, target),
            lambda before, number: _with_version(before, number, saved, alias),
        )

    def promote(self, name: str, version: int | str, *, alias: str = CHAMPION) -> Promotion:
        """Let an alias stand for a version, in one step.

        Parameters
        ----------
        name : str
        version : int or str
            Number of the version, also as text, or an alias of it.
        alias : str, default "champion"

        Returns
        -------
        Promotion
            The change, with the version that the alias stood for before. It is not recorded if that
            is the same version.

        Raises
        ------
        ConfigError
            For an alias with other characters than an alias may have.
        DataError
            When there is no such model or version.
        ResourceError
            When the registry cannot be written.
        """
        check_alias(alias)
        store = self._store(name)
        self._existing(name, store.read())
        reference = ModelReference(self.folder(name), version)
        done: list[Promotion] = []

        def change(before: RegisteredModel) -> RegisteredModel:
            number = selected_number(before, reference)
            done[:] = [_promotion(before, alias, number)]
            return _with_alias(before, alias, number)

        store.update(change)
        return done[0]

    def describe(self, name: str) -> RegisteredModel:
        """Return the versions, the aliases and the history of a model.

        Raises
        ------
        DataError
            When there is no such model, or its record is damaged.
        ResourceError
            When it cannot be read.
        """
        return self._existing(name, self._store(name).read())

    def path(self, name: str, version: int | str = CHAMPION) -> str:
        """Return the folder of a version, which is a path or a URL that `load_model` takes.

        Parameters
        ----------
        name : str
        version : int or str, default "champion"
            Number of the version, also as text, or an alias; "latest" is the newest version.

        Raises
        ------
        DataError
            When there is no such model or version.
        ResourceError
            When it cannot be read.
        """
        folder = self.folder(name)
        number = selected_number(self.describe(name), ModelReference(folder, version))
        return version_folder(folder, number)

    def folder(self, name: str) -> str:
        """Return the path or URL of a model, with or without versions.

        Raises
        ------
        ConfigError
            For a name with other characters than a name may have.
        """
        if not re.fullmatch(NAME_PATTERN, name):
            raise ConfigError(
                "registry.wrong_name", value=name, parameter="name",
                rule="the name of a model must have letters, digits, '.', '_' and '-' only, and "
                "start with a letter or a digit",
            )  # fmt: skip
        return f"{self.url}{'' if self.url.endswith('/') else '/'}{name}"

    def _store(self, name: str) -> VersionStore:
        storage = Storage.from_url(self.folder(name), self._options, "path")
        return LocalVersions(storage) if storage.is_local else ObjectVersions(storage)

    def _existing(self, name: str, registered: RegisteredModel | None) -> RegisteredModel:
        if registered is None:
            storage = Storage.from_url(self.url, self._options, "path")
            folder = Storage.from_url(self.folder(name), self._options, "path")
            raise DataError(
                "registry.unknown_model", f"there is no model of the name {name!r}",
                value=storage.shown_url, parameter="path",
                hint=step_to_a_model(name, storage, folder),
            )  # fmt: skip
        return registered


def check_alias(alias: str) -> None:
    """Refuse what is no alias.

    Raises
    ------
    ConfigError
    """
    if alias == LATEST or not re.fullmatch(ALIAS_PATTERN, alias):
        raise ConfigError(
            "registry.wrong_alias", value=alias, parameter="alias",
            rule=f"must have letters, digits, '_' and '-' only, start with a letter, and not be "
            f"'{LATEST}', which is always the newest version",
        )  # fmt: skip


def _with_version(
    before: RegisteredModel, number: int, saved: SavedOutput, alias: str | None
) -> RegisteredModel:
    """Return the record with a version more; one that has it already is returned as it is."""
    if any(version.version == number for version in before.versions):
        return before
    version = RegisteredVersion(
        version=number, added=_now(), run_id=saved.run_id, algorithm=saved.model.name,
        n_clusters=saved.model.n_clusters,
    )  # fmt: skip
    versions = sorted((*before.versions, version), key=lambda item: item.version)
    last = max(number, before.last_version)
    after = before.model_copy(update={"versions": tuple(versions), "last_version": last})
    return after if alias is None else _with_alias(after, alias, number)


def _with_alias(before: RegisteredModel, alias: str, number: int) -> RegisteredModel:
    """Return the record with another version of an alias, and with this change in the history."""
    if before.aliases.get(alias) == number:
        return before
    history = (*before.history, _promotion(before, alias, number))
    aliases = {**before.aliases, alias: number}
    return before.model_copy(update={"aliases": aliases, "history": history})


def _promotion(before: RegisteredModel, alias: str, number: int) -> Promotion:
    return Promotion(alias=alias, version=number, before=before.aliases.get(alias), at=_now())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
