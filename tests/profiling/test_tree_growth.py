"""The surrogate tree's growth: the splits of scikit-learn's tree."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

from gpuseg.profiling.rules.tree_growth import TreeLimits, TreeNode, grow_tree

LIMITS = TreeLimits(max_depth=6, max_leaves=12, min_rows=5, min_gain=0.003)


def scikit_learns(
    x: NDArray[np.float32], label: NDArray[np.int32], limits: TreeLimits, seed: int = 0
) -> object:
    """Return scikit-learn's tree as nested tuples; among equal splits it draws by the seed."""
    classifier = DecisionTreeClassifier(
        max_depth=limits.max_depth,
        max_leaf_nodes=limits.max_leaves,
        min_samples_leaf=limits.min_rows,
        min_impurity_decrease=limits.min_gain,
        random_state=seed,
    ).fit(x, label)
    tree = classifier.tree_

    def node(number: int) -> object:
        if tree.feature[number] < 0:
            return int(classifier.classes_[tree.value[number][0].argmax()])
        children = node(tree.children_left[number]), node(tree.children_right[number])
        return int(tree.feature[number]), float(tree.threshold[number]), *children

    return node(0)


def as_tuples(node: TreeNode) -> object:
    if node.split is None:
        return node.label
    middle = node.split.low / 2 + node.split.high / 2
    return node.split.feature, middle, *map(as_tuples, node.children)


def clusters(seed: int, n: int, d: int, k: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)).astype(np.float32)
    distances = ((x[:, None] - rng.normal(size=(k, d))) ** 2).sum(axis=2)
    return x, distances.argmin(axis=1).astype(np.int32)


@pytest.mark.parametrize(("n", "d", "k"), [(2000, 4, 5), (1500, 8, 3), (3000, 2, 8), (2500, 6, 2)])
@pytest.mark.parametrize("ties", [False, True])
def test_splits_are_scikit_learns(n: int, d: int, k: int, ties: bool) -> None:
    x, label = clusters(n, n, d, k)
    if ties:
        x = np.round(x, 1)
    label = label * 3 - 1  # noise, and numbers that are not in use
    assert as_tuples(grow_tree(x, label, LIMITS)) == scikit_learns(x, label, LIMITS)


@pytest.mark.parametrize("limits", [
    TreeLimits(1, 12, 5, 0.003), TreeLimits(6, 2, 1, 0.003), TreeLimits(6, 30, 300, 0.003),
    TreeLimits(6, 12, 5, 0.05), TreeLimits(20, 60, 10, 1e-3),
])  # fmt: skip
def test_limits_are_scikit_learns(limits: TreeLimits) -> None:
    """Small nodes have equal splits by several features: scikit-learn draws one by its seed."""
    x, label = clusters(1, 1000, 3, 6)
    trees = (scikit_learns(x, label, limits, seed) for seed in range(20))
    assert as_tuples(grow_tree(x, label, limits)) in trees


def test_the_first_of_equal_splits_is_taken() -> None:
    """scikit-learn draws one of them."""
    x = np.repeat(np.arange(4, dtype=np.float32), 10)[:, None].repeat(3, axis=1)
    label = (x[:, 0] >= 2).astype(np.int32)
    tree = grow_tree(x, label, LIMITS)
    assert as_tuples(tree) == (0, 1.5, 0, 1)
    drawn = {scikit_learns(x, label, LIMITS, seed) for seed in range(20)}
    assert drawn == {(f, 1.5, 0, 1) for f in range(3)}


def test_rows_that_no_split_separates_are_a_leaf() -> None:
    label = np.array([4, 2, 2, 4, 2] * 10, np.int32)
    assert grow_tree(np.ones((50, 2), np.float32), label, LIMITS) == TreeNode(2)
    few = TreeLimits(6, 12, 26, 0.003)
    x = np.arange(50, dtype=np.float32)[:, None]
    assert grow_tree(x, label, few) == TreeNode(2)
    label[:25] = 2  # as many rows of each: the smaller class
    label[25:] = 4
    assert grow_tree(x, label, few) == TreeNode(2)


def test_small_values_are_as_good_as_large_ones() -> None:
    """scikit-learn takes values that differ by less than 1e-7 for equal."""
    x, label = clusters(3, 1000, 3, 4)
    large, small = (grow_tree(np.ldexp(x, e).astype(np.float32), label, LIMITS) for e in (0, -40))
    assert large.split is not None
    assert small.split is not None
    assert small.split.low == large.split.low * 2.0**-40
    assert small.children[0].label == large.children[0].label
