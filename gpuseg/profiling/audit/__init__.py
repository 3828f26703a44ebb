"""Counts of segments by attributes that are not clustered by, with small counts suppressed."""
