"""Algorithms as plug-ins of a job: one file each, and one line in `registry`."""
