"""Power: the smallest effect that a design detects with a probability of 80 %, and the seeds that an effect needs."""

import math
from functools import cache

import numpy as np
from scipy import optimize, stats

from analysis.statistics.data.cell_by_seed import FloatArray
from analysis.statistics.effects.sign_flips import MOST_PAIRS_FOR_EXACT

MOST_PATTERNS_ENUMERATED = 12
NUM_DRAWS = 10_000
NUM_SPREADS = 50


def smallest_effect(
    num_seeds: int,
    num_contrasts: int,
    sd_of_differences: float,
    *,
    power: float = 0.8,
    significance: float = 0.05,
    num_cells_averaged: int = 1,
) -> float | None:
    """The smallest true difference that a two-sided paired test finds with this power, in the unit of ``sd_of_differences``.

    The test is at the strictest level of Holm's correction, ``significance / num_contrasts``, so that a larger effect is found
    at least as often whatever the other contrasts are. Differences are taken as independent and normal. The sign-flip test can
    only reach levels that are a multiple of 2 / 2**num_seeds; the power is that of the t-test at the level that it reaches, by
    the noncentral t (Cohen 1988, chapter 2). Where that level allows so few sign patterns that the two tests part, it is the
    sign-flip test's own, from 10,000 drawn samples with a fixed seed.

    Args:
        num_seeds: Pairs of each contrast.
        num_contrasts: Contrasts that are corrected together.
        sd_of_differences: Standard deviation, over seeds, of the difference of two cells (see the function of that name).
        power: How often the effect is to be found.
        significance: What a corrected p has to fall below.
        num_cells_averaged: Cells behind the mean of each level in a factorial design. The cells' noise is taken as independent,
            so that the difference of two means over m cells has the standard deviation of one difference over √m.

    Returns:
        None where the exact sign-flip test cannot reach that level with so few seeds, or the standard deviation is NaN.

    Raises:
        ValueError: A count is below 1, or a probability is not inside (0, 1), or the standard deviation is below 0.
    """
    if min(num_seeds, num_contrasts, num_cells_averaged) < 1:
        rule = "num_seeds, num_contrasts and num_cells_averaged must be at least 1"
        raise ValueError(f"{rule}, but got {num_seeds}, {num_contrasts} and {num_cells_averaged}")
    if not (0 < power < 1 and 0 < significance < 1):
        raise ValueError(f"power and significance must be inside (0, 1), but got {power} and {significance}")
    if sd_of_differences < 0:
        raise ValueError(f"sd_of_differences must be at least 0, but got {sd_of_differences}")
    standardised = _standardised_effect(num_seeds, significance / num_contrasts, power)
    if standardised is None or not math.isfinite(sd_of_differences):
        return None
    return standardised * sd_of_differences / math.sqrt(num_cells_averaged)


def seeds_to_settle(
    standardised: float, level: float, margin: tuple[float, float] | None = None, *, power: float = 0.8, most: int = 1000
) -> int | None:
    """The fewest seeds with which a contrast is settled with this probability: decided, or shown to be small.

    Args:
        standardised: The true difference, in standard deviations of the paired differences over seeds.
        level: Of the test and of the interval.
        margin: The smallest and the largest difference that are called small, in the same unit; None where none are.
        power: The probability.
        most: Seeds that are considered.

    Returns:
        None where ``most`` seeds are too few.
    """

    def is_enough(num_seeds: int) -> bool:
        return probability_to_settle(num_seeds, standardised, level, margin) >= power

    few = next((num for num in range(2, MOST_PAIRS_FOR_EXACT + 1) if is_enough(num)), None)
    if few is not None:
        return few
    low, high = MOST_PAIRS_FOR_EXACT, most
    if not is_enough(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def probability_to_settle(num_seeds: int, standardised: float, level: float, margin: tuple[float, float] | None = None) -> float:
    """P(decided) + P(not decided, but the interval is within the margin), see ``seeds_to_settle``.

    Differences are taken as normal. What is decided is found by the sign-flip test (``smallest_effect`` says how its power is
    computed). Whether the rest is shown to be small goes by Student's t interval, whose width varies with the sample.
    """
    attained = _attained_level(num_seeds, level)
    if attained is None:
        return 0.0
    decided = _power(num_seeds, attained, abs(standardised))
    if margin is None:
        return decided
    half = float(stats.t.isf(attained / 2, num_seeds - 1)) / math.sqrt(num_seeds) * _spreads(num_seeds - 1)
    low, high = np.maximum(-half, margin[0] + half), np.minimum(half, margin[1] - half)
    below = stats.norm.cdf((np.stack([low, np.maximum(low, high)]) - standardised) * math.sqrt(num_seeds))
    return min(1.0, decided + float(np.mean(below[1] - below[0])))


@cache
def _spreads(df: int) -> FloatArray:
    """Standard deviations of samples, as likely as each other, where the true one is 1."""
    return np.asarray(np.sqrt(stats.chi2.ppf((np.arange(NUM_SPREADS) + 0.5) / NUM_SPREADS, df) / df))


def _attained_level(num_seeds: int, level: float) -> float | None:
    """The largest level below the asked one that so few pairs can have; None where there is none."""
    if num_seeds > MOST_PAIRS_FOR_EXACT:
        return level
    num_pairs = 2.0 ** (num_seeds - 1)
    num_patterns = math.ceil(level * num_pairs) - 1
    return num_patterns / num_pairs if num_patterns else None


def _power(num_seeds: int, attained: float, standardised: float) -> float:
    if num_seeds <= MOST_PAIRS_FOR_EXACT and _num_patterns(num_seeds, attained) <= MOST_PATTERNS_ENUMERATED:
        return float(np.mean(_thresholds(num_seeds, _num_patterns(num_seeds, attained)) < standardised))
    return float(stats.nct.sf(stats.t.isf(attained / 2, num_seeds - 1), num_seeds - 1, standardised * math.sqrt(num_seeds)))


def sd_of_differences(seed_sd: float, correlation: float = 0) -> float:
    """The standard deviation over seeds of the difference of two cells: seed_sd · √(2 (1 - ρ)).

    Args:
        seed_sd: Standard deviation over seeds of one cell, the same in both.
        correlation: ρ, of the two cells' values over shared seeds; pairing helps where it is above 0.

    Raises:
        ValueError: The correlation is not in [-1, 1].
    """
    if not -1 <= correlation <= 1:
        raise ValueError(f"a correlation must be in [-1, 1], but got {correlation}")
    return seed_sd * math.sqrt(2 * (1 - correlation))


@cache
def _standardised_effect(num_seeds: int, level: float, power: float) -> float | None:
    """In standard deviations of a difference; None where no p can be below ``level``."""
    attained = _attained_level(num_seeds, level)
    if attained is None:
        return None
    if num_seeds > MOST_PAIRS_FOR_EXACT or _num_patterns(num_seeds, attained) > MOST_PATTERNS_ENUMERATED:
        return _by_noncentral_t(num_seeds, attained, power)
    return float(np.quantile(_thresholds(num_seeds, _num_patterns(num_seeds, attained)), power))


def _num_patterns(num_seeds: int, attained: float) -> int:
    """Of opposite sign patterns, how many may be as extreme as the observed one."""
    return round(attained * 2.0 ** (num_seeds - 1))


def _by_noncentral_t(num_seeds: int, level: float, power: float) -> float:
    """In standard deviations. Rejections in the wrong direction, which hardly occur at such powers, do not count."""
    threshold = float(stats.t.isf(level / 2, num_seeds - 1))

    def shortfall(noncentrality: float) -> float:
        return float(stats.nct.sf(threshold, num_seeds - 1, noncentrality)) - power

    highest = threshold + 1.0
    while shortfall(highest) < 0:
        highest *= 2
    return float(optimize.brentq(shortfall, 0.0, highest)) / math.sqrt(num_seeds)


@cache
def _thresholds(num_seeds: int, num_patterns: int) -> FloatArray:
    """The effect, in standard deviations, above which the sign-flip test decides, for each of 10,000 drawn samples of noise.

    Flipping the signs of a subset of the differences makes their sum no smaller if and only if the subset's mean is not above 0.
    The test rejects if fewer than ``num_patterns`` subsets are so, hence for noise Z and effect δ if δ is above the
    ``num_patterns``-th largest mean of -Z over subsets. That mean is of a subset of the ``num_patterns`` largest, since every
    worse subset has as many better ones.
    """
    noise = np.random.default_rng(0).normal(size=(NUM_DRAWS, num_seeds))
    largest = -np.sort(-noise, axis=1)[:, :num_patterns]
    num_kept = largest.shape[1]
    subsets = (np.arange(1, 2**num_kept)[:, None] >> np.arange(num_kept)) & 1
    weights = subsets / subsets.sum(axis=1, keepdims=True)
    thresholds = [np.partition(chunk @ weights.T, -num_patterns, axis=1)[:, -num_patterns] for chunk in np.split(largest, 20)]
    return np.concatenate(thresholds)
