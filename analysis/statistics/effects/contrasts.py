"""Contrasts paired by seed: a level minus its reference, within each block."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from analysis.statistics.data.estimates import Estimate, mean_interval
from analysis.statistics.effects.effect_sizes import hedges_g

MOST_PAIRS_FOR_EXACT = 16
NUM_RANDOM_FLIPS = 100_000
RELATIVE_TIE = 1e-9
RELATIVE_ROUNDING = 1e-12


@dataclass(frozen=True)
class Contrast:
    """Level minus reference over the seeds that both have.

    ``p`` is of the two-sided sign-flip test, ``corrected_p`` is Holm's over the contrasts that were made together; both
    are NaN where no seed is shared.
    """

    difference: Estimate
    p: float
    corrected_p: float
    sd: float
    """Standard deviation of the differences; NaN with fewer than two."""
    effect_size: float
    """Hedges' g_av, see ``hedges_g``."""


def paired_contrasts(
    pairs: Sequence[tuple[Mapping[int, float], Mapping[int, float]]], *, confidence: float = 0.95, seed: int = 0
) -> list[Contrast]:
    """A contrast for every pair of a reference and a level, both by seed; p-values corrected for all of them (Holm 1979)."""
    generator = np.random.default_rng(seed)
    nan = float("nan")
    found: list[Contrast] = []
    for reference, level in pairs:
        blocks = sorted(level.keys() & reference.keys())
        differences = [_difference(reference[block], level[block]) for block in blocks]
        size = hedges_g([reference[block] for block in blocks], [level[block] for block in blocks])
        found.append(
            Contrast(
                difference=mean_interval(differences, confidence) if differences else Estimate(nan, nan, nan, 0),
                p=sign_flip_p(differences, generator) if differences else nan,
                corrected_p=nan,
                sd=float(np.std(differences, ddof=1)) if len(differences) > 1 else nan,
                effect_size=size,
            )
        )
    corrected = holm([contrast.p for contrast in found])
    return [replace(contrast, corrected_p=p) for contrast, p in zip(found, corrected, strict=True)]


def _difference(reference: float, level: float) -> float:
    """0 where only rounding parts them, which would have a sign."""
    difference = level - reference
    return difference if abs(difference) > RELATIVE_ROUNDING * max(abs(level), abs(reference)) else 0.0


def sign_flip_p(differences: Sequence[float], generator: np.random.Generator) -> float:
    """Two-sided p of the mean of paired differences under random signs (Fisher's randomisation test).

    Exact up to 16 pairs, where the smallest p it can give is 2 / 2**n; beyond, from 100,000 random flips, the observed one
    counted (Phipson and Smyth 2010).
    """
    array = np.asarray(differences, dtype=np.float64)
    observed = abs(array.sum()) * (1 - RELATIVE_TIE)
    if len(array) <= MOST_PAIRS_FOR_EXACT:
        return float(np.mean(np.abs(_all_signs(len(array)) @ array) >= observed))
    signs = generator.choice((-1.0, 1.0), size=(NUM_RANDOM_FLIPS, len(array)))
    return float((1 + np.sum(np.abs(signs @ array) >= observed)) / (1 + NUM_RANDOM_FLIPS))


@cache
def _all_signs(num: int) -> npt.NDArray[np.float64]:
    """A row for every pattern of signs, the last sign being +: the others are these, turned round."""
    bits = np.arange(2 ** (num - 1))[:, None] >> np.arange(num)
    return (1 - 2 * (bits & 1)).astype(np.float64)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction; NaNs are left out of the count and stay."""
    array = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(len(array), np.nan)
    order = [int(i) for i in np.argsort(array) if not np.isnan(array[i])]
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, float(array[i]) * (len(order) - rank)))
        corrected[i] = largest
    return [float(p) for p in corrected]


def fewest_seeds(num_contrasts: int, significance: float = 0.05) -> int:
    """The fewest seeds with which a corrected p can fall below ``significance`` in one of so many contrasts."""
    num_seeds = 1
    while num_contrasts * 2 / 2**num_seeds >= significance:
        num_seeds += 1
    return num_seeds
