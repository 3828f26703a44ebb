"""Algorithms as plug-ins of a job."""
