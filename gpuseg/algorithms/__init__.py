"""Algorithms over shards: shards in, labels and centres out; no files, no models, no jobs."""
