"""The data files below a path: all of them, or an error that names the one that cannot be listed.

Names that begin with '_' or '.' are ignored on purpose, as in Spark, and so are files that Windows
and Excel write beside others. Nothing else is.
"""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from gpuseg.errors import DataError
from gpuseg.io.glob_patterns import Above, Entry, expand
from gpuseg.io.library_errors import LIBRARY_ERRORS, exhausted, first_line
from gpuseg.io.regular_files import refuse_special_file
from gpuseg.io.storage import Storage, store_errors
from gpuseg.io.table_formats.detect import refuse_tables_above, refuse_tables_below

_NO_FILE = "path.no_data_file"
_PATHS_AT_ONCE = 16

_OF_WINDOWS = ("desktop.ini", "thumbs.db", "ehthumbs.db")
_OWNER_FILE_OF_EXCEL = "~$"
_ORIGIN_OF_DOWNLOAD = ":Zone.Identifier"

_Folder = tuple[str, Above]
"""The path of a folder; the device and the number of it and of each folder that leads to it."""


def list_files(storage: Storage, parameter: str, formats: str = "Parquet") -> list[tuple[str, int]]:
    """Return path and size of each data file, by name.

    Links are followed.

    Parameters
    ----------
    parameter, formats : str
        For messages: the parameter that holds the path, and the formats that it may have.

    Raises
    ------
    DataError
        If there is none; for a folder that cannot be listed, a link that leads nowhere or in a
        circle, a pipe, a device or a socket, and a name that is not UTF-8.
    """
    if storage.selected:
        files = _selected_files(storage, parameter, formats)
    else:
        files = files_below(storage, parameter, formats)
    for path, _ in files:
        _check_encoding(storage.relative(path), parameter)
    return sorted(files, key=lambda item: item[0].split("/"))


def files_below(storage: Storage, parameter: str, formats: str) -> list[tuple[str, int]]:
    """Return path and size of each data file of a path, in no order.

    Raises
    ------
    DataError
        See `list_files`.
    """
    find = _local_files if storage.is_local else _objects
    if not (files := find(storage, parameter, formats)):
        raise DataError(
            _NO_FILE,
            "the folder has no data file (names that begin with '_' or '.' are ignored)",
            value=storage.url,
            hint=f"put {formats} files into it",
            parameter=parameter,
        )
    return files


def _selected_files(storage: Storage, parameter: str, formats: str) -> list[tuple[str, int]]:
    """Return the files of several paths and globs.

    Raises
    ------
    DataError
        For a path or glob without files, and a file of two of them.
    """
    paths = [(item, path) for item in storage.selected for path in _paths(item, parameter)]
    refuse_tables_above(storage, [path for _, path in paths], parameter)

    def below(match: tuple[Storage, str]) -> list[tuple[str, int]]:
        item, path = match
        try:
            return files_below(replace(item, root=path, patterns=()), parameter, formats)
        except DataError as error:
            if error.code == _NO_FILE and item.patterns:
                return []
            raise

    with ThreadPoolExecutor(_PATHS_AT_ONCE) as pool:
        listed = list((map if storage.is_local else pool.map)(below, paths))
    files: dict[str, tuple[str, int]] = {}
    owners: dict[str, Storage] = {}
    is_list = len(storage.selected) > 1
    for (item, _), of_path in zip(paths, listed, strict=True):
        for path, size in of_path:
            real = os.path.realpath(path) if is_list and storage.is_local else path
            if owners.setdefault(real, item) is not item:
                raise DataError(
                    "path.listed_twice",
                    f"{storage.relative(path)} is in {owners[real].shown_url} and in "
                    f"{item.shown_url}",
                    hint="leave it out of one of them: its rows would count twice",
                    parameter=parameter,
                )
            files[path] = (path, size)
    with_files = {id(item) for item in owners.values()}
    for item in storage.selected:
        if id(item) not in with_files:
            raise _no_match(item, parameter)
    return list(files.values())


def _paths(item: Storage, parameter: str) -> list[str]:
    """Return the path of an item, or the paths that match it."""
    if not item.patterns:
        return [item.root]
    entries = cache(partial(_named_entries, item, parameter))
    follow = partial(_followed, item, parameter)
    paths = sorted(set(expand(item.root, item.patterns, entries, _is_hidden, follow)))
    if not paths:
        raise _no_match(item, parameter)
    return paths


def _no_match(item: Storage, parameter: str) -> DataError:
    return DataError(
        "path.no_match",
        "no data file matches (names that begin with '_' or '.' are ignored)",
        value=item.url,
        hint="check the path; * matches within one name, and ** folders of any depth"
        + _about_braces(item.url),
        parameter=parameter,
    )


def _about_braces(path: str) -> str:
    """Return a hint for a pattern of other programs that a path has, or nothing."""
    return "; for {a,b}, give a list of paths" if "{" in path else ""


def _named_entries(storage: Storage, parameter: str, folder: str) -> list[Entry]:
    """Return the entries of a folder; none if there is no such folder."""
    try:
        if storage.is_local:
            with os.scandir(folder) as entries:
                return [(entry.name, entry.is_dir()) for entry in entries]
        return [
            (str(entry["name"]).rstrip("/").rpartition("/")[2], entry["type"] == "directory")
            for entry in storage.fs.ls(folder, detail=True)
            if str(entry["name"]).rstrip("/") != folder
        ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except store_errors():
        raise
    except LIBRARY_ERRORS as error:
        raise exhausted(error, folder) or _unlistable(storage, parameter, folder, error) from None


def _check_encoding(name: str, parameter: str) -> None:
    """Refuse a name that Arrow cannot open, and that no text file could have."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(
            "path.not_utf8",
            f"the name of the file {name} is not UTF-8",
            hint="rename it",
            parameter=parameter,
        ) from None


def _is_hidden(name: str) -> bool:
    """Return whether a file or folder is ignored."""
    is_of_windows = name.lower() in _OF_WINDOWS or name.endswith(_ORIGIN_OF_DOWNLOAD)
    return name[:1] in ("_", ".") or name.startswith(_OWNER_FILE_OF_EXCEL) or is_of_windows


def _missing(storage: Storage, parameter: str, formats: str) -> DataError:
    return DataError(
        "path.not_found",
        f"no such file or folder ({storage.root})",
        value=storage.url,
        hint=f"give a {formats} file, a folder of them, or a URL{_about_braces(storage.url)}",
        parameter=parameter,
    )


def _unlistable(storage: Storage, parameter: str, path: str, error: BaseException) -> DataError:
    """Return the error of a path that cannot be listed."""
    where = "" if path == storage.root else f"{storage.relative(path)} "
    return DataError(
        "path.unlistable",
        f"{where}cannot be listed ({first_line(error)})",
        value=storage.url,
        hint="allow this user to read it, or move it out of the folder (names that begin with '_' "
        "or '.' are ignored)",
        parameter=parameter,
    )


def _objects(storage: Storage, parameter: str, formats: str) -> list[tuple[str, int]]:
    """Return the visible files of a file system that is not this machine's."""
    entries = storage.find(parameter)
    if entries is None:
        raise _missing(storage, parameter, formats)
    refuse_tables_below(storage, entries, parameter)
    return [
        (path, int(info.get("size") or 0))
        for path, info in entries.items()
        if path == storage.root or not any(map(_is_hidden, storage.relative(path).split("/")))
    ]


def _local_files(storage: Storage, parameter: str, formats: str) -> list[tuple[str, int]]:
    """Return the visible files of this machine's file system."""
    root = storage.root
    try:
        info = Path(root).stat()
    except FileNotFoundError:
        if not Path(root).is_symlink():
            raise _missing(storage, parameter, formats) from None
        raise _dangling(storage, parameter, root) from None
    except (OSError, ValueError) as error:
        raise _unlistable(storage, parameter, root, error) from None
    if not stat.S_ISDIR(info.st_mode):
        refuse_special_file(storage.url, info.st_mode)
        return [(root, info.st_size)]
    files: list[tuple[str, int]] = []
    waiting: list[_Folder] = [(root, ((info.st_dev, info.st_ino),))]
    while waiting:
        files_here, folders = _entries(storage, parameter, *waiting.pop())
        files += files_here
        waiting += folders
    return files


def _entries(
    storage: Storage, parameter: str, folder: str, above: Above
) -> tuple[list[tuple[str, int]], list[_Folder]]:
    """Return the visible files and folders in a folder; `above` are those that lead to it."""
    files: list[tuple[str, int]] = []
    folders: list[_Folder] = []
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except OSError as error:
        raise _unlistable(storage, parameter, folder, error) from None
    refuse_tables_below(storage, (f"{folder.rstrip('/')}/{name}" for name in names), parameter)
    for name in names:
        if _is_hidden(name):
            continue
        path = f"{folder.rstrip('/')}/{name}"
        try:
            info = Path(path).stat()
        except FileNotFoundError:
            raise _dangling(storage, parameter, path) from None
        except OSError as error:
            raise _unlistable(storage, parameter, path, error) from None
        if not stat.S_ISDIR(info.st_mode):
            refuse_special_file(storage.relative(path), info.st_mode)
            files.append((path, info.st_size))
            continue
        number = (info.st_dev, info.st_ino)
        if number in above:
            raise _circle(storage, parameter, path)
        folders.append((path, (*above, number)))
    return files, folders


def _followed(storage: Storage, parameter: str, path: str, above: Above) -> Above:
    """Return the numbers of a folder and of those above it; refuse a link to one of these."""
    if not storage.is_local:
        return above
    try:
        info = Path(path).stat()
    except OSError as error:
        raise _unlistable(storage, parameter, path, error) from None
    number = (info.st_dev, info.st_ino)
    if number in above:
        raise _circle(storage, parameter, path)
    return (*above, number)


def _circle(storage: Storage, parameter: str, path: str) -> DataError:
    """Return the error of a link to a folder that leads to it."""
    return DataError(
        "path.link_in_a_circle",
        f"{storage.relative(path)} is a link to a folder above it",
        value=storage.url,
        hint="remove the link",
        parameter=parameter,
    )


def _dangling(storage: Storage, parameter: str, path: str) -> DataError:
    """Return the error of a name whose file is not there."""
    return DataError(
        "path.dangling_link",
        f"{storage.relative(path)} is a link to a file that is not there, or was just removed",
        value=storage.url,
        hint="restore the file, or remove the link",
        parameter=parameter,
    )
