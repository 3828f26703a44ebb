"""Inputs of several paths: a list of them, and globs."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gpuseg.errors import ConfigError
from gpuseg.io.glob_patterns import has_magic, matches, split_glob
from gpuseg.io.library_errors import LIBRARY_ERRORS
from gpuseg.io.storage import Storage

_SHOWN = 3
"""Most paths of a list that a message has."""

_OUTPUT_FILES = tuple(
    f"part-{number:05d}{run}.parquet"
    for number in range(10)
    for run in ("", "-20250101T000000-000000")
)
"""Names of files as a run writes them; on object stores they have the run."""


def paths_of(path: str | Sequence[str]) -> list[str]:
    """Return the paths of an input as a list."""
    return [path] if isinstance(path, str) else list(path)


def open_paths(path: str | Sequence[str], options: Mapping[str, Any], parameter: str) -> Storage:
    """Resolve a path, a glob or a list of these; nothing is listed.

    A path that exists is no glob, whatever characters it has.

    Parameters
    ----------
    options : mapping
        Options of the file system.
    parameter : str
        The parameter that holds the path, for messages.

    Raises
    ------
    ConfigError
        For a glob of a web server, and paths of several file systems.
    """
    urls = paths_of(path)
    opened = [_with_patterns(Storage.from_url(url, options, parameter), parameter) for url in urls]
    first = opened[0]
    if len(opened) == 1 and not first.patterns:
        return first
    for other in opened[1:]:
        if other.fs != first.fs or _host(other) != _host(first):
            raise ConfigError(
                "path.several_file_systems",
                f"{first.shown_url} and {other.shown_url} are on different file systems",
                hint="give paths of one file system",
                parameter=parameter,
            )
    folders = [storage.root if storage.patterns else _parent(storage.root) for storage in opened]
    root = os.path.commonpath(folders) if first.is_local else _common(folders)
    others = len(urls) - _SHOWN
    shown = ", ".join(urls[:_SHOWN]) + (f" and {others:,} others" if others > 0 else "")
    return Storage(shown, first.fs, root, selected=tuple(opened))


def _with_patterns(storage: Storage, parameter: str) -> Storage:
    """Return a glob as a storage of the folder above its patterns; other paths as they are."""
    if not has_magic(storage.root) or _exists(storage):
        return storage
    if "://" in storage.root:
        raise ConfigError(
            "path.glob_of_web_server",
            "a web server does not list its files",
            value=storage.url,
            hint="give the URLs of the files as a list",
            parameter=parameter,
        )
    folder, patterns = split_glob(storage.root)
    if storage.is_local:
        folder = folder or "/"
    return replace(storage, root=folder, patterns=tuple(patterns))


def _exists(storage: Storage) -> bool:
    if storage.is_local:
        return os.path.lexists(storage.root)
    try:
        return bool(storage.fs.exists(storage.root))
    except LIBRARY_ERRORS:  # listing it says what is wrong
        return False


def _host(storage: Storage) -> str:
    """Return the host of a web server; other file systems have their own."""
    scheme, sign, rest = storage.root.partition("://")
    return f"{scheme}{sign}{rest.partition('/')[0]}" if sign else ""


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or ("/" if path.startswith("/") else "")


def _common(folders: Sequence[str]) -> str:
    """Return the folder that all others are in."""
    split = [folder.split("/") for folder in folders]
    shared = []
    for names in zip(*split, strict=False):
        if len(set(names)) > 1:
            break
        shared.append(names[0])
    return "/".join(shared)


def overlaps(source: Storage, target: Storage) -> bool:
    """Return whether an output is the input, or contains it, or is inside it."""
    if source.is_local != target.is_local:
        return False
    return any(_overlaps(each, target) for each in source.selected or (source,))


def is_same_place(one: Storage, other: Storage) -> bool:
    """Return whether two folders are the same one."""
    return one.is_local == other.is_local and _place(one) == _place(other)


def _place(storage: Storage) -> str:
    return os.path.realpath(storage.root) if storage.is_local else storage.root.rstrip("/")


def _overlaps(source: Storage, target: Storage) -> bool:
    a, b = (os.path.realpath(s.root) if s.is_local else s.root for s in (source, target))
    if f"{a}/".startswith(f"{b}/"):
        return True
    if not source.patterns:
        return f"{b}/".startswith(f"{a}/")
    above = f"{a.rstrip('/')}/" if a else ""
    names = b.removeprefix(above).split("/")
    return b.startswith(above) and any(
        matches(source.patterns, [*names, file]) for file in _OUTPUT_FILES
    )


def has_file_inside(source: Storage, paths: Sequence[str], target: Storage) -> bool:
    """Return whether one of the files of several paths is in the folder of an output."""
    if not source.selected or source.is_local != target.is_local:
        return False
    real = os.path.realpath if source.is_local else str
    folder = f"{real(target.root)}/"
    return any(real(path).startswith(folder) for path in paths)
