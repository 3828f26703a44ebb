"""Features of customers from transaction lines; `from_transactions` is the way in."""

from gpuseg.features.api import from_transactions

__all__ = ["from_transactions"]
