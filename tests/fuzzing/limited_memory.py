"""A limit of memory for a case: no file of a few KiB may ask for gigabytes."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = 3 * 2**30
"""Address space that a case may add to that of the process."""


@contextmanager
def limited_memory() -> Iterator[None]:
    """Let allocations fail beyond the limit."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
