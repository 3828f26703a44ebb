"""Rules that describe segments, read from a surrogate decision tree."""
