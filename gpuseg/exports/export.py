"""Export a saved segmentation: load it, make the files of a format, write them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpuseg.errors import ConfigError
from gpuseg.exports.export_format import ExportedFiles, ExportFormat, ExportOptions, Layout
from gpuseg.exports.publish_files import publish_files, publish_folder
from gpuseg.exports.registry import export_format
from gpuseg.models.loading import load_output


def export(
    model: str | Path,
    to: str,
    path: str | Path | None = None,
    *,
    dialect: str | None = None,
    table: str | None = None,
    id_column: str | None = None,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> dict[str, bytes]:
    """Return a saved segmentation in the format of another system, and write it.

    Parameters
    ----------
    model : str or Path
        The output folder of a run, or its ``_model``: a local path or an fsspec URL.
    to : {"json", "onnx"}
        The format.
    path : str, Path or None, default None
        Where the file or the folder is written, a local path or an fsspec URL. None writes
        nothing.
    dialect, table, id_column : str or None, default None
        Options of "sql"; other formats refuse them.
    overwrite : bool, default False
        Whether an older file is replaced.
    storage_options : mapping, optional
        Options of the file system of `model`.

    Returns
    -------
    dict of str to bytes
        The content of each file by its name.

    Raises
    ------
    ConfigError
        For an unknown format, an option of another one, an algorithm that the format cannot
        express, and a path that exists.
    DataError
        When there is no model, or one that is damaged.
    ResourceError
        When a file system cannot be reached or written, or a package is missing.
    """
    chosen = export_format(to)
    options = ExportOptions(dialect, table, id_column)
    chosen.check(options)
    if overwrite and path is None:
        raise ConfigError(
            "export.overwrites_nothing", value=overwrite, rule="needs a `path`",
            parameter="overwrite",
        )  # fmt: skip
    source = load_output(model, storage_options=storage_options)
    files = dict(chosen.make(source, options))
    if path is not None:
        _publish(chosen, files, str(path), overwrite)
    return files


def _publish(chosen: ExportFormat, files: ExportedFiles, path: str, overwrite: bool) -> None:
    if chosen.layout is Layout.FOLDER:
        publish_folder(files, path, overwrite, chosen.mark)
        return
    (content,) = files.values()
    publish_files({path: content}, overwrite)


def check_printable(to: str) -> None:
    """Refuse a format that is no text, where a text is to be printed.

    Raises
    ------
    ConfigError
    """
    layout = export_format(to).layout
    if layout is not Layout.TEXT:
        raise ConfigError(
            "export.needs_path",
            f"the format '{to}' is {layout.value}, which is not printed",
            hint="name a path with `path`",
            parameter="path",
        )
