"""Cells, which are combinations of levels: their replicates, their active levels, and their values by seed."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from analysis.statistics.data.estimates import EVERYWHERE, Estimate, mean_interval
from studies.run_record import Level, RunRecord, StudyRecord

Cell = Sequence[RunRecord]
"""The replicates of one combination of levels."""
Levels = frozenset[tuple[str, Level]]
"""A combination of levels, to look it up by."""


def group_by_levels(runs: Iterable[RunRecord]) -> dict[Levels, list[RunRecord]]:
    """Group replicates by cell; cells are in the order of their first replicate."""
    cells: dict[Levels, list[RunRecord]] = {}
    for run in runs:
        cells.setdefault(frozenset(run.levels.items()), []).append(run)
    return cells


def active_levels(study: StudyRecord, levels: Mapping[str, Level]) -> dict[str, Level]:
    """Keep the levels of the factors that are active: those whose conditions hold for the other levels."""
    return {name: levels[name] for name in study.factors if name in levels and _is_active(study, name, levels)}


def _is_active(study: StudyRecord, name: str, levels: Mapping[str, Level]) -> bool:
    conditions = study.conditions.get(name, {})
    return all(levels.get(other) in allowed and _is_active(study, other, levels) for other, allowed in conditions.items())


def reference_cell(study: StudyRecord, factor: str) -> dict[str, Level]:
    """The cell that a factor's levels are compared with: the baseline, or for a conditional factor one in which it is active."""
    return active_levels(study, {**study.baseline, **study.references.get(factor, {})})


def finite_values(runs: Iterable[RunRecord], metric: str) -> dict[int, float]:
    """The metric of a cell's finished replicates by seed; values that are missing, infinite or NaN are left out."""
    finished = {run.seed: run.metrics.get(metric, math.nan) for run in runs if run.status == "FINISHED"}
    return {seed: value for seed, value in finished.items() if math.isfinite(value)}


def block_means(cells: Sequence[Cell], metric: str) -> dict[int, float]:
    """The mean of a metric over cells, by seed; only seeds that have a value in every cell are kept."""
    values = [finite_values(cell, metric) for cell in cells]
    seeds = set.intersection(*map(set, values)) if values else set()
    return {seed: float(np.mean([of_cell[seed] for of_cell in values])) for seed in sorted(seeds)}


def block_curves(cells: Sequence[Cell]) -> list[list[float]]:
    """The mean over cells of accuracy against t: a curve, as long as its shortest, for every seed that has one in each cell."""
    curves = [{run.seed: run.accuracy_at_t for run in cell if run.accuracy_at_t} for cell in cells]
    seeds = set.intersection(*map(set, curves)) if curves else set()
    return [
        [float(np.mean(at_t)) for at_t in zip(*(of_cell[seed] for of_cell in curves), strict=False)] for seed in sorted(seeds)
    ]


def estimate(values: Mapping[int, float], limits: tuple[float, float] = EVERYWHERE) -> Estimate | None:
    """The mean over seeds with its 95 % interval, see ``mean_interval``; None where there are no values."""
    return mean_interval(list(values.values()), limits=limits) if values else None
