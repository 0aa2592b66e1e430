"""Contrasts paired by seed: a level minus its reference, tested by sign flips and corrected by Holm."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics.data.estimates import Estimate
from analysis.statistics.data.scales import Scale, difference_of_means, on_scale, scales_for, shift_in_unit
from analysis.statistics.effects.effect_sizes import hedges_g
from analysis.statistics.effects.sign_flips import SignFlipTest, sign_flip_tests

RELATIVE_ROUNDING = 1e-12
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Contrast:
    """Level minus reference over the seeds that both have.

    ``difference`` is the mean difference in the unit of the outcome, or on the log scale what the level's mean has more than the
    reference's, as a share of that. Its interval are the shifts that the sign-flip test does not reject at ``level``, so that it
    holds 0 if and only if the contrast is not decided; both bounds are NaN where so few seeds reject no shift. ``p`` is of that
    test (``PairedValues``); ``corrected_p`` is Holm's over the contrasts that were made together (``holm``). Both are NaN where
    no seed is shared.
    """

    difference: Estimate
    p: float
    corrected_p: float
    level: float
    """At which Holm's procedure tests it: 0.05, divided by the number of contrasts that were not decided before it."""
    scale: Scale
    """The outcome's own, or linear where its values are not on that (``scales_for``)."""
    shift: float
    """The mean of the differences on the scale."""
    spread: float
    """Their standard deviation; NaN with fewer than two."""
    sd: float
    """Standard deviation of the differences in the unit of the outcome; NaN with fewer than two."""
    effect_size: float
    """Hedges' g_av, see ``hedges_g``."""
    is_equal: bool
    """Whether at least two seeds have both values, and no seed has a difference."""

    @property
    def is_decided(self) -> bool:
        """Whether the corrected p is below 0.05, and so 0 is outside of the interval."""
        return self.corrected_p < SIGNIFICANCE

    @property
    def has_interval(self) -> bool:
        """Whether there are seeds enough for one."""
        return math.isfinite(self.difference.low)


@dataclass(frozen=True)
class ScaledDifferences:
    """The paired differences on one scale, and their test."""

    scale: Scale
    differences: Sequence[float]
    """0 where only rounding parts two values."""
    test: SignFlipTest

    @property
    def mean(self) -> float:
        """Of the differences."""
        return float(np.mean(self.differences))


@dataclass(frozen=True)
class PairedValues:
    """The values of a level and of its reference over the seeds that both have, and the tests of their differences.

    An accuracy is tested on the logit scale and as it is, and is decided where both decide in one direction: p is the larger one,
    and the interval has the shifts that either does not reject. No scale decides against the direction of the plain means: one
    large count in the reference can make its mean the larger one where nearly every seed has more spikes at the level.
    """

    reference: Sequence[float]
    level: Sequence[float]
    unit: Scale
    """The outcome's scale."""
    num_images: int | None
    tested: Sequence[ScaledDifferences]
    """Empty where there is no pair."""

    @property
    def p(self) -> float:
        """Of no shift; 1 where scales or plain means differ in the direction of the mean, NaN where there is no pair."""
        signs = {np.sign(one.mean) for one in self.tested}
        if self.tested:
            signs.add(np.sign(difference_of_means("linear", self.reference, self.level)))
        if len(signs) > 1:
            return 1.0
        return max((one.test.p() for one in self.tested), default=math.nan)

    def interval(self, level: float) -> tuple[float, float]:
        """The shifts that are not rejected, in the unit of a contrast; infinite or NaN where all are not."""
        bounds = [(one.scale, bound) for one in self.tested for bound in one.test.interval(level)]
        if not all(math.isfinite(bound) for _, bound in bounds):
            return math.nan, math.nan
        in_unit = [shift_in_unit(self.unit, scale, bound, self.reference, self.num_images) for scale, bound in bounds]
        return min(in_unit), max(in_unit)


def paired_contrasts(
    pairs: Sequence[tuple[Mapping[int, float], Mapping[int, float]]],
    *,
    scale: Scale = "linear",
    num_images: int | None = None,
    seed: int = 0,
) -> list[Contrast]:
    """Contrast every level with its reference, paired by seed: mean difference with its interval, sign-flip test, Hedges' g.

    Args:
        pairs: The reference's values and the level's, each by seed; only seeds that both have are used.
        scale: On which the differences are tested, see ``PairedValues``.
        num_images: Behind an accuracy, for the logit.
        seed: Of the random sign flips, which are used for more than 16 pairs.

    Returns:
        One contrast for each pair; the p-values are corrected for all of them together (Holm 1979).
    """
    generator = np.random.default_rng(seed)
    paired = [paired_values(*pair, generator, scale=scale, num_images=num_images) for pair in pairs]
    p_values = [one.p for one in paired]
    return [contrast_at(*each) for each in zip(paired, holm(p_values), holm_levels(p_values), strict=True)]


def paired_values(
    reference: Mapping[int, float],
    level: Mapping[int, float],
    generator: np.random.Generator,
    *,
    scale: Scale = "linear",
    num_images: int | None = None,
) -> PairedValues:
    """The values of the seeds that both have, and the test of their differences; see ``paired_contrasts``."""
    seeds = sorted(level.keys() & reference.keys())
    first, second = [reference[seed] for seed in seeds], [level[seed] for seed in seeds]
    scales = scales_for(scale, [*first, *second])
    samples = []
    for one in scales:
        shifts = on_scale(one, second, num_images) - on_scale(one, first, num_images)
        samples.append([float(shift) if _differ(*pair) else 0.0 for shift, *pair in zip(shifts, first, second, strict=True)])
    tests = sign_flip_tests(samples, generator) if seeds else ()
    tested = [ScaledDifferences(*each) for each in zip(scales, samples, tests, strict=False)]
    return PairedValues(first, second, scale, num_images, tested)


def _differ(one: float, other: float) -> bool:
    """Whether more than rounding parts them, which would have a sign."""
    return abs(one - other) > RELATIVE_ROUNDING * max(abs(one), abs(other))


def contrast_at(found: PairedValues, corrected_p: float, level: float) -> Contrast:
    """The contrast of these values, whose test is corrected together with others to this p and this level."""
    nan = math.nan
    if not found.tested:
        return Contrast(Estimate(nan, nan, nan, 0), nan, corrected_p, level, found.unit, nan, nan, nan, nan, is_equal=False)
    own = found.tested[0]
    raw = [other - one if _differ(one, other) else 0.0 for one, other in zip(found.reference, found.level, strict=True)]
    num = len(own.differences)
    mean = difference_of_means(found.unit, found.reference, found.level) if any(own.differences) else 0.0
    low, high = found.interval(level)
    return Contrast(
        difference=Estimate(mean, min(low, mean), max(high, mean), num) if math.isfinite(low) else Estimate(mean, nan, nan, num),
        p=found.p,
        corrected_p=corrected_p,
        level=level,
        scale=own.scale,
        shift=own.mean,
        spread=float(np.std(own.differences, ddof=1)) if num > 1 else nan,
        sd=float(np.std(raw, ddof=1)) if num > 1 else nan,
        effect_size=hedges_g(found.reference, found.level),
        is_equal=num > 1 and not any(own.differences),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values by Holm's step-down procedure (1979), in the order that was given.

    They control the family-wise error under any dependence of the tests. NaN stays NaN and is not counted.
    """
    array = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(len(array), np.nan)
    order = [int(i) for i in np.argsort(array, kind="stable") if not np.isnan(array[i])]
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, float(array[i]) * (len(order) - rank)))
        corrected[i] = largest
    return [float(p) for p in corrected]


def holm_levels(p_values: Sequence[float]) -> list[float]:
    """The level at which Holm's procedure tests each p-value, in the order that was given.

    It is 0.05 divided by the number of p-values that are not smaller, or of those that are not decided, whichever
    is more. So ``holm`` is below 0.05 if and only if the p-value is below its level.
    """
    array = np.asarray(p_values, dtype=np.float64)
    order = [int(i) for i in np.argsort(array, kind="stable") if not np.isnan(array[i])]
    levels = np.full(len(array), SIGNIFICANCE / max(1, len(order)))
    is_stopped = False
    divisor = len(order)
    for rank, i in enumerate(order):
        if not is_stopped:
            divisor = len(order) - rank
            is_stopped = array[i] * divisor >= SIGNIFICANCE
        levels[i] = SIGNIFICANCE / divisor
    return [float(level) for level in levels]


def fewest_seeds(num_contrasts: int) -> int:
    """The fewest seeds with which the sign-flip test can give a p below 0.05 after Holm's correction."""
    num_seeds = 1
    while num_contrasts * 2 / 2**num_seeds >= SIGNIFICANCE:
        num_seeds += 1
    return num_seeds
