"""What a format of exports is: the files that it makes, and the options that it takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import Enum

from gpuseg.errors import ConfigError
from gpuseg.models.described_model import DescribedModel

ExportedFiles = Mapping[str, bytes]
"""The content of each file by its name; in a folder, names may have slashes."""


class Layout(Enum):
    """The kind of files that a format makes."""

    TEXT = "a text"
    BINARY = "a binary file"
    FOLDER = "a folder"


@dataclass(frozen=True)
class ExportOptions:
    """Options of an export; None is an option that was not given.

    Attributes
    ----------
    dialect : str or None
        The dialect of SQL.
    table : str or None
        The table that SQL reads.
    id_column : str or None
        The column with the id of a customer, which SQL returns.
    form : str or None
        "columns" or "table": how SQL holds the centers.
    """

    dialect: str | None = None
    table: str | None = None
    id_column: str | None = None
    form: str | None = None

    def given(self) -> list[str]:
        """Return the names of the options that were given."""
        return [field.name for field in fields(self) if getattr(self, field.name) is not None]


@dataclass(frozen=True)
class ExportFormat:
    """One format.

    Attributes
    ----------
    name : str
        As ``--to`` has it.
    layout : Layout
    make : callable
        Returns the files of an output. A format that is one file returns one, whose name is a
        proposal.
    options : frozenset of str
        Names of the `ExportOptions` that the format takes.
    mark : str
        A file of a format that is a folder; a folder that has it may be replaced.
    has_card : bool
        Whether a model card is written with the files.
    """

    name: str
    layout: Layout
    make: Callable[[DescribedModel, ExportOptions], ExportedFiles]
    options: frozenset[str] = frozenset()
    mark: str = ""
    has_card: bool = True

    def check(self, options: ExportOptions) -> None:
        """Refuse options that the format does not take.

        Raises
        ------
        ConfigError
        """
        for name in options.given():
            if name not in self.options:
                raise ConfigError(
                    "export.option_of_other_format",
                    f"the format '{self.name}' has no such option",
                    value=getattr(options, name),
                    hint="leave it out, or choose another format",
                    parameter=name,
                )
