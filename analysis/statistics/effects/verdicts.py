"""What a verdict on a factor says: its direction, differences too small to matter, and how many more seeds would decide."""

import math
from collections.abc import Sequence

from analysis.statistics.data.outcomes import Outcome
from analysis.statistics.effects.level_effects import LevelEffect
from analysis.statistics.effects.power import seeds_needed

NEGLIGIBLE_FRACTION = 0.005
"""Half a point: a fraction's difference that is called no effect."""
NEGLIGIBLE_SHARE = 0.01
"""Of the baseline's mean: any other outcome's difference that is called no effect."""
MOST_SEEDS = 1000


def negligible_margin(effects: Sequence[LevelEffect], outcome: Outcome) -> float:
    """The difference up to which a factor counts as without effect, in the outcome's unit; NaN where the baseline has no mean.

    Half a point for fractions, else 1 % of the baseline's mean.
    """
    if outcome.is_fraction:
        return NEGLIGIBLE_FRACTION
    baselines = [effect.estimate.mean for effect in effects if effect.is_baseline and effect.estimate]
    return NEGLIGIBLE_SHARE * abs(baselines[0]) if baselines else math.nan


def largest_possible(effect: LevelEffect) -> float:
    """The bound of the 95 % interval that is farther from 0; infinite where there is no interval."""
    if effect.contrast is None or not math.isfinite(effect.contrast.difference.low):
        return math.inf
    return max(abs(effect.contrast.difference.low), abs(effect.contrast.difference.high))


def is_negligible(effect: LevelEffect, margin: float) -> bool:
    """Whether an undecided contrast's interval lies within ± the margin: equivalence by two one-sided tests at 2.5 %.

    (Schuirmann 1987; the usual 90 % interval would do for 5 %.)
    """
    return effect.verdict == "undecided" and largest_possible(effect) <= margin


def direction_of_more(effects: Sequence[LevelEffect]) -> int | None:
    """1 where larger numbers of a factor make the outcome higher, -1 where lower, if all decided levels agree.

    None where none is decided, they disagree, or a level is no number.
    """
    decided = [effect for effect in effects if effect.verdict in ("higher", "lower")]
    references = [effect.level for effect in effects if effect.is_baseline]
    numbers = [effect.level for effect in effects if isinstance(effect.level, int | float) and not isinstance(effect.level, bool)]
    if not decided or not references or len(numbers) < len(effects):
        return None
    slopes = {
        (1 if effect.verdict == "higher" else -1) * (1 if effect.level > references[0] else -1)  # type: ignore[operator]
        for effect in decided
    }
    return slopes.pop() if len(slopes) == 1 else None


def num_more_seeds(effect: LevelEffect, effects: Sequence[LevelEffect]) -> float:
    """How many more seeds would decide an undecided contrast with 80 % power, if its difference and spread are the true ones.

    Args:
        effect: The contrast.
        effects: All effects on the same outcome, whose contrasts are corrected together.

    Returns:
        Infinity where more than ``MOST_SEEDS`` would be needed; NaN where one pair or no spread tells nothing.
    """
    contrast = effect.contrast
    if contrast is None or not contrast.sd > 0:
        return math.nan
    num_contrasts = sum(other.contrast is not None for other in effects)
    needed = seeds_needed(abs(contrast.difference.mean) / contrast.sd, num_contrasts, most=MOST_SEEDS)
    return math.inf if needed is None else max(1, needed - contrast.difference.num_values)
