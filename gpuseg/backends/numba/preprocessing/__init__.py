"""Kernels on columns: summaries with exact moments, transforms, and sums that fit transforms."""
