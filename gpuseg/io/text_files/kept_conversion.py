"""Converted files that an earlier attempt of the run has left in the folder for them."""

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from gpuseg.io.file_version import FileVersion
from gpuseg.io.output.base import cannot_write
from gpuseg.io.storage import Storage
from gpuseg.io.table_formats.snapshot import InputFile
from gpuseg.io.text_files.convert import (
    ConvertedFiles,
    TextSource,
    Wanted,
    convert_files,
    converted_files,
)
from gpuseg.io.text_files.number_format import NumberFormat
from gpuseg.io.text_files.options import TextOptions
from gpuseg.runtime.machine_start import machine_start
from gpuseg.runtime.record_pickle import dumps, loads

_FIELDS = [field.name for field in fields(TextSource) if field.name != "storage"]


@dataclass(frozen=True)
class _KeptConversion:
    """What a conversion has come to, without places.

    Attributes
    ----------
    key : str
        Hash of all that it depends on.
    start : str
        The start of the machine: its memory has files that the disk may not have.
    sources : tuple of mapping
        The fields of each `TextSource`.
    sizes : tuple of int
        Bytes of each Parquet file.
    numbers : NumberFormat
    rows : int
    """

    key: str
    start: str
    sources: tuple[Mapping[str, Any], ...]
    sizes: tuple[int, ...]
    numbers: NumberFormat
    rows: int


def convert_or_take(
    storage: Storage,
    listed: Sequence[InputFile],
    folder: Storage,
    options: TextOptions,
    wanted: Wanted,
) -> ConvertedFiles:
    """Return what `convert_files` returns; files that are converted already are taken.

    Raises
    ------
    ConfigError, DataError, ResourceError
        See `convert_files`.
    """
    key = _key(storage, listed, options, wanted)
    earlier = _kept(storage, folder, key)
    if earlier is not None:
        return earlier
    converted = convert_files(storage, listed, folder, options, wanted)
    sources = tuple({n: getattr(source, n) for n in _FIELDS} for source in converted.sources)
    sizes = tuple(file.size for file in converted.files)
    kept = _KeptConversion(
        key, machine_start(), sources, sizes, converted.numbers, converted.rows or 0
    )
    try:
        folder.fs.pipe_file(_name(folder), dumps(kept))
    except OSError as error:
        raise cannot_write(_name(folder), error) from None
    return converted


def _kept(storage: Storage, folder: Storage, key: str) -> ConvertedFiles | None:
    """Return the files that an earlier attempt has converted, if they are whole."""
    try:
        kept = loads(folder.fs.cat_file(_name(folder)))
    except (OSError, pickle.UnpicklingError):
        return None
    if not isinstance(kept, _KeptConversion) or kept.key != key:
        return None
    if folder.is_local and kept.start != machine_start():
        return None
    sources = [TextSource(storage=storage, **values) for values in kept.sources]
    for source, size in zip(sources, kept.sizes, strict=True):
        path = f"{folder.root}/{source.name}"
        if not folder.fs.exists(path) or folder.fs.size(path) != size:
            return None
    return converted_files(storage, folder, sources, kept.numbers, kept.rows)


def _name(folder: Storage) -> str:
    """Return the path of the file that tells what the folder has."""
    return f"{folder.root}.converted"


def _key(
    storage: Storage, listed: Sequence[InputFile], options: TextOptions, wanted: Wanted
) -> str:
    files = [(file.path, _state(storage.version(file.path))) for file in listed]
    return hashlib.sha256(repr((storage.url, files, options, wanted)).encode()).hexdigest()


def _state(version: FileVersion) -> tuple[Any, ...]:
    return version.size, version.marks, version.machine
