"""Interpret the machine code of the kernels without a GPU: see `benchmarks/instructions.py`."""
