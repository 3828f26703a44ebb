"""The algorithms, written once, over shards, a backend and an executor."""
