"""Arguments that several commands have."""

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an older output.")]

Fresh = Annotated[
    bool,
    typer.Option("--fresh", help="Start from the beginning even if the run was interrupted."),
]

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="Path or URL of a run's output folder.")
]
Snapshot = Annotated[
    str | None,
    typer.Option(
        "--snapshot",
        metavar="DATE",
        help="Of transaction lines; by default the midnight after the last one.",
    ),
]
BuiltFeatures = Annotated[
    bool,
    typer.Option(
        "--built-features", help="INPUT has features that were built, not transaction lines."
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option("--cluster", help="local, dask, cuda or an address; by default that of the fit."),
]
