"""The command history: the runs in the life of segments."""

from typing import Annotated

import typer

from gpuseg.cli.options import AsJson
from gpuseg.cli.show import print_json, print_table, print_text


def history(
    outputs: Annotated[
        list[str],
        typer.Argument(
            metavar="OUTPUT", help="Paths or URLs of output folders of run, refresh or score."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Print the runs in the life of segments: sizes, drift, and customers that moved."""
    from gpuseg.jobs.history import history as history_of_outputs

    entries = history_of_outputs(outputs)
    if as_json:
        print_json([entry.to_json() for entry in entries])
        return
    from gpuseg.lineage.history import broken_descent
    from gpuseg.reporting.history_table import runs_table, shares_table

    print_table(runs_table(entries))
    print_table(shares_table(entries))
    for sentence in broken_descent(entries).values():
        print_text(f"note: {sentence}")
