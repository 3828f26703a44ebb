"""The state of a running block: registers and memory."""

from dataclasses import dataclass

from machine_code.memory import MemorySpace, Traffic
from machine_code.registers import Registers

SHARED_START = 1024
"""The first bytes of shared memory are reserved."""

SHARED_WINDOW = 1
"""The high word of generic addresses of shared memory."""


@dataclass
class ThreadBlock:
    """A running block.

    Attributes
    ----------
    registers : Registers
    device, shared : Space
    local : Space
        `local_bytes` for each thread, one after the other.
    local_bytes : int
    traffic : Traffic
    index : int
        Index of the block.
    voted : int
        Result of the last barrier with a predicate.
    """

    registers: Registers
    device: MemorySpace
    shared: MemorySpace
    local: MemorySpace
    local_bytes: int
    traffic: Traffic
    index: int = 0
    voted: int = 0
