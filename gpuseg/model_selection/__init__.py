"""Choosing parameters: the number of clusters, eps, and the quality of segmentations."""
