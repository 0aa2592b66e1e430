"""Rank stability: which cell is the best, and which others may be."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.statistics.data.cell_by_seed import seed_equations, two_way_fit, value_matrix
from analysis.statistics.data.cells import finite_values, group_by_levels
from analysis.statistics.data.effect_coding import rank
from analysis.statistics.data.estimates import Estimate, mean_interval
from analysis.statistics.data.judged_images import collapsed_seeds, judged_images
from analysis.statistics.data.limits import keeps_limits
from analysis.statistics.data.outcomes import Outcome, objectives_of
from analysis.statistics.effects.best_level import compare_with_best, interval_of_selected
from studies.run_record import Level, Role, RunRecord, StudyRecord


@dataclass(frozen=True)
class RankedCell:
    """One cell with its mean over seeds, and how it compares with the cell that has the best mean, paired by seed."""

    levels: dict[str, Level]
    num_planned: int
    estimate: Estimate
    """Freed of the effects of the seeds that the cell lacks; the first cell's interval allows for its having been chosen."""
    behind: float
    """By how much it is worse than the first cell on the seeds of both."""
    p: float
    """Of the sign-flip test against the first cell."""
    may_be_best: bool


@dataclass(frozen=True)
class RankStability:
    """Cells of a design, or finalists, the best mean first.

    Args:
        outcome: The primary objective.
        kind: Of the cells.
        cells: Those that have a value; none of them where some share no seed with the others, not even through further cells.
        num_cells: How many have a value.
        num_seeds: How many of the cells' seeds have a value.
        num_without: How many cells of the study have no value yet.
        num_failed: How many replicates of the first cell have failed or have no finite value; its mean is of the others.
        num_collapsed: How many replicates of all cells have collapsed. The cell with the best mean is then one in which few did,
            whatever its chance of it is, so that it has no interval.
        is_decided: Whether the first cell is better than every other one.
    """

    outcome: Outcome
    kind: Role
    cells: Sequence[RankedCell]
    num_cells: int
    num_seeds: int
    num_without: int = 0
    num_failed: int = 0
    num_collapsed: int = 0
    is_decided: bool = False

    @property
    def num_candidates(self) -> int:
        """How many may be the best."""
        return sum(cell.may_be_best for cell in self.cells)


def rank_stability(study: StudyRecord, runs: Sequence[RunRecord]) -> RankStability | None:
    """Compare the finalists of a search, else the cells of a design, with the best of them on the primary outcome.

    What breaks a limit of the study cannot be the best, and is left out. Missing replicates are allowed: means are freed of the
    seeds' effects (``two_way_fit``), and two cells are compared on the seeds that both have. Nothing is decided while a cell
    has no value, nor where replicates of the first cell have failed: those that finished may be the lucky ones.

    None with fewer than two cells that have a value, or fewer than two seeds.
    """
    kind: Role = "finalist" if study.design == "adaptive_search" else "cell"
    outcome = objectives_of(study)[0]
    asked = [cell for cell in group_by_levels(run for run in runs if run.role == kind).values() if keeps_limits(study, cell)]
    cells = [cell for cell in asked if finite_values(cell, outcome.metric)]
    values_CS, seeds = value_matrix(cells, outcome.metric)
    if len(cells) < 2 or len(seeds) < 2:
        return None
    found = RankStability(outcome, kind, [], len(cells), len(seeds), num_without=len(asked) - len(cells))
    if rank(seed_equations(np.isfinite(values_CS))) < len(seeds) - 1:
        return found
    means, _ = two_way_fit(values_CS)
    order = sorted(range(len(cells)), key=lambda i: outcome.better_first(float(means[i])))
    values = [finite_values(cells[i], outcome.metric) for i in order]
    images = judged_images((run for cell in cells for run in cell), outcome)
    best = compare_with_best(values, outcome, means[order].tolist(), num_images=images.num_images)
    num_failed = sum(run.status in ("FAILED", "FINISHED") for run in cells[order[0]]) - len(values[0])
    ranked = [
        RankedCell(
            dict(cells[i][0].levels),
            len(cells[i]),
            _around(mean_interval(list(of_cell.values()), limits=outcome.limits), means[i]),
            behind,
            p,
            may_be_best or num_failed > 0,
        )
        for i, of_cell, behind, p, may_be_best in zip(order, values, best.behind, best.p_values, best.may_be_best, strict=True)
    ]
    num_collapsed = sum(len(collapsed_seeds(of_cell, images)) for of_cell in values)
    num_candidates = sum(cell.may_be_best for cell in ranked)
    selected = interval_of_selected(list(values[0].values()), num_candidates, outcome)
    if num_collapsed:
        selected = replace(selected, low=math.nan, high=math.nan)
    ranked[0] = replace(ranked[0], estimate=_around(selected, means[order[0]]))
    is_decided = best.is_decided and not found.num_without and not num_failed
    return replace(found, cells=ranked, num_failed=num_failed, num_collapsed=num_collapsed, is_decided=is_decided)


def _around(found: Estimate, mean: float) -> Estimate:
    """An estimate with its interval, moved to another mean."""
    shift = float(mean) - found.mean
    return replace(found, mean=found.mean + shift, low=found.low + shift, high=found.high + shift)
