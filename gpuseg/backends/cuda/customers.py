"""Customer features of the CUDA backend: computed on the CPU, from lines in host memory."""

from gpuseg.backends.numba.customers import NumbaCustomers as CudaCustomers

__all__ = ["CudaCustomers"]
