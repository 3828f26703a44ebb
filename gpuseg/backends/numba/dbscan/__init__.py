"""Kernels of DBSCAN on the CPU: tiles, a tree of boxes, and a grid of cells."""
