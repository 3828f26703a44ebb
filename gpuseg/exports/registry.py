"""The formats by name; a module is imported when its format is used, and not for their names."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from gpuseg.errors import ConfigError, ResourceError, install_extra

if TYPE_CHECKING:
    from gpuseg.exports.export_format import ExportFormat

FORMAT_MODULES = {
    "json": "gpuseg.exports.json_model",
    "sql": "gpuseg.exports.sql.statement",
    "onnx": "gpuseg.exports.onnx.onnx_model",
    "mlflow": "gpuseg.exports.mlflow_model",
    "card": "gpuseg.exports.model_card",
}
"""The module of each format, in the order in which they are listed. A format that needs a package
has an extra of its name."""


def export_format(name: str) -> ExportFormat:
    """Return the format of a name.

    Raises
    ------
    ConfigError
        For an unknown name.
    ResourceError
        When a package that the format needs is not installed.
    """
    if name not in FORMAT_MODULES:
        raise ConfigError(
            "export.unknown_format",
            value=name,
            rule=f"must be one of {', '.join(FORMAT_MODULES)}",
            parameter="to",
        )
    try:
        chosen: ExportFormat = import_module(FORMAT_MODULES[name]).FORMAT
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("gpuseg"):
            raise
        raise ResourceError(
            "export.package_missing",
            f"the package '{error.name}' is not installed",
            value=name,
            hint=install_extra(name),
            parameter="to",
        ) from None
    return chosen
