"""Vector registers as numba types."""
