"""Text files of a job: `[input]` and `[[join]]` are converted to Parquet before they are planned.

Workers of this machine read the converted files from a temporary folder. Those of other machines
reach the folder of the output only, so the files are staged there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gpuseg.formatting import count, numbered_row
from gpuseg.io.input_files import ListedInput, input_files
from gpuseg.io.parquet.dataset import no_rows
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.io.text_files.convert import ConvertedFiles, Wanted, has_text_files
from gpuseg.io.text_files.files import READABLE
from gpuseg.io.text_files.kept_conversion import convert_or_take
from gpuseg.io.text_files.number_format import NumberFormat
from gpuseg.io.text_files.options import TextOptions
from gpuseg.io.text_files.text_format import CSV, TextFormat
from gpuseg.manifest import TextFiles

STAGED = "_converted"
"""The folder of the staged output that has the converted files."""

_MOST_GROUPS = 5
"""Groups of files with one format that a note names."""

Scratch = Callable[[], Storage]
"""Make the folder for converted files, or return it if it is there."""


@dataclass(frozen=True)
class TextInput:
    """What was found in the text files of one section.

    Attributes
    ----------
    section : str
    formats : tuple of (str, TextFormat)
        Name and format of each file.
    numbers : NumberFormat
    converted : ConvertedFiles or None
        None for lines, which are read as they are.
    """

    section: str
    formats: tuple[tuple[str, TextFormat], ...]
    numbers: NumberFormat
    converted: ConvertedFiles | None = None

    def groups(self) -> list[tuple[TextFormat, list[str]]]:
        """Return the formats, but for names of columns, and the names of their files."""
        groups: dict[TextFormat, list[str]] = {}
        for name, format in self.formats:
            groups.setdefault(replace(format, columns=(), has_rows=True), []).append(name)
        return list(groups.items())

    def describe(self) -> str:
        """Return what was detected, for the plan and as a note."""
        groups = self.groups()
        texts = [
            f"{_names(names)}: {detected.describe()}" for detected, names in groups[:_MOST_GROUPS]
        ]
        if len(groups) > _MOST_GROUPS:
            texts.append(f"and {count(len(groups) - _MOST_GROUPS, 'other format')}")
        if not self.numbers.is_plain:
            texts.append(f"numbers read with {' and '.join(self.numbers.keys())}")
        return f"{self.section}: {'; '.join(texts)}"

    def summaries(self) -> tuple[TextFiles, ...]:
        """Return what was detected, for the manifest."""
        return tuple(
            TextFiles(
                files=len(names),
                first=names[0],
                format=detected.kind,
                encoding=detected.encoding,
                delimiter=detected.delimiter if detected.kind == CSV else None,
                quote=detected.quote if detected.kind == CSV else None,
                sheet=None if detected.kind == CSV else detected.sheet,
                skipped_rows=detected.skip_rows,
                skipped_footer=detected.skip_footer,
                has_header=detected.has_header,
                decimal=self.numbers.decimal,
                thousands=self.numbers.thousands,
            )
            for detected, names in self.groups()
        )


def summaries_of(texts: Sequence[TextInput], section: str) -> tuple[TextFiles, ...]:
    """Return what was found in the text files of a section, for the manifest."""
    return next((text.summaries() for text in texts if text.section == section), ())


def described_row(texts: Sequence[TextInput], name: str, row: int) -> str:
    """Describe a row of a file of the table, by its place in the text file if it was one."""
    for text in texts:
        if text.section == "input" and text.converted is not None:
            return text.converted.describe_row(name, row)
    return numbered_row(name, row)


def _names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {count(len(names) - 1, 'other file')}"


def is_staged(texts: Sequence[TextInput], folder: str) -> bool:
    """Return whether converted files are in a folder of the staged output."""
    roots = [text.converted.storage.root for text in texts if text.converted]
    return any(root.startswith(f"{folder}/") for root in roots)


def converted_input(
    storage: Storage,
    section: str,
    parameter: str,
    options: TextOptions,
    wanted: Wanted,
    scratch: Scratch,
) -> tuple[ListedInput, TextInput | None]:
    """Return the files of a section as Parquet, and what the text files among them are.

    Files that are no text are where they were.

    Parameters
    ----------
    section, parameter : str
        The section and its parameter that holds the path, for messages.

    Raises
    ------
    ConfigError, DataError, ResourceError
        See `io.text_files.convert`.
    """
    with wrap_store_errors(parameter, storage.url):
        listed = input_files(storage, parameter, READABLE)
        place, files = listed
        if not has_text_files(place, files, options, section, not storage.selected):
            return listed, None
        folder = scratch()
        root = f"{folder.root}/{section.replace('[', '-').replace(']', '')}"
        target = Storage(folder.url, folder.fs, root, folder.scratch)
        converted = convert_or_take(place, files, target, options, wanted)
        if converted.rows == 0 and section == "input":
            raise no_rows(len(files), storage.url, parameter)
        text = TextInput(section, converted.formats, converted.numbers, converted)
        return (converted.storage, list(converted.files)), text
