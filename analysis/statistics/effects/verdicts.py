"""What a verdict on a factor says: its direction, its largest effect, and how many more seeds would settle what is open."""

import itertools
import math
from collections import Counter
from collections.abc import Sequence

from analysis.statistics.data.outcomes import Outcome
from analysis.statistics.data.scales import shift_of
from analysis.statistics.effects.best_level import compare_with_best
from analysis.statistics.effects.contrasts import SIGNIFICANCE, paired_contrasts
from analysis.statistics.effects.level_effects import LevelEffect
from analysis.statistics.effects.power import seeds_to_settle
from analysis.statistics.effects.small_effects import FEWEST_IMAGES, largest_possible

FEWEST_DECIDED = 2
"""The number of levels that have to be decided before a direction is claimed."""
MOST_SEEDS = 1000
SIZE = Outcome("size", "size of a difference")
"""What differences of two factors are compared on: as they are."""


def direction_of_more(effects: Sequence[LevelEffect], outcome: Outcome) -> int | None:
    """1 where larger numbers of a factor make the outcome higher, -1 where lower.

    None where a level is no number, or fewer than two levels are decided, or those that are disagree, or some step from one level
    to the next larger one is not decided in this direction (p below 0.05, not corrected: all of them have to be).
    """
    decided = [effect for effect in effects if effect.verdict in ("higher", "lower")]
    references = [effect for effect in effects if effect.is_baseline]
    present = [effect for effect in effects if effect.by_seed]
    if len(decided) < FEWEST_DECIDED or not references or not all(map(_is_number, present)):
        return None
    slopes = {
        (1 if effect.verdict == "higher" else -1) * (1 if effect.level > references[0].level else -1)  # type: ignore[operator]
        for effect in decided
    }
    if len(slopes) > 1:
        return None
    slope = slopes.pop()
    ordered = sorted(present, key=lambda effect: effect.level)  # type: ignore[arg-type,return-value]
    steps = paired_contrasts(
        [(one.by_seed, other.by_seed) for one, other in itertools.pairwise(ordered)],
        scale=outcome.scale,
        num_images=ordered[0].images.num_images,
    )
    return slope if all(step.p < SIGNIFICANCE and slope * step.difference.mean > 0 for step in steps) else None


def _is_number(effect: LevelEffect) -> bool:
    return isinstance(effect.level, int | float) and not isinstance(effect.level, bool)


def matters_most(effects: Sequence[LevelEffect]) -> str | None:
    """The factor with the largest difference from its baseline level, if it is decidedly larger than those of other factors.

    The size of a difference is its value in the direction of its mean. The largest one is compared with each difference of the
    other factors, paired by seed (``compare_with_best``). It was chosen as the largest of up to k of one factor, so each p is
    taken (k + 1) / 2 times: then two factors with effects of one size are told apart in at most 5 %.

    Returns:
        None where that is not decided, or where there are not two factors to compare.
    """
    references = {effect.factor: effect.by_seed for effect in effects if effect.is_baseline}
    sizes: list[tuple[str, dict[int, float]]] = []
    for effect in effects:
        if effect.contrast is not None:
            reference = references[effect.factor]
            sign = 1.0 if effect.contrast.difference.mean >= 0 else -1.0
            seeds = effect.by_seed.keys() & reference.keys()
            sizes.append((effect.factor, {seed: sign * (effect.by_seed[seed] - reference[seed]) for seed in seeds}))
    if not sizes:
        return None
    factor, largest = max(sizes, key=lambda size: sum(size[1].values()) / len(size[1]))
    values = [largest, *(of_seed for other, of_seed in sizes if other != factor)]
    if len(values) < 2 or not all(values):
        return None
    found = compare_with_best(values, SIZE, [sum(of_seed.values()) / len(of_seed) for of_seed in values])
    most = max(Counter(name for name, _ in sizes).values())
    is_decided = found.is_decided and all(p * (most + 1) / 2 < SIGNIFICANCE for p in found.p_values[1:])
    return factor if is_decided and found.leader == 0 else None


def largest_effect(effects: Sequence[LevelEffect]) -> float:
    """Of levels that are called small: the bound that none is larger than, which is at least two images of an accuracy."""
    fewest = max(FEWEST_IMAGES / one.images.num_images if one.images.num_images else 0.0 for one in effects)
    return max(fewest, *(largest_possible(effect.contrast) for effect in effects))


def num_more_seeds(effect: LevelEffect, reference: LevelEffect, outcome: Outcome) -> float:
    """How many more seeds would settle an undecided contrast with 80 % probability, if difference and spread are the true ones.

    It is settled where it is decided, or shown to be small if it may be called so. It is tested at its own step of Holm's
    procedure, the other contrasts being as they are.

    Returns:
        Infinity where more than ``MOST_SEEDS`` would be needed; NaN where one pair or no spread tells nothing, or where the mean
        on the scale of the test has another direction than the plain one, so that more seeds like these would decide nothing.
    """
    contrast = effect.contrast
    if contrast is None or not contrast.spread > 0 or contrast.shift * contrast.difference.mean < 0:
        return math.nan
    margin = None
    if effect.margin is not None and contrast.scale == outcome.scale:
        values = [value for seed, value in reference.by_seed.items() if seed in effect.by_seed]
        low, high = (
            shift_of(contrast.scale, bound, values, effect.images.num_images) for bound in (-effect.margin, effect.margin)
        )
        margin = low / contrast.spread, high / contrast.spread
    needed = seeds_to_settle(contrast.shift / contrast.spread, contrast.level, margin, most=MOST_SEEDS)
    return math.inf if needed is None else max(1, needed - contrast.difference.num_values)
