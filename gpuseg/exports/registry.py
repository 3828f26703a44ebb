"""The formats by name; a module is imported when its format is used."""

from importlib import import_module

from gpuseg.errors import ConfigError
from gpuseg.exports.export_format import ExportFormat

FORMAT_MODULES = {
    "json": "gpuseg.exports.json_model",
}
"""The module of each format, in the order in which they are listed."""


def export_format(name: str) -> ExportFormat:
    """Return the format of a name.

    Raises
    ------
    ConfigError
    """
    if name not in FORMAT_MODULES:
        raise ConfigError(
            "export.unknown_format",
            value=name,
            rule=f"must be one of {', '.join(FORMAT_MODULES)}",
            parameter="to",
        )
    chosen: ExportFormat = import_module(FORMAT_MODULES[name]).FORMAT
    return chosen
