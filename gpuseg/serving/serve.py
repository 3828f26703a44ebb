"""Serve a model until a signal: in this process, or in several."""

import re
from collections.abc import Callable

from gpuseg.errors import ConfigError
from gpuseg.serving.access_token import token_from
from gpuseg.serving.listener import address_of, bound_socket, listen
from gpuseg.serving.server import load_current, serve_until_signal
from gpuseg.serving.settings import ServerSettings
from gpuseg.serving.shared_counters import SharedCounters, new_counters
from gpuseg.serving.supervisor import Supervisor

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")

_MAX_WORKERS = 256


def serve(settings: ServerSettings, tell: Callable[[str], None]) -> int:
    """Answer requests until SIGINT or SIGTERM; return the number of the signal.

    Parameters
    ----------
    tell : callable
        Takes the URL, once requests are answered.

    Raises
    ------
    ConfigError
        For settings that make no sense.
    DataError
        For an output without a model that can be used.
    ResourceError
        For a port that is taken, and a file system that cannot be reached.
    """
    _check(settings)
    token_from(settings.token_env)
    with bound_socket(settings.host, settings.port) as listener:
        address = address_of(listener)
        if settings.workers > 1:
            return Supervisor(settings, listener, lambda: tell(address)).run()
        counters = SharedCounters(new_counters(1), 1, 0)
        current = load_current(settings, counters)
        listen(listener)
        return serve_until_signal(settings, current, counters, listener, lambda: tell(address))


def _check(settings: ServerSettings) -> None:
    if not _NAME.fullmatch(settings.name):
        raise ConfigError(
            "name.not_a_name", value=settings.name, parameter="name",
            rule="must be letters, digits, '.', '_' and '-', as it is a part of the routes",
        )  # fmt: skip
    numbers: dict[str, tuple[float, float, float]] = {
        "port": (settings.port, 0, 65535),
        "workers": (settings.workers, 1, _MAX_WORKERS),
        "poll_seconds": (settings.poll_seconds, 0.05, 86_400),
        "max_body": (settings.limits.body_bytes, 1, 2**31),
        "max_rows": (settings.limits.rows, 1, 10**8),
        "max_seconds": (settings.limits.seconds, 0.1, 3600),
        "max_requests": (settings.limits.requests, 1, 10**5),
    }
    for parameter, (value, low, high) in numbers.items():
        if not low <= value <= high:
            raise ConfigError(
                "number.out_of_range", value=value, parameter=parameter,
                rule=f"must be from {low:,} to {high:,}",
            )  # fmt: skip
