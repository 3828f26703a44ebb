"""How long a kernel should take on a device, if one resource alone held it up.

Every bound assumes that its resource is never idle; the prediction is the largest of them. Of
latency, of the ends of a launch, and of what the host does nothing is known here. So a measured
time above the prediction says that something waits, and one below it that the model is wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from machine_code.counts import Counts
from machine_code.mix import UNITS

LIKELY_SHARE = 0.625
"""Of four instructions a clock, what kernels with 12 to 16 warps on a multiprocessor reach when
barriers are rare: 2.5. A guess, to be replaced by a measured figure."""


@dataclass(frozen=True)
class Device:
    """A GPU.

    Attributes
    ----------
    name : str
    multiprocessors : int
    clock : float
        Clocks a second, under load.
    bandwidth : float
        Bytes of device memory that a copy moves in a second, read and written.
    """

    name: str
    multiprocessors: int
    clock: float
    bandwidth: float


DEVICES = (Device("H100", 132, 1.755e9, 3.0e12), Device("H200", 132, 1.755e9, 4.3e12))
"""SXM5; 3.0 and 4.3 TB/s are about 90 % of what the memory could move."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of one case on one device.

    Attributes
    ----------
    device : str
    bounds : mapping of str to float
        Milliseconds that each resource needs.
    """

    device: str
    bounds: Mapping[str, float]

    @property
    def bound_by(self) -> str:
        """The resource that needs longest."""
        return max(self.bounds, key=lambda name: self.bounds[name])

    @property
    def milliseconds(self) -> float:
        """How long it needs."""
        return self.bounds[self.bound_by]


def predict(counts: Sequence[Counts], units: int, device: Device) -> Prediction:
    """Predict the time of some kernels, one after the other, over so many rows or other units."""
    clocks = {name: sum(kernel.clocks[name] for kernel in counts) for name in UNITS}
    clocks["likely issue"] = clocks["issue"] / LIKELY_SHARE
    clocks["L1 and shared"] = sum(sum(kernel.wavefronts.values()) for kernel in counts)
    a_row = sum(kernel.bytes_read + kernel.bytes_written for kernel in counts)
    speed = device.multiprocessors * device.clock
    bounds = {name: 1e3 * units * clock / speed for name, clock in clocks.items()}
    bounds["memory"] = 1e3 * units * a_row / device.bandwidth
    return Prediction(device.name, bounds)
