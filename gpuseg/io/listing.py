"""The data files below a path: all of them, or an error that names the one that cannot be listed.

Names that begin with '_' or '.' are ignored on purpose, as in Spark, and so are files that Windows
and Excel write beside others. Nothing else is.
"""

import os
import stat
from pathlib import Path

from gpuseg.errors import DataError
from gpuseg.io.library_errors import first_line
from gpuseg.io.regular_files import refuse_special_file
from gpuseg.io.storage import Storage
from gpuseg.io.table_formats.detect import refuse_tables_below

_OF_WINDOWS = ("desktop.ini", "thumbs.db", "ehthumbs.db")
_OWNER_FILE_OF_EXCEL = "~$"
_ORIGIN_OF_DOWNLOAD = ":Zone.Identifier"

_Folder = tuple[str, tuple[tuple[int, int], ...]]
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
    find = _local_files if storage.is_local else _objects
    files = find(storage, parameter, formats)
    visible = sorted(files, key=lambda item: item[0].split("/"))
    if not visible:
        raise DataError(
            "path.no_data_file",
            "the folder has no data file (names that begin with '_' or '.' are ignored)",
            value=storage.url,
            hint=f"put {formats} files into it",
            parameter=parameter,
        )
    for path, _ in visible:
        _check_encoding(storage.relative(path), parameter)
    return visible


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
        hint=f"give a {formats} file, a folder of them, or a URL",
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
    storage: Storage, parameter: str, folder: str, above: tuple[tuple[int, int], ...]
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
            raise DataError(
                "path.link_in_a_circle",
                f"{storage.relative(path)} is a link to a folder above it",
                value=storage.url,
                hint="remove the link",
                parameter=parameter,
            )
        folders.append((path, (*above, number)))
    return files, folders


def _dangling(storage: Storage, parameter: str, path: str) -> DataError:
    """Return the error of a name whose file is not there."""
    return DataError(
        "path.dangling_link",
        f"{storage.relative(path)} is a link to a file that is not there, or was just removed",
        value=storage.url,
        hint="restore the file, or remove the link",
        parameter=parameter,
    )
