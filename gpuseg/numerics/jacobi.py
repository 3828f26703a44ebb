"""Eigenvectors of symmetric matrices, with the same bits on any processor.

Libraries' methods differ in the last bits between processors, so this uses Jacobi rotations. Each
round of a sweep has d/2 rotations of pairs that share no feature, so that whole rows and columns
turn at once. Each rotation zeroes the entry of its pair; after some sweeps only the diagonal is
left.

Source: Brent and Luk, "The solution of singular-value and symmetric eigenvalue problems on
multiprocessor arrays", SIAM J. Sci. Stat. Comput. 6 (1985), which has the tournament of pairs.
"""

import numpy as np
from numpy.typing import NDArray

_MAX_SWEEPS = 60


def symmetric_eigen(
    matrix: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the eigenvalues of a symmetric matrix, descending, and its unit eigenvectors as rows.

    The largest entry of a vector (the first, if there are several) is positive.

    Returns
    -------
    float64 (d,), float64 (d, d)
    """
    d = len(matrix)
    a, vectors = matrix.copy(), np.eye(d)
    rounds = _tournament(d)
    for _ in range(_MAX_SWEEPS):
        rotated = False
        for p, q in rounds:
            rotated |= _rotate(a, vectors, p, q)
        if not rotated:
            break
    values = np.diag(a).copy()
    order = np.argsort(-values, kind="stable")
    vectors = vectors[order]
    largest = vectors[np.arange(d), np.abs(vectors).argmax(axis=1)]
    return values[order], vectors * np.where(largest < 0, -1.0, 1.0)[:, None]


def _rotate(
    a: NDArray[np.float64],
    vectors: NDArray[np.float64],
    p: NDArray[np.int64],
    q: NDArray[np.int64],
) -> bool:
    """Zero the entries a[p[i], q[i]] by rotations, in place; return whether any needed one."""
    off_diagonal, a_pp, a_qq = a[p, q], a[p, p], a[q, q]
    needed = np.abs(off_diagonal) > 2.0**-54 * np.sqrt(np.abs(a_pp) * np.abs(a_qq))
    if not needed.any():
        return False
    p, q = p[needed], q[needed]
    off_diagonal, a_pp, a_qq = off_diagonal[needed], a_pp[needed], a_qq[needed]
    with np.errstate(over="ignore"):
        cotangent = (a_qq - a_pp) / (2.0 * off_diagonal)
        denominator = np.abs(cotangent) + np.sqrt(1.0 + cotangent * cotangent)
    tangent = np.where(cotangent < 0, -1.0, 1.0) / denominator
    cosine = 1.0 / np.sqrt(1.0 + tangent * tangent)
    c, s = cosine[:, None], (tangent * cosine)[:, None]
    for rows in (a, a.T, vectors):
        first, second = rows[p].copy(), rows[q].copy()
        rows[p], rows[q] = c * first - s * second, s * first + c * second
    a[p, q] = a[q, p] = 0.0
    return True


def _tournament(d: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return rounds of disjoint pairs p < q < d that contain each pair once."""
    players = d + d % 2
    ring = list(range(1, players))
    rounds = []
    for turn in range(players - 1):
        seats = [0, *ring[turn:], *ring[:turn]]
        pairs = [sorted((seats[i], seats[-1 - i])) for i in range(players // 2)]
        valid = np.array([pair for pair in pairs if pair[1] < d], np.int64).reshape(-1, 2)
        rounds.append((valid[:, 0], valid[:, 1]))
    return rounds
