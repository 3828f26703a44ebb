"""Features of customers from transaction lines; `from_transactions` is the way in."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpuseg.features.api import from_transactions

__all__ = ["from_transactions"]


def __getattr__(name: str) -> Any:
    """Import the function when it is used: every job imports this package for its constants."""
    if name != "from_transactions":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gpuseg.features.api import from_transactions

    return from_transactions
