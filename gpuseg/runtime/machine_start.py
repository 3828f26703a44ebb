"""Which machine this is, and since which of its starts."""

from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@cache
def machine_start() -> str:
    """Return a text that differs for each machine and each of its starts; empty if unknown."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
