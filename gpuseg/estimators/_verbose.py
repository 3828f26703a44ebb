"""What k-means prints while it iterates, where the caller asks for it (`verbose`)."""

from __future__ import annotations


def print_iteration(number: int, inertia: float, squared_change: float) -> None:
    """Print a line on an iteration; see `algorithms.kmeans.lloyd.OnIteration`."""
    print(f"Iteration {number}: inertia {inertia:.6g}, centers moved by {squared_change**0.5:.3g}")


def print_result(n_clusters: int, n_iter: int, inertia: float) -> None:
    """Print a line on the result of a fit."""
    print(f"n_clusters = {n_clusters}: {n_iter} iterations, inertia {inertia:.6g}")


def print_batch(number: int, inertia: float) -> None:
    """Print a line on a batch of a stream."""
    print(f"Batch {number}: inertia {inertia:.6g}")
