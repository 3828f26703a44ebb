"""Portable numerics in NumPy: no shards, no devices, no files."""
