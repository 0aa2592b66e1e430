"""Contrasts paired by seed: a level minus its reference, tested by sign flips and corrected by Holm."""

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
    """Level minus reference over the seeds that both have, in the unit of the outcome.

    ``difference`` is the mean difference with its Student's t interval, which is not corrected for the number of contrasts.
    ``p`` is of the two-sided sign-flip test (``sign_flip_p``), ``corrected_p`` is Holm's over the contrasts that were made
    together (``holm``); both are NaN where no seed is shared.
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
    """Contrast every level with its reference, paired by seed: mean difference, sign-flip test, Hedges' g.

    Args:
        pairs: The reference's values and the level's, each by seed; only seeds that both have are used.
        confidence: Of the intervals (``mean_interval``).
        seed: Of the random sign flips, which are used for more than 16 pairs.

    Returns:
        One contrast for each pair; the p-values are corrected for all of them together (Holm 1979).
    """
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
    """The two-sided p of the mean of paired differences by Fisher's randomisation test (1935, section 21).

    The null hypothesis is that the differences are independent and symmetric about 0; their distribution is free, and their
    variances may differ. The test is exact up to 16 pairs, where the smallest p that it can give is 2 / 2**n. For more pairs p
    is of 100,000 random flips, with the observed signs counted among them (Phipson and Smyth 2010).

    Args:
        differences: One for each pair.
        generator: Draws the flips where there are more than 16 pairs.
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
    """Adjusted p-values by Holm's step-down procedure (1979), in the order that was given.

    They control the family-wise error under any dependence of the tests. NaN stays NaN and is not counted.
    """
    array = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(len(array), np.nan)
    order = [int(i) for i in np.argsort(array) if not np.isnan(array[i])]
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, float(array[i]) * (len(order) - rank)))
        corrected[i] = largest
    return [float(p) for p in corrected]


def fewest_seeds(num_contrasts: int, significance: float = 0.05) -> int:
    """The fewest seeds with which the sign-flip test can give a p below ``significance`` after Holm's correction."""
    num_seeds = 1
    while num_contrasts * 2 / 2**num_seeds >= significance:
        num_seeds += 1
    return num_seeds
