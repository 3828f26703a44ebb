"""Marks of values that may differ between two attempts of one run, and change no result."""


class VariesByRun:
    """A value of which a journal compares only the type."""


class WritesFiles:
    """An argument by which a call writes files that later calls read."""


class AnyId(str, VariesByRun):
    """An id that is drawn for each call."""


class SpareBytes(int, VariesByRun):
    """Memory that saves work where there is some."""
