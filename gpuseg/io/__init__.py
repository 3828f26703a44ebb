"""Parquet in and out, file systems, and privacy of ids and columns."""
