"""fANOVA: how much of a forest's variance over the space is each factor's main effect (Hutter, Hoos and Leyton-Brown 2014).

Every leaf of a tree is a box of the space, so that a tree's mean, its variance and the mean over all other factors as a function
of one are exact sums over leaves (their section 3). The space's measure is uniform: on a range in its own scale (its
logarithm where it is drawn so), and on levels one share each.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestRegressor

from analysis.statistics.search.factor_axes import Array, FactorAxis

FEWEST_IN_A_LEAF = 3


def forest_of(inputs_NC: Array, values_N: Array, *, num_trees: int, seed: int) -> Any:
    """A random forest of regression trees; leaves of at least 3 keep it from learning the noise by heart."""
    forest = RandomForestRegressor(n_estimators=num_trees, min_samples_leaf=FEWEST_IN_A_LEAF, random_state=seed)
    return forest.fit(inputs_NC, values_N)


def main_effect_shares(forest: Any, axes: Sequence[FactorAxis]) -> Array:
    """For each axis the share of the forest's variance that is its main effect (Hutter, Hoos and Leyton-Brown 2014, section 3).

    The mean over the trees that vary at all, for a uniform measure on the space; all are 0 where no tree varies. What is missing
    from a sum of 1 is due to interactions.

    Args:
        forest: A fitted random forest of scikit-learn.
        axes: In the order of the forest's inputs.
    """
    shares = [found for tree in forest.estimators_ if (found := _shares_of_tree(tree.tree_, axes)) is not None]
    return np.mean(shares, axis=0) if shares else np.zeros(len(axes))


def _shares_of_tree(tree: Any, axes: Sequence[FactorAxis]) -> Array | None:
    values_L = tree.value[:, 0, 0][tree.children_left < 0]
    low_LC, high_LC = _leaf_boxes(tree, axes)
    covers, fractions = [], []
    start = 0
    for axis in axes:
        columns = slice(start, start + axis.num_columns)
        start += axis.num_columns
        cover = None if axis.is_ordered else _levels_in(low_LC[:, columns], high_LC[:, columns])
        length = 1 + 2 * axis.margin
        covers.append((cover, low_LC[:, columns.start], high_LC[:, columns.start]))
        fractions.append((high_LC[:, columns.start] - low_LC[:, columns.start]) / length if cover is None else cover.mean(axis=1))
    fractions_FL = np.array(fractions)
    weights_L = fractions_FL.prod(axis=0)
    mean = float(weights_L @ values_L)
    variance = float(weights_L @ (values_L - mean) ** 2)
    if variance <= 0:
        return None
    variances = []
    for i, (cover, low_L, high_L) in enumerate(covers):
        contributions_L = np.delete(fractions_FL, i, axis=0).prod(axis=0) * (values_L - mean)
        effect, share = _of_levels(cover, contributions_L) if cover is not None else _of_range(low_L, high_L, contributions_L)
        variances.append(float(share @ effect**2))
    return np.array(variances) / variance


def _leaf_boxes(tree: Any, axes: Sequence[FactorAxis]) -> tuple[Array, Array]:
    """Lower and upper bounds of every leaf in every column."""
    margins = np.concatenate([np.full(axis.num_columns, axis.margin if axis.is_ordered else 0.0) for axis in axes])
    low = np.tile(-margins, (tree.node_count, 1))
    high = np.tile(1 + margins, (tree.node_count, 1))
    nodes = np.zeros(1, dtype=np.intp)
    while len(nodes := nodes[tree.children_left[nodes] >= 0]):
        left, right, feature = tree.children_left[nodes], tree.children_right[nodes], tree.feature[nodes]
        low[left], high[left], low[right], high[right] = low[nodes], high[nodes], low[nodes], high[nodes]
        high[left, feature] = tree.threshold[nodes]
        low[right, feature] = tree.threshold[nodes]
        nodes = np.concatenate([left, right])
    leaves = tree.children_left < 0
    return low[leaves], high[leaves]


def _levels_in(low_LK: Array, high_LK: Array) -> Array:
    """Which levels, given as indicators, lie in a leaf: 1 is in their own column and 0 in all others."""
    lacks_zero = low_LK > 0
    others_have_zero = lacks_zero.sum(axis=1, keepdims=True) - lacks_zero == 0
    levels: Array = ((high_LK >= 1) & others_have_zero).astype(np.float64)
    return levels


def _of_levels(cover_LK: Array, contributions_L: Array) -> tuple[Array, Array]:
    num_levels = cover_LK.shape[1]
    return contributions_L @ cover_LK, np.full(num_levels, 1 / num_levels)


def _of_range(low_L: Array, high_L: Array, contributions_L: Array) -> tuple[Array, Array]:
    """The effect between neighbouring bounds of leaves, and the share of the range that lies there."""
    bounds, places = np.unique(np.concatenate([low_L, high_L]), return_inverse=True)
    changes = np.zeros(len(bounds))
    np.add.at(changes, places[: len(low_L)], contributions_L)
    np.add.at(changes, places[len(low_L) :], -contributions_L)
    lengths = np.diff(bounds)
    return np.cumsum(changes)[:-1], lengths / lengths.sum()
