"""The command serve: a model over HTTP."""

import signal
import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from gpuseg.cli.show import print_text
from gpuseg.errors import ResourceError, install_extra

_PACKAGES = ("uvicorn", "uvloop", "httptools", "msgspec")


def serve(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Path or URL of an output, or of its _model.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8080,
    workers: Annotated[int, typer.Option(help="Processes that answer.")] = 1,
    token_env: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Environment variable with the token of every call."),
    ] = None,
    name: Annotated[str, typer.Option(help="The model's name in /v2/models/NAME.")] = "segments",
    poll_seconds: Annotated[float, typer.Option(help="How often to look for a new output.")] = 2.0,
    max_body: Annotated[int, typer.Option(help="Most bytes of a body.")] = 2**25,
    max_rows: Annotated[int, typer.Option(help="Most rows of a request.")] = 100_000,
    max_seconds: Annotated[float, typer.Option(help="Most seconds of a request.")] = 30.0,
    max_requests: Annotated[
        int, typer.Option(help="Most requests at a time, of each process.")
    ] = 256,
) -> None:
    """Answer HTTP requests with the segments of customers."""
    missing = [package for package in _PACKAGES if find_spec(package) is None]
    if missing:
        raise ResourceError(
            "serve.not_installed",
            f"the package {missing[0]} is missing",
            hint=install_extra("serve"),
        )
    from gpuseg.errors import parameter_names
    from gpuseg.runtime.exit_codes import INTERRUPTED
    from gpuseg.runtime.forced_end import leave_signals, tell_interrupted
    from gpuseg.serving.limits import RequestLimits
    from gpuseg.serving.serve import serve as serve_model
    from gpuseg.serving.settings import ServerSettings

    leave_signals()
    settings = ServerSettings(
        model, host, port, workers, token_env, name, poll_seconds,
        RequestLimits(max_body, max_rows, max_seconds, max_requests),
    )  # fmt: skip
    with parameter_names({"path": "MODEL"}):
        number = serve_model(settings, _tell)
    if number == signal.SIGINT:
        tell_interrupted(INTERRUPTED)
        raise typer.Exit(INTERRUPTED)


def _tell(address: str) -> None:
    print_text(f"serving    {address}")
    sys.stdout.flush()
