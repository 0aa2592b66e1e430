"""Simple effects: the effect of one factor at every level of another, which shows how the two interact."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics.data.cell_by_seed import two_way_fit
from analysis.statistics.data.cells import Cell, finite_values, group_by_levels
from analysis.statistics.data.effect_coding import Term
from analysis.statistics.data.estimates import Estimate, mean_interval
from studies.run_record import Level, RunRecord, StudyRecord


@dataclass(frozen=True)
class SimpleEffect:
    """A level minus its factor's baseline level where another factor has a given level.

    ``difference`` is a mean over seeds with Student's t interval, in the outcome's unit; None where no seed has it.
    """

    factor: str
    level: Level
    beside: str
    beside_level: Level
    difference: Estimate | None


def simple_effects(study: StudyRecord, runs: Sequence[RunRecord], pair: Term, metric: str) -> list[SimpleEffect]:
    """The simple effects of the pair's first factor at every level of the second.

    Differences are paired by seed and averaged over the levels of all other factors; their intervals are not corrected for their
    number.

    Cells of which the design lacks the counterpart at the baseline level are left out; levels without any are not in the list.
    """
    factor, beside = pair
    cells = group_by_levels(run for run in runs if run.role == "cell")
    baseline = study.baseline.get(factor)
    found = []
    for beside_level in study.factors[beside]:
        for level in study.factors[factor]:
            with_level = [
                cell
                for cell in cells.values()
                if cell[0].levels.get(beside, ...) == beside_level and cell[0].levels.get(factor, ...) == level != baseline
            ]
            counterparts = [cells.get(frozenset({**cell[0].levels, factor: baseline}.items())) for cell in with_level]
            pairs = [(cell, other) for cell, other in zip(with_level, counterparts, strict=True) if other]
            if pairs:
                found.append(SimpleEffect(factor, level, beside, beside_level, _mean_difference(pairs, metric)))
    return found


def _mean_difference(pairs: Sequence[tuple[Cell, Cell]], metric: str) -> Estimate | None:
    """The mean over pairs of cells by seed; a seed that lacks some pair is adjusted by pair + seed."""
    values = [(finite_values(cell, metric), finite_values(other, metric)) for cell, other in pairs]
    seeds = sorted(set().union(*(cell.keys() & other.keys() for cell, other in values)))
    if not seeds:
        return None
    nan = float("nan")
    means, effects = two_way_fit(np.array([[cell.get(s, nan) - other.get(s, nan) for s in seeds] for cell, other in values]))
    return mean_interval([float(np.nanmean(means) + effect) for effect in effects])
