"""The CUDA backend: raw kernels in ``kernels/``, planned and launched from here.

Everything but the launcher runs on NumPy arrays as well as on CuPy's, so that tests drive the same
planning and the same kernels through an emulator on a machine without a GPU.
"""
