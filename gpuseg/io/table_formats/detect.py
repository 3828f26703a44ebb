"""Recognize the folder of a table by what its format keeps beside the data.

Such a folder also has files of older versions, so that its files are not its rows.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gpuseg.errors import DataError
from gpuseg.io.storage import Storage

DELTA, ICEBERG, HUDI = "Delta", "Iceberg", "Hudi"
ICEBERG_METADATA = ".metadata.json"

_LOGS = {"_delta_log": DELTA, ".hoodie": HUDI}
_FOLDERS_AT_ONCE = 16

_LEVELS = 4
"""Folders above a path that are looked at; partitions of tables are rarely deeper."""


def table_format(storage: Storage, parameter: str) -> str | None:
    """Return the format of the table at a path, None for plain files.

    Raises
    ------
    DataError
        For a path inside a table; `parameter` holds the path, for messages.
    """
    fs, root = storage.fs, storage.root
    if root.endswith(ICEBERG_METADATA):
        return ICEBERG
    if "://" in root:  # a server of HTTP has no folders, and some answer to any path
        return None
    if name := _logged(fs, root) or (ICEBERG if iceberg_metadata(fs, root) else None):
        return name
    folder = root
    for _ in range(_LEVELS):
        folder, _, child = folder.rpartition("/")
        if not folder:
            break
        inside = _logged(fs, folder)
        if child == "data" and iceberg_metadata(fs, folder):
            inside = ICEBERG
        if inside:
            raise _path_inside(storage, inside, folder, parameter)
    return None


def refuse_tables_above(storage: Storage, paths: Sequence[str], parameter: str) -> None:
    """Refuse paths below the root that are inside a table.

    Raises
    ------
    DataError
    """
    fs, root = storage.fs, storage.root
    if kind := table_format(storage, parameter):
        raise _path_inside(storage, kind, root, parameter)
    folders = set[str]()
    for path in paths:
        folder = path.rpartition("/")[0]
        while len(folder) > len(root) and folder not in folders and "://" not in root:
            folders.add(folder)
            folder = folder.rpartition("/")[0]

    def inside(folder: str) -> str | None:
        return _logged(fs, folder) or (ICEBERG if iceberg_metadata(fs, folder) else None)

    with ThreadPoolExecutor(_FOLDERS_AT_ONCE) as pool:
        for folder, kind in zip(sorted(folders), pool.map(inside, sorted(folders)), strict=True):
            if kind:
                raise _path_inside(storage, kind, folder, parameter)


def _path_inside(storage: Storage, kind: str, folder: str, parameter: str) -> DataError:
    return DataError(
        "table.path_inside",
        f"is inside the {kind} table {folder}, whose files may also be of older versions",
        value=storage.url,
        hint="give the path of the table",
        parameter=parameter,
    )


def _logged(fs: Any, folder: str) -> str | None:
    """Return the format whose log is in a folder; a folder that cannot be looked into has none.

    If it is the input itself, listing it says what is wrong, or finds the log.
    """
    try:
        return next((name for log, name in _LOGS.items() if fs.exists(f"{folder}/{log}")), None)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - a file system may raise whatever it likes
        return None


def iceberg_metadata(fs: Any, folder: str) -> list[str]:
    """Return the metadata files of an Iceberg table; none if the folder is no such table."""
    try:
        names = fs.ls(f"{folder}/metadata", detail=False)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - a file system may raise whatever it likes; see `_logged`
        return []
    return sorted(name for name in names if name.endswith(ICEBERG_METADATA))


def refuse_tables_below(storage: Storage, paths: Iterable[str], parameter: str) -> None:
    """Refuse a folder of plain files that has a table somewhere below.

    Raises
    ------
    DataError
    """
    for path in paths:
        parts = storage.relative(path).split("/")
        logs = [i for i, part in enumerate(parts) if part in _LOGS]
        if parts[-1].endswith(ICEBERG_METADATA) and parts[-2:-1] == ["metadata"]:
            logs.append(len(parts) - 2)
        if logs:
            name = _LOGS.get(parts[logs[0]], ICEBERG)
            if logs[0] == 0:  # a path by itself is recognized before
                raise DataError(
                    "table.among_paths",
                    f"{storage.root} is a table of {name}, which cannot be one of several paths",
                    value=storage.url,
                    hint="give the path of the table alone",
                    parameter=parameter,
                )
            raise DataError(
                "table.path_above",
                f"contains the {name} table {'/'.join(parts[: logs[0]])}, among other files",
                value=storage.url,
                hint="give the path of one table",
                parameter=parameter,
            )
