"""Which level or configuration is the best: paired tests against the one with the best mean, and that one's interval."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.statistics.data.estimates import Estimate
from analysis.statistics.data.outcomes import Outcome
from analysis.statistics.effects.contrasts import SIGNIFICANCE, paired_values

FEWEST_FOR_INTERVAL = 3


@dataclass(frozen=True)
class Best:
    """Several levels (or configurations) compared with the one that has the best mean, paired by seed.

    Args:
        leader: The index of the one with the best mean.
        behind: Of each, by how much it is worse than the leader on the seeds of both; 0 of the leader, NaN without such a seed.
        p_values: Of each, of the two-sided sign-flip test against the leader; NaN of the leader, and without such a seed.
        is_decided: Whether the leader is better than every other one.
        may_be_best: Whether each may truly be the best; the truly best one is among these with 95 % confidence.
    """

    leader: int
    behind: Sequence[float]
    p_values: Sequence[float]
    is_decided: bool
    may_be_best: Sequence[bool]

    @property
    def num_candidates(self) -> int:
        """How many may be the best."""
        return sum(self.may_be_best)


def compare_with_best(
    values: Sequence[Mapping[int, float]], outcome: Outcome, means: Sequence[float], *, num_images: int | None = None
) -> Best:
    """Compare the one with the best mean with each of the others.

    It is decidedly the best if the two-sided p against every other one is below 0.05. No factor corrects for its having been
    chosen by the data: with two that are equally good this errs in 5 %, one half of it for each; with more that are equally
    good it has to be better than all of them, which happens less often (Gutmann and Maymin 1987).

    Another one cannot be the best if p · (k - 1) / 2 is below 0.05, k being how many there are: the truly best one is told to be
    worse by one of k - 1 others, each with probability p / 2 (Bonferroni).

    Args:
        values: Of each, the outcome by seed; at least two, each with a value.
        outcome: Which way it is better, and the scale on which it is tested (``paired_values``).
        means: Of each, by which the best is chosen.
        num_images: Behind an accuracy, for its scale.
    """
    sign = 1.0 if outcome.direction == "maximize" else -1.0
    leader = int(np.argmax([sign * mean for mean in means]))
    generator = np.random.default_rng(0)
    behind, p_values = [], []
    for place, other in enumerate(values):
        paired = paired_values(other, values[leader], generator, scale=outcome.scale, num_images=num_images)
        behind.append(sign * float(np.mean(np.subtract(paired.level, paired.reference))) if paired.level else math.nan)
        p_values.append(math.nan if place == leader else paired.p)
    factor = max(1.0, (len(values) - 1) / 2)
    others = [place for place in range(len(values)) if place != leader]
    is_decided = all(behind[place] > 0 and p_values[place] < SIGNIFICANCE for place in others)
    is_worse = [behind[place] > 0 and (is_decided or p_values[place] * factor < SIGNIFICANCE) for place in range(len(values))]
    return Best(leader, behind, p_values, is_decided, [place == leader or not worse for place, worse in enumerate(is_worse)])


def decided_best(values: Sequence[Mapping[int, float]], outcome: Outcome) -> int | None:
    """The index of the level (or configuration) that is better than every other, or None where that is not decided.

    See ``compare_with_best``. Nothing is decided where one of them has no value.

    Args:
        values: Of each, the outcome by seed.
        outcome: Which way it is better.
    """
    if len(values) < 2 or not all(values):
        return None
    found = compare_with_best(values, outcome, [float(np.mean(list(of_one.values()))) for of_one in values])
    return found.leader if found.is_decided else None


def interval_of_selected(values: Sequence[float], num_candidates: int, outcome: Outcome, *, confidence: float = 0.95) -> Estimate:
    """The mean of what was chosen because its mean was the best, with an interval that allows for the choice.

    The best of several means is too good on average. So the bound on the worse side is Student's t at a level that is divided by
    the number of those that might have been chosen (Bonferroni); the bound on the better side needs no correction, because being
    chosen makes it less likely that the mean is too bad. The interval ends where the outcome does. Two values give none: they are
    too often equal where an accuracy is of a few hundred images, which says nothing of their spread.

    Args:
        values: One for each seed.
        num_candidates: How many may be the best (``Best.num_candidates``).
        outcome: Which way it is better.
        confidence: The probability with which the interval covers the true mean.
    """
    array = np.asarray(values, dtype=np.float64)
    mean, num = float(array.mean()), len(array)
    if num < FEWEST_FOR_INTERVAL:
        return Estimate(mean, math.nan, math.nan, num)
    error = float(array.std(ddof=1)) / math.sqrt(num)
    tail = (1 - confidence) / 2
    plain, wide = (error * float(stats.t.isf(tail / divisor, num - 1)) for divisor in (1, num_candidates))
    worse, better = (wide, plain) if outcome.direction == "maximize" else (plain, wide)
    least, most = outcome.limits
    return Estimate(mean, min(mean, max(least, mean - worse)), max(mean, min(most, mean + better)), num)
