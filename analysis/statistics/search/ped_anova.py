"""PED-ANOVA: how much each factor distinguishes the best configurations from all that were tried (Watanabe et al. 2023).

The importance is γ² times the Pearson divergence of a factor's density among the best share γ from its density among all
(equation 9 of the paper). That is the variance which the factor explains of the indicator of being among the best; we
divide it by the indicator's own variance, γ·(1 - γ), so that it is a share, as fANOVA's is.
Densities: on 50 cells, Gaussian kernels of Scott's width and a flat one of the weight of one configuration, as in Optuna.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from analysis.statistics.search.factor_axes import Array, FactorAxis

NUM_CELLS = 50
TARGET_QUANTILE = 0.1
FEWEST_BEST = 5
NARROWEST = 0.5 / 1.64
"""Cells: nine tenths of a kernel lie in its own cell."""
TINY = 1e-12

Cells = npt.NDArray[np.intp]


def best_of(losses_N: Array) -> npt.NDArray[np.bool_]:
    """Which are among the best tenth, and at least the best 5, with all that equal the last of them."""
    num = max(FEWEST_BEST, int(np.ceil(TARGET_QUANTILE * len(losses_N))))
    if num >= len(losses_N):
        return np.ones(len(losses_N), dtype=np.bool_)
    best: npt.NDArray[np.bool_] = losses_N <= np.partition(losses_N, num - 1)[num - 1]
    return best


def cells_on(axis: FactorAxis, places_N: Array) -> tuple[Cells, int]:
    """The cell of every place, and how many cells there are."""
    if not axis.is_ordered:
        return places_N.astype(np.intp), len(axis.levels)
    num = min(NUM_CELLS, axis.num_values or _num_cells(axis))
    return np.clip(np.ceil(places_N * (num - 1) - 0.5), 0, num - 1).astype(np.intp), num


def _num_cells(axis: FactorAxis) -> int:
    """Of integers on a log scale, a cell for every doubling."""
    return int(np.ceil(np.log2(axis.high - axis.low + 1))) + 1 if axis.is_integer else NUM_CELLS


def ped_anova_share(cells_N: Cells, num_cells: int, is_best: npt.NDArray[np.bool_], *, is_ordered: bool) -> float:
    """The share of being among the best that a factor explains; 0 where all are the best, or the factor has one value."""
    share = float(is_best.mean())
    if num_cells < 2 or share in (0.0, 1.0):
        return 0.0
    density = _kernel_density if is_ordered else _level_density
    of_best = density(np.bincount(cells_N[is_best], minlength=num_cells)) + TINY
    of_all = density(np.bincount(cells_N, minlength=num_cells)) + TINY
    divergence = float(of_all @ (of_best / of_all - 1) ** 2)
    return divergence * share / (1 - share)


def _level_density(counts_K: Cells) -> Array:
    """Frequencies, with one configuration more that is spread over all levels, and as much in every count's kernel."""
    present = np.flatnonzero(counts_K)
    prior = 1 / (len(present) + 1)
    kernels = np.full((len(present) + 1, len(counts_K)), prior)
    kernels[np.arange(len(present)), present] += 1
    kernels /= kernels.sum(axis=1, keepdims=True)
    weights = np.append(counts_K[present], 1.0)
    density: Array = weights / weights.sum() @ kernels
    return density


def _kernel_density(counts_K: Cells) -> Array:
    """A truncated Gaussian on every cell that holds something, and one as wide as the axis."""
    num_cells = len(counts_K)
    present = np.flatnonzero(counts_K)
    counts = counts_K[present].astype(np.float64)
    centres = np.append(present, (num_cells - 1) / 2)
    widths = np.append(np.full(len(present), _scott_width(present, counts)), num_cells)
    edges = np.arange(num_cells + 1) - 0.5
    below = ndtr((edges[:, None] - centres) / widths)
    mass = np.diff(below, axis=0) / (below[-1] - below[0])
    weights = np.append(counts, 1.0)
    density: Array = mass @ (weights / weights.sum())
    return density


def _scott_width(present: Cells, counts: Array) -> float:
    num, cumulative = counts.sum(), np.cumsum(counts)
    mean = counts @ present / num
    deviation = np.sqrt(counts @ (present - mean) ** 2 / max(1.0, num - 1))
    first = np.searchsorted(cumulative, num // 4, side="left")
    third = min(len(present) - 1, int(np.searchsorted(cumulative, num * 3 // 4, side="right")))
    spread = min((present[third] - present[first]) / 1.34, deviation)
    return max(float(1.059 * spread * num**-0.2), NARROWEST)
