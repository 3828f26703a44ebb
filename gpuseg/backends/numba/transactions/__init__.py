"""Kernels of customer features."""
