"""Which command an output is of, as its manifest says: run, features, score or audience."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

MAX_MANIFEST_BYTES = 2**28
"""Most bytes of the file of a manifest; a larger one is something else, and is not read."""


class OutputKind(StrEnum):
    """What an output has; the value says so in messages."""

    SEGMENTS = "segments, with their model and report"
    FEATURES = "features of customers, without segments"
    SCORES = "customers scored by a model, with a copy of it"
    AUDIENCE = "audience files, with hashes of contacts"


def output_kind(manifest: Mapping[str, Any]) -> OutputKind | None:
    """Return the kind of an output by its manifest, of any format; None if that does not say."""
    if "scored_with" in manifest:
        return OutputKind.SCORES
    if "segments" in manifest:
        return OutputKind.SEGMENTS
    if isinstance(manifest.get("features"), list):  # of definitions; a run has a table of them
        return OutputKind.FEATURES
    if isinstance(manifest.get("audience"), dict):
        return OutputKind.AUDIENCE
    return None
