"""The command score: a model scores a table."""

from typing import Annotated

import typer

from gpuseg.cli.options import AsJson, Overwrite
from gpuseg.cli.show import print_json, print_table, print_text, show_published, shown_progress
from gpuseg.redaction import redacted


def score(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Path or URL of a run's output folder.")
    ],
    input: Annotated[
        str, typer.Argument(metavar="INPUT", help="Path or URL of the table to score.")
    ],
    output: Annotated[
        str, typer.Argument(metavar="OUTPUT", help="Path or URL of the folder to write to.")
    ],
    id: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="COLUMN", help="The id column; by default that of the fit, '' for none."
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster", help="local, dask, cuda or an address; by default that of the fit."
        ),
    ] = None,
    confidence: Annotated[
        bool, typer.Option("--confidence", help="Add the confidence of each row.")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="Set a key of model, input, runtime or output; repeatable.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Score a table with the model of a run: rows in, their segments out."""
    from gpuseg.jobs.score.run_score import score as score_table

    with shown_progress() as progress:
        result = score_table(
            model, input, output, id=id, cluster=cluster, confidence=confidence,
            overwrite=overwrite, overrides=set_ or [], progress=progress,
        )  # fmt: skip
    path = redacted(result.path)

    def show() -> None:
        if as_json:
            print_json(result.manifest)
            return
        from gpuseg.reporting.scores_table import scores_table

        print_table(scores_table(result.record))
        print_text(f"segments   {path}")

    show_published(show, path)
