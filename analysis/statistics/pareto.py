"""Pareto fronts: what nothing else beats in every objective."""

from collections.abc import Sequence

import numpy as np

from studies.run_record import Direction


def pareto_front(values: Sequence[Sequence[float]], directions: Sequence[Direction]) -> list[bool]:
    """Whether each point is on the front: no other is at least as good in every objective and better in one.

    Equal points stand on it together; a point with a value that is not finite does not, and beats none.

    Args:
        values: A row of objectives for each point.
        directions: Which way each objective is better.
    """
    if not len(values):
        return []
    signs = np.array([1.0 if direction == "maximize" else -1.0 for direction in directions])
    points = np.asarray(values, dtype=np.float64) * signs
    known = np.isfinite(points).all(axis=1)
    rivals = points[known]
    return [
        bool(is_known and not np.any(np.all(rivals >= point, axis=1) & np.any(rivals > point, axis=1)))
        for point, is_known in zip(points, known, strict=True)
    ]
