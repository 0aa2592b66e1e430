"""Standardised effects: a difference in units of the standard deviation over seeds."""

from collections.abc import Sequence

import numpy as np

RELATIVE_ROUNDING = 1e-9
"""A standard deviation that is so much smaller than the values is taken for rounding."""


def hedges_g(reference: Sequence[float], level: Sequence[float]) -> float:
    """Hedges' g_av of paired values: their mean difference in units of the mean standard deviation, corrected for small samples.

    g_av = (1 - 3 / (8n - 9)) · mean(level - reference) / √((s_r² + s_l²) / 2) for n pairs (Cumming 2012, chapter 11; the
    correction: Lakens 2013, equation 4). Unlike d_z, whose unit is the spread of the differences, it does not grow with how well
    pairing works, so that it can be compared between studies.

    Returns:
        NaN with fewer than two pairs, or where neither side varies.
    """
    num = len(level)
    if num < 2:
        return float("nan")
    spread = float(np.sqrt((np.var(reference, ddof=1) + np.var(level, ddof=1)) / 2))
    difference = float(np.mean(level) - np.mean(reference))
    is_rounding = spread <= RELATIVE_ROUNDING * max(map(abs, (*reference, *level)))
    return float("nan") if is_rounding else (1 - 3 / (8 * num - 9)) * difference / spread
