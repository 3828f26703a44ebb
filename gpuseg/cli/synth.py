"""The command synth: synthetic customers."""

from pathlib import Path
from typing import Annotated

import typer

from gpuseg.cli.show import print_text, show_published, shown_progress
from gpuseg.formatting import count


def synth(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write to.")],
    rows: Annotated[int, typer.Option(help="Customers.")] = 1_000_000,
    transactions: Annotated[
        int | None,
        typer.Option(help="Write this many transaction lines of them instead of features."),
    ] = None,
    features: Annotated[int, typer.Option(help="Numeric columns.")] = 16,
    segments: Annotated[int, typer.Option(help="Latent segments.")] = 8,
    seed: Annotated[int, typer.Option(help="Same seed, same customers.")] = 0,
    files: Annotated[int | None, typer.Option(help="Parquet files; one per million rows.")] = None,
    truth: Annotated[bool, typer.Option("--truth", help="Add the latent segment.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace older files.")] = False,
) -> None:
    """Write synthetic customers that look like customers, or their transactions."""
    from gpuseg.synthetic.customers import write_customers
    from gpuseg.synthetic.transactions import write_transactions

    with shown_progress() as progress, progress.stage("synth", transactions or rows) as stage:
        if transactions is None:
            paths = write_customers(
                directory, rows=rows, features=features, segments=segments, seed=seed,
                files=files, truth=truth, overwrite=overwrite, report=stage.advance,
            )  # fmt: skip
        else:
            paths = write_transactions(
                directory, lines=transactions, customers=rows, seed=seed, files=files,
                overwrite=overwrite, report=stage.advance,
            )  # fmt: skip
    if transactions is None:
        made = f"{count(rows, 'customer')} × {count(features, 'feature')}"
    else:
        made = f"{count(transactions, 'line')} of {count(rows, 'customer')}"
    text = f"{made} in {count(len(paths), 'file')}: {directory}"
    show_published(lambda: print_text(text), directory)
