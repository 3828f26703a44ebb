"""The numba backend: compiled CPU kernels that release the interpreter lock.

The kernels are in `simd`, `preprocessing`, `kmeans`, `dbscan` and `transactions`; the other modules
implement the protocols with them.
"""
