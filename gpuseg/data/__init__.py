"""Parquet in and out; the only floor that knows Arrow, file systems and paths."""
