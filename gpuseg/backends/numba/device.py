"""The device of the numba backend: host memory, as for NumPy."""

from gpuseg.backends.numpy.device import NumpyDevice as NumbaDevice

__all__ = ["NumbaDevice"]
