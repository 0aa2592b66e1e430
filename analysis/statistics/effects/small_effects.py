"""Whether a difference may be called small: "no effect larger than" claims more than that nothing was decided."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from analysis.statistics.data.cells import finite_values
from analysis.statistics.data.estimates import mean_interval
from analysis.statistics.data.judged_images import JudgedImages
from analysis.statistics.data.level_cells import LevelCells
from analysis.statistics.data.outcomes import Outcome
from analysis.statistics.effects.contrasts import Contrast

SMALL_POINTS = 0.005
"""Half a point of accuracy."""
SMALL_SHARE = 0.01
"""Of the baseline's mean: of outcomes that are no fractions."""
POINTS_ABOVE_CHANCE = 0.05
"""An accuracy has to be so far above guessing, by its interval, before half a point is little of what was learnt."""
FEWEST_IMAGES = 2
"""A smaller difference is no difference between networks that these images could show."""


def margin_for(
    outcome: Outcome, level: LevelCells, reference: LevelCells | None, images: JudgedImages, *, is_shared: bool
) -> float | None:
    """The largest difference that is called small, in the unit of a contrast on this outcome; None where none may be.

    None may be called small where a cell of the level or of its reference lacks a replicate, as what failed may be what differs;
    where the design does not separate the factor from another term (``is_shared``); or where networks do hardly better than by
    guessing, which makes them alike.
    """
    cells = [*level.cells, *(reference.cells if reference else ())]
    values = [finite_values(cell, outcome.metric) for cell in cells]
    is_whole = all(len(of_cell) == len({run.seed for run in cell}) for of_cell, cell in zip(values, cells, strict=True))
    if reference is None or not reference.cells or not is_whole or is_shared:
        return None
    enough = images.chance + POINTS_ABOVE_CHANCE
    if outcome.is_accuracy and not all(mean_interval(list(of_cell.values())).low > enough for of_cell in values):
        return None
    return _margin(outcome, values[len(level.cells) :], images)


def _margin(outcome: Outcome, reference: Sequence[Mapping[int, float]], images: JudgedImages) -> float | None:
    """Half a point of accuracy, if that is at least two images; 1 % of the reference where the outcome is no fraction.

    Of other fractions, such as sparsity, none: from 99.0 to 99.4 % there are 40 % fewer spikes.
    """
    if outcome.is_accuracy:
        is_enough = images.num_images is None or images.num_images * SMALL_POINTS >= FEWEST_IMAGES
        return SMALL_POINTS if is_enough else None
    if outcome.is_fraction:
        return None
    mean = float(np.mean([value for of_cell in reference for value in of_cell.values()]))
    return SMALL_SHARE if outcome.is_ratio else SMALL_SHARE * abs(mean)


def largest_possible(contrast: Contrast | None) -> float:
    """The bound of the interval that is farther from 0; infinite where there is no interval."""
    if contrast is None or not contrast.has_interval:
        return math.inf
    return max(abs(contrast.difference.low), abs(contrast.difference.high))
