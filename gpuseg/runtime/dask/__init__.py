"""Shards on Dask workers."""
