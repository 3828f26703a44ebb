"""What the threads of one block have to do with: registers and memory."""

from dataclasses import dataclass

from machine_code.memory import Space, Traffic
from machine_code.registers import Registers

SHARED_START = 1024
"""The first of shared memory belongs to the system."""

SHARED_WINDOW = 1
"""The high word of addresses of shared memory among all addresses."""


@dataclass
class Block:
    """A block that is running.

    Attributes
    ----------
    registers : Registers
    device, shared : Space
    local : Space
        `local_bytes` for one thread after the other.
    local_bytes : int
    traffic : Traffic
    index : int
        Of the block.
    voted : int
        What the last barrier told of a predicate of all threads.
    """

    registers: Registers
    device: Space
    shared: Space
    local: Space
    local_bytes: int
    traffic: Traffic
    index: int = 0
    voted: int = 0
