"""Counts of segments by columns that were not used for clustering, with small counts hidden."""
