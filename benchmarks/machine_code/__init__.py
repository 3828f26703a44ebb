"""The kernels' machine code, read and run without a GPU: see `benchmarks/instructions.py`."""
