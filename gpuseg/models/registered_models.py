"""Registered models: numbered versions of a model in one folder, and aliases of some of them.

``REGISTRY/NAME/VERSION/`` holds each version, and ``REGISTRY/NAME/aliases.json`` is the record of
them all. A reference, as in ``REGISTRY/NAME@champion`` or ``REGISTRY/NAME:3``, stands for one
version. The package `gpuseg.model_registry` writes the record; this module reads it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from gpuseg.errors import DataError
from gpuseg.io.library_errors import first_line
from gpuseg.io.storage import Storage, unreachable, wrap_store_errors
from gpuseg.models.folder import ModelFolder
from gpuseg.redaction import redacted
from gpuseg.strict_json import parse_json

ALIASES = "aliases.json"
"""Name of the record, in the folder of a registered model."""

CHAMPION = "champion"
"""The alias of the version that is in use."""

LATEST = "latest"
"""Stands for the newest version; it is no alias that can be set."""

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"
ALIAS_PATTERN = r"[A-Za-z_][A-Za-z0-9_-]{0,99}"

_REFERENCE = re.compile(
    rf"(?P<folder>(?:.*/)?{NAME_PATTERN})(?:@(?P<alias>{ALIAS_PATTERN})|:(?P<version>[0-9]{{1,9}}))",
    re.DOTALL,
)

_MAX_BYTES = 2**26
"""Largest record that is read: of several hundred thousand versions."""

Version = Annotated[int, Field(ge=1, lt=10**9)]
Alias = Annotated[str, StringConstraints(pattern=f"^{ALIAS_PATTERN}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RegisteredVersion(_Entry):
    """A version of a model, as it was added."""

    version: Version
    """Its number; a number is never given to another version."""
    added: str
    """Time at which it was added, ISO 8601, UTC."""
    run_id: str | None
    """Run that fitted the model; None for a model without a manifest."""
    algorithm: str
    """Name of the algorithm."""
    n_clusters: Annotated[int, Field(ge=0)]
    """Number of segments, without noise."""


class Promotion(_Entry):
    """One change of an alias."""

    alias: Alias
    version: Version
    """Version that the alias stands for since then."""
    before: Version | None
    """Version that it stood for until then; None for a new alias."""
    at: str
    """Time of the change, ISO 8601, UTC."""


class RegisteredModel(_Entry):
    """The record of a registered model: what aliases.json holds."""

    format: Literal[1] = 1
    aliases: dict[Alias, Version] = {}
    """Version of each alias."""
    versions: tuple[RegisteredVersion, ...] = ()
    """Versions in the order of their numbers."""
    history: tuple[Promotion, ...] = ()
    """Changes of aliases, oldest first."""
    last_version: Annotated[int, Field(ge=0)] = 0
    """Highest number that was ever given."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        numbers = [version.version for version in self.versions]
        if numbers != sorted(set(numbers)):
            raise ValueError("the numbers of the versions do not rise")
        if max(numbers, default=0) > self.last_version:
            raise ValueError("last_version is lower than a version")
        if unknown := sorted(set(self.aliases.values()) - set(numbers)):
            raise ValueError(f"an alias stands for version {unknown[0]}, which does not exist")
        return self

    def number(self, selected: int | str) -> int:
        """Return the number of a version, given by its number or by an alias of it.

        A number may be text; an alias starts with a letter.

        Raises
        ------
        DataError
        """
        numbers = [version.version for version in self.versions]
        if isinstance(selected, str) and re.fullmatch("[0-9]{1,9}", selected):
            selected = int(selected)
        if isinstance(selected, int):
            if selected in numbers:
                return selected
            raise DataError(
                "registry.unknown_version", f"there is no version {selected}",
                rule=f"must be one of {_few(numbers)}", hint="add it first",
            )  # fmt: skip
        if selected == LATEST and numbers:
            return numbers[-1]
        if selected in self.aliases:
            return self.aliases[selected]
        known = sorted({*self.aliases, *[LATEST] * bool(numbers)})
        raise DataError(
            "registry.unknown_alias", f"there is no alias {selected!r}",
            rule=f"must be one of {', '.join(known)}" if known else "no version has an alias",
            hint="promote a version to it first",
        )  # fmt: skip

    @classmethod
    def from_bytes(cls, content: bytes, url: str) -> Self:
        """Build the record from the file at a URL.

        Raises
        ------
        DataError
        """
        try:
            return cls.model_validate(parse_json(content))
        except ValidationError as error:
            first = error.errors()[0]
            problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        except ValueError as error:
            problem = first_line(error)
        raise DataError(
            "registry.damaged",
            f"{url}/{ALIASES} is damaged ({problem})",
            hint=f"restore {ALIASES} from a backup; the versions are in the folders beside it",
        ) from None

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        return f"{self.model_dump_json(indent=1)}\n".encode()


@dataclass(frozen=True)
class ModelReference:
    """A reference to a version of a registered model.

    Attributes
    ----------
    folder : str
        Path or URL of the registered model, as in ``REGISTRY/NAME``.
    selected : int or str
        Number of the version, or an alias.
    """

    folder: str
    selected: int | str

    @classmethod
    def parse(cls, text: str) -> "ModelReference | None":
        """Return the reference that a text is; None for another path or URL."""
        match = _REFERENCE.fullmatch(text.rstrip("/"))
        if match is None or _is_host(match["folder"]):
            return None
        return cls(match["folder"], match["alias"] or int(match["version"]))


def resolve_model(path: str, storage_options: Mapping[str, Any] | None = None) -> str:
    """Return the folder of the version that a reference stands for at this moment.

    Any other path or URL is returned as it is, also one that looks like a reference if there is no
    registered model of that name. The call reads one small file, so a server can call it often to
    see that a version was promoted.

    Parameters
    ----------
    path : str
        ``REGISTRY/NAME@alias``, ``REGISTRY/NAME:version``, or any path or URL.
    storage_options : mapping, optional
        Options of the file system of a URL.

    Raises
    ------
    DataError
        When the registered model has no such version or alias, or its record is damaged.
    ResourceError
        When the file system cannot be reached.
    """
    reference = ModelReference.parse(path)
    if reference is None:
        return path
    registered = read_registered(reference.folder, storage_options)
    if registered is None:
        return path
    return version_folder(reference.folder, selected_number(registered, reference))


def selected_number(registered: RegisteredModel, reference: ModelReference) -> int:
    """Return the number of the version that a reference stands for; errors name the model.

    Raises
    ------
    DataError
    """
    try:
        return registered.number(reference.selected)
    except DataError as error:
        error.problem = f"{redacted(reference.folder)}: {error.problem}"
        raise


def version_folder(folder: str, number: int) -> str:
    """Return the path or URL of a version."""
    return f"{folder.rstrip('/')}/{number}"


def read_registered(
    folder: str, storage_options: Mapping[str, Any] | None = None
) -> RegisteredModel | None:
    """Return the record of the registered model at a path or URL; None if there is none.

    Raises
    ------
    DataError
        For a damaged record.
    ResourceError
        When it cannot be read.
    """
    storage = Storage.from_url(folder, storage_options or {}, "path")
    content = read_record(storage)
    return None if content is None else RegisteredModel.from_bytes(content, storage.shown_url)


def read_record(storage: Storage) -> bytes | None:
    """Return the content of the record of a registered model; None if there is none.

    Raises
    ------
    DataError, ResourceError
    """
    with wrap_store_errors("path", storage.url):
        try:
            return ModelFolder(storage, storage.root).read(ALIASES, _MAX_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise unreachable("path", storage.url, error) from None


def _is_host(folder: str) -> bool:
    """Return whether the last name of a URL is that of a host or a bucket, as in ``s3://bucket``."""
    return "://" in folder and "/" not in folder.partition("://")[2]


def _few(numbers: list[int]) -> str:
    shown = [str(number) for number in numbers[-10:]]
    return ", ".join(["…"] * (len(numbers) > 10) + shown) or "the versions that were added"
