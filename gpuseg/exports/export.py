"""Export a segmentation: load it, make the files of a format, write them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpuseg.errors import ConfigError, parameter_names
from gpuseg.exports.export_format import ExportedFiles, ExportFormat, ExportOptions, Layout
from gpuseg.exports.model_card import CARD_NAME, model_card
from gpuseg.exports.publish_files import publish_files, publish_folder
from gpuseg.exports.registry import export_format
from gpuseg.models.base import SegmentModel
from gpuseg.models.described_model import DescribedModel
from gpuseg.models.loading import load_output

_CARD_SUFFIX = ".card.md"
"""After the name of a file, for the model card beside it."""


def export(
    model: str | Path | SegmentModel,
    to: str,
    path: str | Path | None = None,
    *,
    dialect: str | None = None,
    table: str | None = None,
    id_column: str | None = None,
    form: str | None = None,
    card: bool = True,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> dict[str, bytes]:
    """Return a segmentation in the format of another system, and write it.

    Parameters
    ----------
    model : str, Path or SegmentModel
        The output folder of a run, or its ``_model``: a local path or an fsspec URL; or a model in
        memory, such as ``load_model(path).cut(5)``. Only an output has a manifest, and with it the
        id column, the names of the segments, and the figures of a model card.
    to : {"json", "sql", "onnx", "mlflow", "card"}
        The format; "card" is the model card.
    path : str, Path or None, default None
        Where the file or the folder is written, a local path or an fsspec URL. None writes
        nothing.
    dialect, table, id_column, form : str or None, default None
        Options of "sql"; other formats refuse them.
    card : bool, default True
        Whether a model card is written, too: beside the file, with ``.card.md`` after its name, or
        as ``model_card.md`` into the folder.
    overwrite : bool, default False
        Whether older files are replaced.
    storage_options : mapping, optional
        Options of the file system of `model`.

    Returns
    -------
    dict of str to bytes
        The content of each file of the format by its name.

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
    options = ExportOptions(dialect, table, id_column, form)
    chosen.check(options)
    if overwrite and path is None:
        raise ConfigError(
            "export.overwrites_nothing", value=overwrite, rule="needs a `path`",
            parameter="overwrite",
        )  # fmt: skip
    if not card and not chosen.has_card:
        raise ConfigError(
            "export.is_card", f"the format '{to}' is the model card itself",
            hint="leave this option out", parameter="card",
        )  # fmt: skip
    source = _described(model, storage_options)
    files = dict(chosen.make(source, options))
    if path is not None:
        text = model_card(source).encode() if card and chosen.has_card else None
        _publish(chosen, files, text, str(path), overwrite)
    return files


def _described(
    model: str | Path | SegmentModel, storage_options: Mapping[str, Any] | None
) -> DescribedModel:
    """Return a model with what is known of its run.

    Raises
    ------
    ConfigError, DataError, ResourceError
    """
    if isinstance(model, str | Path):
        with parameter_names({"path": "model"}):
            return load_output(model, storage_options=storage_options)
    if not isinstance(model, SegmentModel):
        raise ConfigError(
            "export.not_a_model", "no model of a job", value=type(model).__name__,
            rule="must be a path, a URL or what gpuseg.load_model returns",
            hint="run a job: estimators do not know from which columns their features are made",
            parameter="model",
        )  # fmt: skip
    if storage_options is not None:
        raise ConfigError(
            "export.options_without_path", "the model is in memory, not in a file system",
            hint="leave this option out", parameter="storage_options",
        )  # fmt: skip
    return DescribedModel(model)


def _publish(
    chosen: ExportFormat, files: ExportedFiles, card: bytes | None, path: str, overwrite: bool
) -> None:
    """Write the files, and the card where there is one."""
    if chosen.layout is Layout.FOLDER:
        cards = {} if card is None else {CARD_NAME: card}
        publish_folder({**files, **cards}, path, overwrite, chosen.mark)
        return
    (content,) = files.values()
    cards = {} if card is None else {f"{path}{_CARD_SUFFIX}": card}
    publish_files({path: content, **cards}, overwrite)


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
