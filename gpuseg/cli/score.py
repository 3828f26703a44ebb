"""The command score: a model scores a table."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from gpuseg.cli.options import AsJson, BuiltFeatures, Cluster, Fresh, Model, Overwrite, Snapshot
from gpuseg.cli.show import (
    print_changes,
    print_json,
    print_table,
    print_text,
    show_published,
    shown_progress,
)
from gpuseg.errors import ConfigError
from gpuseg.redaction import redacted


def score(
    model: Model,
    input: Annotated[
        str | None, typer.Argument(metavar="INPUT", help="Path or URL of the table to score.")
    ] = None,
    output: Annotated[
        str | None, typer.Argument(metavar="OUTPUT", help="Path or URL of the folder to write to.")
    ] = None,
    stdin: Annotated[
        bool,
        typer.Option(
            "--stdin",
            help="In place of INPUT and OUTPUT: lines of JSON in, lines of JSON out.",
        ),
    ] = False,
    id: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="COLUMN", help="The id column; by default that of the fit, '' for none."
        ),
    ] = None,
    snapshot: Snapshot = None,
    built_features: BuiltFeatures = False,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="SEGMENT",
            help="Write only the rows nearest to a segment: its number, its name, or COLUMN=NUMBER "
            "of a level, as in segment_4=2.",
        ),
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", metavar="N", help="With --like: how many rows.")
    ] = None,
    exclude_members: Annotated[
        bool,
        typer.Option(
            "--exclude-members", help="With --like: leave out rows that are in the segment."
        ),
    ] = False,
    cluster: Cluster = None,
    confidence: Annotated[
        bool,
        typer.Option(
            "--confidence",
            help="Add the confidence of each row, and with --stdin the next segment.",
        ),
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
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Score a table with the model of a run: rows in, their segments out."""
    if stdin:
        others = {
            "INPUT": input, "OUTPUT": output, "--cluster": cluster, "--overwrite": overwrite,
            "--json": as_json, "--snapshot": snapshot, "--built-features": built_features,
            "--like": like, "--top": top, "--exclude-members": exclude_members, "--fresh": fresh,
        }  # fmt: skip
        _refuse_with_stdin(others)
        from gpuseg.cli.standard_input import score_standard_input

        score_standard_input(model, id, confidence, set_ or [])
        return
    if input is None or output is None:
        raise ConfigError(
            "score.no_table", f"{'INPUT' if input is None else 'OUTPUT'} is missing",
            rule="must be MODEL INPUT OUTPUT, or MODEL --stdin",
        )  # fmt: skip
    from gpuseg.jobs.score.run_score import score as score_table

    with shown_progress() as progress:
        result = score_table(
            model, input, output, id=id, snapshot=snapshot, built_features=built_features,
            cluster=cluster, like=like, top=top,
            exclude_members=exclude_members, confidence=confidence, overwrite=overwrite,
            overrides=set_ or [], progress=progress, fresh=fresh,
        )  # fmt: skip
    if result.rank:
        return
    path = redacted(result.path)

    def show() -> None:
        if as_json:
            print_json(result.manifest)
            return
        from gpuseg.reporting.scores_table import lookalikes_in_words, scores_table

        print_table(scores_table(result.record))
        print_changes(result.record)
        if result.record.lookalikes is not None:
            print_text(f"lookalikes {lookalikes_in_words(result.record.lookalikes)}")
        print_text(f"segments   {path}")
        print_text(f"report     {path.rstrip('/')}/_report.html")

    show_published(show, path)


def _refuse_with_stdin(options: Mapping[str, Any]) -> None:
    """Refuse arguments that lines of JSON have no use for."""
    given = [name for name, value in options.items() if value]
    if given:
        raise ConfigError(
            "stdin.with_others", f"{given[0]} cannot be combined with --stdin",
            rule="lines come from standard input and go to standard output",
            hint=f"leave {given[0]} out",
        )  # fmt: skip
