"""Algorithms over shards: shards in, labels and centers out; no files, no models, no jobs."""
