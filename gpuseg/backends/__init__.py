"""Primitives on one block of rows, on one device.

`numpy` is the specification, `numba` the compiled CPU backend, `cuda` the GPU backend. Each is a
folder with the same files: `device`, `columns`, `centroids`, `runs`, `neighbors`, `customers`
and `trees` implement the protocols of `protocols`, and `backend` composes the first four to one
`Backend`.
"""
