"""What `gpuseg models list` shows: the models of a registry, and the versions of one of them."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from gpuseg.models.registered_models import CHAMPION, RegisteredModel, version_folder
from gpuseg.reporting.cells import cell


def models_table(records: Mapping[str, RegisteredModel]) -> Table:
    """Build the table of the models of a registry, by their names."""
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("model")
    table.add_column("versions", justify="right")
    table.add_column(CHAMPION, justify="right")
    for name, record in records.items():
        champion = record.aliases.get(CHAMPION, "")
        table.add_row(cell(name), f"{len(record.versions):,}", str(champion))
    return table


def versions_table(record: RegisteredModel) -> Table:
    """Build the table of the versions of a model, newest last; times are UTC."""
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("version", "added", "run"):
        table.add_column(column, no_wrap=True)
    table.add_column("segments", justify="right")
    table.add_column("aliases")
    for version in record.versions:
        table.add_row(
            str(version.version),
            cell(_to_the_minute(version.added)),
            cell(version.run_id or ""),
            f"{version.n_clusters:,}",
            cell(", ".join(_aliases(record, version.version))),
        )
    return table


def history_lines(record: RegisteredModel) -> list[str]:
    """Return a line for each change of an alias, oldest first."""
    return [
        f"{_to_the_minute(change.at)}  {change.alias}: version {change.version}"
        + (f", before it version {change.before}" if change.before else "")
        for change in record.history
    ]


def record_as_values(name: str, folder: str, record: RegisteredModel) -> dict[str, Any]:
    """Return the record of a model as values of JSON.

    Parameters
    ----------
    folder : str
        Path or URL of the registered model.
    """
    values = record.model_dump(mode="json")
    return {
        "name": name,
        "aliases": values["aliases"],
        "versions": [
            {
                **version,
                "aliases": _aliases(record, version["version"]),
                "path": version_folder(folder, version["version"]),
            }
            for version in values["versions"]
        ],
        "history": values["history"],
    }


def _to_the_minute(time: str) -> str:
    """Return a time of ISO 8601 as a person reads it."""
    return time[:16].replace("T", " ")


def _aliases(record: RegisteredModel, number: int) -> list[str]:
    return sorted(alias for alias, version in record.aliases.items() if version == number)
