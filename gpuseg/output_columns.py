"""Names of the columns that an output has beside the ids."""

SEGMENT, DISTANCE = "segment", "distance"

NEXT_SEGMENT, CONFIDENCE = "next_segment", "confidence"
"""The nearest other segment, and how clearly a customer does not belong to it."""
