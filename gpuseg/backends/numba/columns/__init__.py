"""Kernels that read columns: summaries, exact moments, transforms."""
