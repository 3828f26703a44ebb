"""Say which calls gpuseg computes, which it leaves to scikit-learn, and why."""

from __future__ import annotations

import logging
import os

LOGGER = logging.getLogger("gpuseg.accel")

_VARIABLE = "GPUSEG_ACCEL_VERBOSE"
"""The environment variable that sends the log to stderr, in place of the option -v."""

_handler: logging.Handler | None = None


def show_log(verbose: bool) -> None:
    """Send the log to stderr, or no longer."""
    global _handler
    if verbose and _handler is None:
        _handler = logging.StreamHandler()
        _handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        LOGGER.addHandler(_handler)
        LOGGER.setLevel(logging.INFO)
    elif not verbose and _handler is not None:
        LOGGER.removeHandler(_handler)
        LOGGER.setLevel(logging.NOTSET)
        _handler = None


def is_log_asked_for() -> bool:
    """Whether the environment asks for the log."""
    return os.environ.get(_VARIABLE, "0") not in ("", "0")


def log_computed(call: str, detail: str) -> None:
    """Log a call that gpuseg computed."""
    LOGGER.info("%s: gpuseg, %s", call, detail)


def log_left(call: str, reason: str) -> None:
    """Log a call that scikit-learn computed."""
    LOGGER.info("%s: scikit-learn, since %s", call, reason)
