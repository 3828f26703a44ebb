"""Kernels of k-means on the CPU."""
