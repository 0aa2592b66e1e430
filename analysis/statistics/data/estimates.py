"""Intervals for a mean over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval; the bounds are NaN where one value gives none."""

    mean: float
    low: float
    high: float
    num_values: int


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Student's t interval for the mean of independent values (exact for normal ones, close for a handful of seeds).

    Raises:
        ValueError: There are no values.
    """
    if not len(values):
        raise ValueError("an interval needs at least 1 value, but got none")
    array = np.asarray(values, dtype=np.float64)
    mean, num = float(array.mean()), len(array)
    if num == 1:
        return Estimate(mean, float("nan"), float("nan"), num)
    half = _t_quantile((1 + confidence) / 2, num - 1) * float(array.std(ddof=1)) / num**0.5
    return Estimate(mean, mean - half, mean + half, num)


@cache
def _t_quantile(share: float, df: int) -> float:
    return float(stats.t.ppf(share, df))
