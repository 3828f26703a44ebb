"""Ward's hierarchy of weighted points: which two to merge next, up to one.

Joe H. Ward, "Hierarchical grouping to optimize an objective function", J. Am. Stat. Assoc. 58
(1963). A merge of u and v adds w_u·w_v/(w_u + w_v)·|c_u - c_v|² to the sum of squares within
clusters; SciPy gives the root of twice that as the height, and so do we. A point of weight 5 is
five points at one place, which merge first, at height 0.

Found by chains of nearest neighbours (Murtagh, "A survey of recent advances in hierarchical
clustering algorithms", The Computer Journal 26, 1983): with centroids and weights alone, in O(m²)
time and O(m) memory. Sums go over the features in their order, so that the bits are the same on any
processor.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Hierarchy:
    """The merges of points, and the order in which a dendrogram shows them.

    Attributes
    ----------
    merges : float64 (m - 1, 4)
        SciPy's linkage matrix: the two merged, the lower number first; the height; how many points.
        Points are 0 … m - 1, the result of merge i is m + i; heights rise.
    """

    merges: NDArray[np.float64]

    @property
    def n_points(self) -> int:
        """Number of points, int."""
        return len(self.merges) + 1

    def cut(self, n_clusters: int) -> NDArray[np.int32]:
        """Return the cluster of each point where so many are left, int32 (m,).

        Clusters are numbered as a dendrogram shows them, from the left: of two cuts, those of the
        finer one that are inside one of the coarser have numbers that follow each other.
        """
        m = self.n_points
        parent = self._parents(m - n_clusters)
        order = self.leaves()
        root = np.arange(2 * m - 1)
        for i in range(2 * m - 2, -1, -1):
            root[i] = root[parent[i]] if parent[i] >= 0 else i
        own = root[order]
        _, first, inverse = np.unique(own, return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int32)
        rank[np.argsort(first)] = np.arange(len(first))
        found = np.empty(m, np.int32)
        found[order] = rank[inverse]
        return found

    def leaves(self) -> NDArray[np.int64]:
        """Return the points as a dendrogram shows them from left to right, int64 (m,)."""
        m = self.n_points
        order, waiting = [], [2 * m - 2]
        while waiting:
            node = waiting.pop()
            if node < m:
                order.append(node)
            else:
                left, right = self.merges[node - m, :2].astype(np.int64).tolist()
                waiting += [right, left]
        return np.array(order, np.int64)

    def above(self, n_clusters: int) -> NDArray[np.float64]:
        """Return the merges above a cut, with its clusters as the points; a linkage matrix."""
        m, done = self.n_points, self.n_points - n_clusters
        label = self.cut(n_clusters)
        name: dict[int, int] = {}
        for node in range(m + done):
            name[node] = int(label[node]) if node < m else name[int(self.merges[node - m, 0])]
        upper, count = self.merges[done:].copy(), np.ones(2 * n_clusters - 1)
        for i in range(len(upper)):
            own = sorted(name[int(node)] for node in upper[i, :2])
            name[m + done + i] = n_clusters + i
            upper[i, 3] = count[n_clusters + i] = count[own].sum()
            upper[i, :2] = own
        return upper

    def _parents(self, done: int) -> NDArray[np.int64]:
        """Return into what each node was merged, after so many merges; -1 for none."""
        m = self.n_points
        parent = np.full(2 * m - 1, -1, np.int64)
        for i, (a, b) in enumerate(self.merges[:done, :2].astype(np.int64).tolist()):
            parent[a] = parent[b] = m + i
        return parent


def ward(points: NDArray[np.float64], weight: NDArray[np.float64]) -> Hierarchy:
    """Return the hierarchy of points, float64 (m, d), of positive weights (m,); m >= 1."""
    m = len(points)
    places = np.ascontiguousarray(points.T.astype(np.float64))
    weight, there = weight.astype(np.float64), np.ones(m, bool)
    found: list[tuple[int, int, float]] = []
    chain: list[int] = []
    while len(found) < m - 1:
        if not chain:
            chain.append(int(there.argmax()))
        a = chain[-1]
        squares = _squares(places, weight, there, a)
        b = int(squares.argmin())
        if len(chain) > 1 and squares[chain[-2]] == squares[b]:
            b = chain[-2]  # of equals the one that we come from: else the chain could go round
        if len(chain) < 2 or b != chain[-2]:
            chain.append(b)
            continue
        del chain[-2:]
        both = weight[a] + weight[b]
        found.append((a, b, float(np.sqrt(squares[b]))))
        places[:, b] = (weight[a] * places[:, a] + weight[b] * places[:, b]) / both
        weight[b], there[a] = both, False
    return Hierarchy(_in_order(found, m))


def _squares(
    places: NDArray[np.float64], weight: NDArray[np.float64], there: NDArray[np.bool_], a: int
) -> NDArray[np.float64]:
    """Return the squared height at which a would merge with each; infinite with itself."""
    squares = np.zeros(len(weight))
    for own in places:
        difference = own - own[a]
        squares += difference * difference
    squares *= 2 * weight[a] * weight / (weight[a] + weight)
    squares[~there] = np.inf
    squares[a] = np.inf
    return squares


def _in_order(found: list[tuple[int, int, float]], m: int) -> NDArray[np.float64]:
    """Return merges of slots as a linkage matrix: heights rise, and no merge precedes its own."""
    height = np.zeros(m)
    heights = []
    for a, b, own in found:  # by rounding, a merge may come out lower than one below it
        height[b] = max(own, height[a], height[b])
        heights.append(height[b])
    order = np.argsort(heights, kind="stable")
    slot, count, merges = np.arange(m), np.ones(m), np.empty((m - 1, 4))
    for i, place in enumerate(order.tolist()):
        a, b, _ = found[place]
        count[b] += count[a]
        merges[i] = *sorted((slot[a], slot[b])), heights[place], count[b]
        slot[b] = m + i
    return merges
