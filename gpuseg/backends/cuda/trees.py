"""Splits of a decision tree for the CUDA backend: found on the CPU, in a sample in host memory."""

from gpuseg.backends.numba.trees import NumbaTrees as CudaTrees

__all__ = ["CudaTrees"]
