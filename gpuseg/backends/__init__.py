"""Coarse primitives on one block of rows: numpy is the specification, numba the CPU in earnest."""
