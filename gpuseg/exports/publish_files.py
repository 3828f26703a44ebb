"""Write exported files so that a file has the old content or the new one, never a part of it."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpuseg.errors import ConfigError
from gpuseg.exports.export_format import ExportedFiles
from gpuseg.io.output.atomic import exchange
from gpuseg.io.output.base import cannot_write
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.runtime.forced_end import remove_if_forced
from gpuseg.runtime.owned_folder import OwnedFolder, remove_abandoned, share_as_usual

PATH = "path"
"""The parameter that names the target, in messages."""


def publish_files(files: ExportedFiles, overwrite: bool) -> None:
    """Write files, each at the path or URL that is its key.

    All are checked before the first is written, and each is replaced in one step.

    Raises
    ------
    ConfigError
        For a path that is a folder, and for one that exists and may not be replaced.
    ResourceError
        For a path that cannot be written.
    """
    targets = {path: Storage.from_url(path, {}, PATH) for path in files}
    for storage in targets.values():
        with wrap_store_errors(PATH, storage.url):
            _check_file(storage, overwrite)
    for path, storage in targets.items():
        with wrap_store_errors(PATH, storage.url):
            try:
                if storage.is_local:
                    _replace_file(Path(os.path.realpath(storage.root)), files[path])
                else:
                    storage.fs.pipe_file(storage.root, files[path])
            except OSError as error:
                raise cannot_write(storage.shown_url, error) from None


def publish_folder(files: ExportedFiles, path: str, overwrite: bool, mark: str) -> None:
    """Write files into a new folder, or put it in the place of an older export.

    A local folder appears whole. On an object store, `mark` is written last.

    Parameters
    ----------
    mark : str
        The file that shows that an existing folder is an older export of the format.

    Raises
    ------
    ConfigError
        For a path that exists and may not be replaced.
    ResourceError
        For a path that cannot be written.
    """
    storage = Storage.from_url(path, {}, PATH)
    with wrap_store_errors(PATH, storage.url):
        replaces = _check_folder(storage, overwrite, mark)
        try:
            if storage.is_local:
                _replace_folder(Path(os.path.realpath(storage.root)), files, replaces)
            else:
                others = {name: content for name, content in files.items() if name != mark}
                for name, content in {**others, mark: files[mark]}.items():
                    storage.fs.pipe_file(f"{storage.root}/{name}", content)
        except OSError as error:
            raise cannot_write(storage.shown_url, error) from None


def _check_file(storage: Storage, overwrite: bool) -> None:
    if storage.is_local:
        try:
            mode = Path(storage.root).stat().st_mode
        except OSError:
            return
        if not stat.S_ISREG(mode):
            raise ConfigError(
                "export.not_a_file", "is a folder or a device", value=storage.shown_url,
                hint="name a file", parameter=PATH,
            )  # fmt: skip
    elif not storage.fs.exists(storage.root):
        return
    if not overwrite:
        raise _exists(storage)


def _check_folder(storage: Storage, overwrite: bool, mark: str) -> bool:
    """Return whether the folder replaces another one."""
    if storage.is_local and os.path.lexists(storage.root) and not Path(storage.root).is_dir():
        raise ConfigError(
            "export.not_a_folder", "is a file", value=storage.shown_url,
            hint="name a folder", parameter=PATH,
        )  # fmt: skip
    fs, root = storage.fs, storage.root
    paths = fs.ls(root, detail=False) if fs.exists(root) else []
    names = [path.rstrip("/").rsplit("/", 1)[1] for path in paths]
    if not names:
        return False
    if not overwrite:
        raise _exists(storage)
    if mark not in names or not storage.is_local:
        raise ConfigError(
            "export.other_folder",
            f"is not empty, and not a local folder of an older export (with {mark})",
            value=storage.shown_url,
            hint="name another folder, or empty this one",
            parameter=PATH,
        )
    return True


def _exists(storage: Storage) -> ConfigError:
    return ConfigError(
        "export.exists", "exists already", value=storage.shown_url,
        hint="name another path, or replace it with `overwrite`", parameter=PATH,
    )  # fmt: skip


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """Return a new folder beside the target, which is removed afterwards, also by a forced end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name}.export-"
    remove_abandoned(target.parent, prefix)
    with OwnedFolder(target.parent, prefix) as owned:
        stop_watching = remove_if_forced(owned.remove)
        try:
            yield owned.path
        finally:
            stop_watching()


def _replace_file(target: Path, content: bytes) -> None:
    with _staging(target) as staged:
        _write(staged / target.name, content)
        (staged / target.name).replace(target)


def _replace_folder(target: Path, files: ExportedFiles, replaces: bool) -> None:
    with _staging(target) as staged:
        for name, content in files.items():
            _write(staged / name, content)
        share_as_usual(staged)
        if replaces:
            exchange(str(staged), str(target))
        else:
            staged.rename(target)  # fails if the target is a folder that is not empty


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
