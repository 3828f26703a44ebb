"""Fitted segmentations as values: saved, loaded, and applied to new rows."""
