"""The command export: a segmentation in the formats of other systems."""

import sys
from typing import Annotated

import typer

from gpuseg.cli.options import Overwrite
from gpuseg.cli.show import print_text
from gpuseg.exports.registry import FORMAT_MODULES

_NAMES = {
    "to": "--to",
    "dialect": "--dialect",
    "table": "--table",
    "id_column": "--id",
    "form": "--form",
    "path": "--output",
    "card": "--no-card",
    "overwrite": "--overwrite",
}
"""The options by the names of the parameters that they set."""

STANDARD_OUTPUT = "-"


def export(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Path or URL of a run's output folder or its _model."),
    ],
    to: Annotated[
        str, typer.Option("--to", metavar="FORMAT", help=f"One of {', '.join(FORMAT_MODULES)}.")
    ],
    dialect: Annotated[str | None, typer.Option("--dialect", help="The dialect of SQL.")] = None,
    table: Annotated[str | None, typer.Option("--table", help="The table that SQL reads.")] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="The id column that SQL returns.")
    ] = None,
    form: Annotated[
        str | None, typer.Option("--form", help="How SQL holds the centers: columns or table.")
    ] = None,
    path: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="PATH", help="File or folder. By default, text is printed."
        ),
    ] = STANDARD_OUTPUT,
    no_card: Annotated[
        bool, typer.Option("--no-card", help="Write no model card beside PATH.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Write a segmentation in the format of another system."""
    from gpuseg.errors import parameter_names
    from gpuseg.exports.export import check_printable
    from gpuseg.exports.export import export as export_model

    is_printed = path == STANDARD_OUTPUT
    with parameter_names(_NAMES):
        if is_printed:
            check_printable(to)
        files = export_model(
            model,
            to,
            None if is_printed else path,
            dialect=dialect,
            table=table,
            id_column=id_column,
            form=form,
            card=not no_card,
            overwrite=overwrite,
        )
    if is_printed:
        for content in files.values():
            sys.stdout.write(content.decode())
    else:
        from gpuseg.redaction import redacted

        print_text(f"export     {redacted(path)}")
