"""The command drift: how far the rows of a table differ from those of the fit of a model."""

from typing import Annotated

import typer

from gpuseg.cli.options import AsJson, BuiltFeatures, Cluster, Model, Snapshot
from gpuseg.cli.show import print_json, print_table, print_text, shown_progress

_BEYOND = 5
"""The exit code where a measure is beyond its threshold."""


def drift(
    model: Model,
    input: Annotated[
        str, typer.Argument(metavar="INPUT", help="Path or URL of the table to compare.")
    ],
    snapshot: Snapshot = None,
    built_features: BuiltFeatures = False,
    cluster: Cluster = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="Set a key of drift, model, input or runtime; repeatable.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare a table with the rows of a model's fit; exit code 5 if it differs too much."""
    from gpuseg.jobs.score.run_drift import drift as measure

    with shown_progress() as progress:
        result = measure(
            model, input, snapshot=snapshot, built_features=built_features, cluster=cluster,
            overrides=set_ or [], progress=progress,
        )  # fmt: skip
    if as_json:
        print_json(result.content)
    else:
        from gpuseg.reporting.drift_table import alarms_in_words, drift_tables

        for table in drift_tables(result.record, result.segment_names):
            print_table(table)
        for line in alarms_in_words(result.record):
            print_text(line)
    if result.is_beyond:
        raise typer.Exit(_BEYOND)
