"""Tell the process of a run from another one that has its number by now, and signal it."""

import os
import signal
import socket
from contextlib import suppress

import psutil

from gpuseg.run_status import RunStatus

TOLERANCE = 2.0
"""Seconds by which the start of a process may be measured otherwise, as the clock is set."""


def is_on_this_machine(status: RunStatus) -> bool:
    """Whether the driver of a run has its process here."""
    return status.host == socket.gethostname()


def has_process(status: RunStatus) -> bool:
    """Whether the process of a run of this machine still exists."""
    if status.pid is None or status.process_started is None:
        return False
    with suppress(psutil.Error):
        process = psutil.Process(status.pid)
        has_same_start = abs(process.create_time() - status.process_started) <= TOLERANCE
        return bool(has_same_start and process.status() != psutil.STATUS_ZOMBIE)
    return False


def interrupt(status: RunStatus) -> bool:
    """Send SIGINT to the process of a run; return False, and send nothing, if it has ended.

    Where the system has handles of processes, no other one can get the signal, not even one that
    gets the number between the check and the signal.

    Raises
    ------
    PermissionError
        If it is the process of another user.
    """
    if status.pid is None:
        return False
    if not hasattr(os, "pidfd_open") or not hasattr(signal, "pidfd_send_signal"):
        if is_there := has_process(status):
            os.kill(status.pid, signal.SIGINT)
        return is_there
    try:
        handle = os.pidfd_open(status.pid)
    except ProcessLookupError:
        return False
    try:
        if not has_process(status):
            return False
        signal.pidfd_send_signal(handle, signal.SIGINT)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True
