"""Ward's hierarchy of weighted points: merges of two clusters at a time, down to one.

Joe H. Ward, "Hierarchical grouping to optimize an objective function", J. Am. Stat. Assoc. 58
(1963). A merge of u and v adds w_u·w_v/(w_u + w_v)·|c_u - c_v|² to the sum of squares within
clusters; the height is the root of twice that, as in SciPy. A point of weight 5 is five equal
points, which merge first, at height 0.

The algorithm follows chains of nearest neighbors (Murtagh, "A survey of recent advances in
hierarchical clustering algorithms", The Computer Journal 26, 1983). It needs only centroids and
weights, O(m²) time and O(m) memory. Sums go over the features in their order, so the bits are the
same on any processor.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Hierarchy:
    """Merges of points, in the order of a dendrogram.

    Attributes
    ----------
    merges : float64 (m - 1, 4)
        SciPy's linkage matrix: the two merged clusters, the lower number first; the height; the
        number of points. Points are 0 … m - 1, the result of merge i is m + i; heights increase.
    """

    merges: NDArray[np.float64]

    @property
    def n_points(self) -> int:
        """Number of points, int."""
        return len(self.merges) + 1

    def cut(self, n_clusters: int) -> NDArray[np.int32]:
        """Return the cluster of each point where the hierarchy has so many, int32 (m,).

        Clusters are numbered from left to right in the dendrogram: the clusters of a finer cut
        that are inside one cluster of a coarser cut have consecutive numbers.
        """
        m = self.n_points
        parent = self._parents(m - n_clusters)
        order = self.leaves()
        root = np.arange(2 * m - 1)
        for i in range(2 * m - 2, -1, -1):
            root[i] = root[parent[i]] if parent[i] >= 0 else i
        _, first, inverse = np.unique(root[order], return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int32)
        rank[np.argsort(first)] = np.arange(len(first))
        label = np.empty(m, np.int32)
        label[order] = rank[inverse]
        return label

    def leaves(self) -> NDArray[np.int64]:
        """Return the points from left to right in the dendrogram, int64 (m,)."""
        m = self.n_points
        order, pending = [], [2 * m - 2]
        while pending:
            node = pending.pop()
            if node < m:
                order.append(node)
            else:
                left, right = self.merges[node - m, :2].astype(np.int64).tolist()
                pending += [right, left]
        return np.array(order, np.int64)

    def above(self, n_clusters: int) -> NDArray[np.float64]:
        """Return the merges above a cut as a linkage matrix; its clusters are the points."""
        m, n_done = self.n_points, self.n_points - n_clusters
        label = self.cut(n_clusters)
        number: dict[int, int] = {}  # new number of each node
        for node in range(m):
            number[node] = int(label[node])
        for node in range(m, m + n_done):
            number[node] = number[int(self.merges[node - m, 0])]
        upper, count = self.merges[n_done:].copy(), np.ones(2 * n_clusters - 1)
        for i in range(len(upper)):
            children = sorted(number[int(node)] for node in upper[i, :2])
            number[m + n_done + i] = n_clusters + i
            upper[i, 3] = count[n_clusters + i] = count[children].sum()
            upper[i, :2] = children
        return upper

    def _parents(self, n_merges: int) -> NDArray[np.int64]:
        """Return the parent of each node after so many merges, int64 (2m - 1,); -1 for none."""
        m = self.n_points
        parent = np.full(2 * m - 1, -1, np.int64)
        for i, (a, b) in enumerate(self.merges[:n_merges, :2].astype(np.int64).tolist()):
            parent[a] = parent[b] = m + i
        return parent


class _Merge(NamedTuple):
    """A merge of two slots: the cluster in `source` joins the one in `target`."""

    source: int
    target: int
    height: float


def ward(points: NDArray[np.float64], weight: NDArray[np.float64]) -> Hierarchy:
    """Return the hierarchy of points, float64 (m, d), of positive weights (m,); m >= 1."""
    m = len(points)
    centroids = np.ascontiguousarray(points.T.astype(np.float64))  # a row per feature
    weight, active = weight.astype(np.float64), np.ones(m, bool)
    merges: list[_Merge] = []
    chain: list[int] = []
    while len(merges) < m - 1:
        if not chain:
            chain.append(int(active.argmax()))
        a = chain[-1]
        squares = _squared_heights(centroids, weight, active, a)
        b = int(squares.argmin())
        if len(chain) > 1 and squares[chain[-2]] == squares[b]:
            b = chain[-2]  # among ties the previous one, or the chain could run in a circle
        if len(chain) < 2 or b != chain[-2]:
            chain.append(b)
            continue
        del chain[-2:]
        both = weight[a] + weight[b]
        merges.append(_Merge(a, b, float(np.sqrt(squares[b]))))
        centroids[:, b] = (weight[a] * centroids[:, a] + weight[b] * centroids[:, b]) / both
        weight[b], active[a] = both, False
    return Hierarchy(_linkage_matrix(merges, m))


def _squared_heights(
    centroids: NDArray[np.float64], weight: NDArray[np.float64], active: NDArray[np.bool_], a: int
) -> NDArray[np.float64]:
    """Return the squared height at which `a` would merge with each; infinite with itself."""
    squares = np.zeros(len(weight))
    for values in centroids:
        difference = values - values[a]
        squares += difference * difference
    squares *= 2 * weight[a] * weight / (weight[a] + weight)
    squares[~active] = np.inf
    squares[a] = np.inf
    return squares


def _linkage_matrix(merges: list[_Merge], m: int) -> NDArray[np.float64]:
    """Return merges as a linkage matrix: heights increase, and no merge precedes its children."""
    height_of_slot = np.zeros(m)
    heights = []
    for source, target, height in merges:
        # By rounding, a merge can be lower than one of its children.
        children = height_of_slot[source], height_of_slot[target]
        height_of_slot[target] = max(height, *children)
        heights.append(height_of_slot[target])
    order = np.argsort(heights, kind="stable")
    node, count, matrix = np.arange(m), np.ones(m), np.empty((m - 1, 4))
    for i, index in enumerate(order.tolist()):
        source, target, _ = merges[index]
        count[target] += count[source]
        matrix[i] = *sorted((node[source], node[target])), heights[index], count[target]
        node[target] = m + i
    return matrix
