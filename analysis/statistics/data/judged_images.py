"""The images behind an accuracy: how many there are, of how many classes, and which seeds learnt nothing."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from analysis.statistics.data.outcomes import Outcome
from studies.run_record import NUM_CLASSES, NUM_IMAGES, RunRecord

MOST_IMAGES = 100_000
"""Fractions with a larger denominator are no shares of images."""
ROUNDING = 1e-12
MOST_VALUES = 50
"""More of them tell nothing new about how many images there are."""
CHANCE_IF_UNKNOWN = 0.5
"""The share that guessing gets of two classes, which have the most."""
ERRORS_FROM_CHANCE = 2.0
"""Standard errors above chance up to which an accuracy is that of guessing."""
POINTS_FROM_MEDIAN, SPREADS_FROM_MEDIAN = 0.1, 5.0
"""An accuracy that is farther below its cell's median, in both, has collapsed."""
FEWEST_FOR_MEDIAN = 4
MAD_TO_SD = 1.4826


@dataclass(frozen=True)
class JudgedImages:
    """What is known of the images that an accuracy is a share of.

    Args:
        num_images: Recorded, or the fewest that give all accuracies; None where neither is known.
        num_classes: None where it was not recorded.
    """

    num_images: int | None = None
    num_classes: int | None = None

    @property
    def chance(self) -> float:
        """The accuracy of guessing; that of two classes where their number is not known."""
        return 1 / self.num_classes if self.num_classes else CHANCE_IF_UNKNOWN

    def is_at_chance(self, accuracy: float) -> bool:
        """Whether guessing would give as much; never where the number of classes is not known."""
        if not self.num_classes:
            return False
        error = math.sqrt(self.chance * (1 - self.chance) / self.num_images) if self.num_images else 0.0
        return accuracy <= self.chance + ERRORS_FROM_CHANCE * error


def judged_images(runs: Iterable[RunRecord], outcome: Outcome) -> JudgedImages:
    """What the runs say of the images that an outcome is judged on; nothing for an outcome that is no accuracy."""
    if not outcome.is_accuracy:
        return JudgedImages()
    known = [run for run in runs if math.isfinite(run.metrics.get(outcome.metric, math.nan))]
    recorded = {run.facts.get(NUM_IMAGES[outcome.metric], "") for run in known}
    classes = {run.facts.get(NUM_CLASSES, "") for run in known}
    num_images = _only(recorded) or fewest_images([run.metrics[outcome.metric] for run in known])
    return JudgedImages(num_images, _only(classes))


def _only(texts: set[str]) -> int | None:
    """The number that all have; several are none."""
    numbers = {int(text) for text in texts if text.isdecimal()}
    return numbers.pop() if len(numbers) == 1 and len(texts) == 1 else None


def fewest_images(accuracies: Sequence[float]) -> int | None:
    """The smallest number of images of which all accuracies are shares; None where they are shares of none, or all 0 or 1."""
    common = 1
    for accuracy in sorted(set(accuracies))[:MOST_VALUES]:
        share = Fraction(accuracy).limit_denominator(MOST_IMAGES)
        if abs(float(share) - accuracy) > ROUNDING:
            return None
        common = math.lcm(common, share.denominator)
        if common > MOST_IMAGES:
            return None
    return common if common > 1 else None


def collapsed_seeds(values: Mapping[int, float], images: JudgedImages) -> set[int]:
    """The seeds of one cell that learnt nothing, or lost it.

    They are those whose accuracy is that of guessing (at most two standard errors above it), and those that are more than 10
    points and more than 5 robust standard deviations (1.4826 times the median distance) below the median of at least 4 seeds.
    """
    found = {seed for seed, value in values.items() if images.is_at_chance(value)}
    if len(values) < FEWEST_FOR_MEDIAN:
        return found
    array = np.array(list(values.values()))
    median = float(np.median(array))
    spread = MAD_TO_SD * float(np.median(np.abs(array - median)))
    least = median - max(POINTS_FROM_MEDIAN, SPREADS_FROM_MEDIAN * spread)
    return found | {seed for seed, value in values.items() if value < least}
