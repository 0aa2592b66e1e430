"""Pareto fronts: the points that no other point dominates."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from studies.run_record import Direction

NUM_STRONG = 64
"""Points with the least sum of losses: they dominate most of the others, which then need not be compared with each other."""

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def pareto_front(values: Sequence[Sequence[float]], directions: Sequence[Direction]) -> list[bool]:
    """Whether each point is on the front: no other is at least as good in every objective and better in one.

    Equal points are on it together; a point with a value that is not finite is not on it and dominates none.

    Args:
        values: A row of objectives for each point.
        directions: Which way each objective is better.
    """
    if not len(values):
        return []
    losses = losses_of(values, directions)
    known = np.isfinite(losses).all(axis=1)
    on_front = np.zeros(len(losses), dtype=np.bool_)
    on_front[known] = ~dominated(losses[known])
    return [bool(is_on) for is_on in on_front]


def losses_of(values: Sequence[Sequence[float]] | Array, directions: Sequence[Direction]) -> Array:
    """The objectives, a row for each point, with the sign changed where more is better, so that less is better."""
    signs = np.array([-1.0 if direction == "maximize" else 1.0 for direction in directions])
    losses: Array = np.asarray(values, dtype=np.float64).reshape(-1, len(signs)) * signs
    return losses


def dominated(losses_NO: Array) -> Mask:
    """Which points some other dominates: is at least as good in every objective and better in one.

    Args:
        losses_NO: Points × objectives, less is better, all finite.
    """
    if losses_NO.shape[1] == 2 and len(losses_NO):
        return _dominated_in_2d(losses_NO)
    strong = np.argsort(losses_NO.sum(axis=1), kind="stable")[:NUM_STRONG]
    found = _dominated_by(losses_NO[strong], losses_NO)
    left = np.flatnonzero(~found)  # what dominates one of these is not dominated by the strong ones itself
    found[left] = _dominated_by(losses_NO[left], losses_NO[left])
    return found


def _dominated_by(rivals_MO: Array, losses_NO: Array) -> Mask:
    """Which points one of some rivals dominates."""
    as_good = np.ones((len(losses_NO), len(rivals_MO)), dtype=np.bool_)
    better = np.zeros_like(as_good)
    for rival, loss in zip(rivals_MO.T, losses_NO.T, strict=True):
        as_good &= rival <= loss[:, None]
        better |= rival < loss[:, None]
    found: Mask = np.any(as_good & better, axis=1, keepdims=True)[:, 0]
    return found


def _dominated_in_2d(losses_N2: Array) -> Mask:
    """By the least second loss among the points that are better in the first, or as good in it."""
    order = np.lexsort((losses_N2[:, 1], losses_N2[:, 0]))
    first, second = losses_N2[order].T
    begins = np.flatnonzero(np.append(True, first[1:] > first[:-1]))  # groups of one first loss; their least second comes first
    group = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, len(first))))
    least = second[begins]
    least_before = np.append(np.inf, np.minimum.accumulate(least)[:-1])
    found = np.empty(len(first), dtype=np.bool_)
    found[order] = (least_before[group] <= second) | (least[group] < second)
    return found
