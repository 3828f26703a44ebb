"""Predict the time of a kernel on a device from its most used resource.

Each bound assumes that its resource is never idle; the prediction is the largest bound. The model
does not include latency, the ends of a launch, and the host. So a measured time above the
prediction shows waiting, and one below it shows that the model is wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from machine_code.counts import Counts
from machine_code.mix import UNITS

LIKELY_SHARE = 0.625
"""Share of four instructions per clock that kernels with 12 to 16 warps on a multiprocessor reach
if barriers are rare: 2.5 of 4. A guess, to be replaced by a measured figure."""


@dataclass(frozen=True)
class DeviceModel:
    """A GPU.

    Attributes
    ----------
    name : str
    multiprocessors : int
    clock : float
        Clocks per second, under load.
    bandwidth : float
        Bytes per second of a copy in device memory, read and written.
    """

    name: str
    multiprocessors: int
    clock: float
    bandwidth: float


DEVICES = (DeviceModel("H100", 132, 1.755e9, 3.0e12), DeviceModel("H200", 132, 1.755e9, 4.3e12))
"""SXM5; 3.0 and 4.3 TB/s are about 90 % of the peak bandwidth."""


@dataclass(frozen=True)
class Prediction:
    """The prediction for one case on one device.

    Attributes
    ----------
    device : str
    bounds : mapping of str to float
        Milliseconds for each resource.
    """

    device: str
    bounds: Mapping[str, float]

    @property
    def bound_by(self) -> str:
        """The resource with the largest bound."""
        return max(self.bounds, key=lambda name: self.bounds[name])

    @property
    def milliseconds(self) -> float:
        """The largest bound."""
        return self.bounds[self.bound_by]


def predict(counts: Sequence[Counts], units: int, device: DeviceModel) -> Prediction:
    """Predict the time of consecutive kernels for a number of rows, or other units."""
    clocks = {name: sum(kernel.clocks[name] for kernel in counts) for name in UNITS}
    clocks["likely issue"] = clocks["issue"] / LIKELY_SHARE
    clocks["L1 and shared"] = sum(sum(kernel.wavefronts.values()) for kernel in counts)
    bytes_per_row = sum(kernel.bytes_read + kernel.bytes_written for kernel in counts)
    speed = device.multiprocessors * device.clock
    bounds = {name: 1e3 * units * clock / speed for name, clock in clocks.items()}
    bounds["memory"] = 1e3 * units * bytes_per_row / device.bandwidth
    return Prediction(device.name, bounds)
