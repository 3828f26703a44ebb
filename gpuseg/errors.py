"""What can go wrong, by whose hand it is mended; each kind has its exit code.

Every message says what is wrong, the value seen, the rule, and the next step.
"""


class GpusegError(Exception):
    """Base of all errors that gpuseg raises on purpose."""

    exit_code = 1


class ConfigError(GpusegError, ValueError):
    """The job, the command line or a parameter is wrong."""

    exit_code = 2


class DataError(GpusegError, ValueError):
    """The data is wrong: missing, unreadable, or not what the job says it is."""

    exit_code = 3


class ResourceError(GpusegError, RuntimeError):
    """Something the run needs is not there: device, memory, disk, scheduler, worker."""

    exit_code = 4
