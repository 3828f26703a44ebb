"""How many files and connections this process may have open."""

import resource


def raise_open_files() -> None:
    """Raise the limit of open files as far as the user may.

    A rank has two connections with each other one while they exchange rows, and the usual limit is
    1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
