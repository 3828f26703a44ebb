"""Refresh an output: a job that continues the segments of an older one."""
