"""Rank stability: how certain it is which cell is the best, by resampling whole seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.statistics.data.cell_by_seed import FloatArray, two_way_fit, value_matrix
from analysis.statistics.data.cells import estimate, finite_values, group_by_levels
from analysis.statistics.data.estimates import Estimate
from analysis.statistics.data.outcomes import Outcome, objectives_of
from studies.run_record import Level, Role, RunRecord, StudyRecord

NUM_DRAWS = 10_000
DRAWS_AT_ONCE = 1_000
MOST_CELLS = 500
"""If there are more cells, those with the best means are resampled: a worse one is hardly ever the best."""


@dataclass(frozen=True)
class RankedCell:
    """One cell with its mean over seeds, the share of resamples in which it is the best of all, and its mean rank in them."""

    levels: Mapping[str, Level]
    num_planned: int
    estimate: Estimate
    probability_best: float
    expected_rank: float


@dataclass(frozen=True)
class RankStability:
    """Cells of a design, or finalists, the best mean first; at most ``MOST_CELLS`` of ``num_cells`` are here."""

    outcome: Outcome
    kind: Role
    cells: Sequence[RankedCell]
    num_cells: int
    num_seeds: int


def rank_stability(study: StudyRecord, runs: Sequence[RunRecord], *, seed: int = 0) -> RankStability | None:
    """Resample the ranks of the finalists of a search, else of the cells of a design, on the primary outcome.

    Missing replicates are allowed: values are first freed of the seeds' effects (``two_way_fit``).

    None with fewer than two cells that have a value, or fewer than two seeds.
    """
    kind: Role = "finalist" if study.design == "adaptive_search" else "cell"
    outcome = objectives_of(study)[0]
    cells = list(group_by_levels(run for run in runs if run.role == kind).values())
    cells = [cell for cell in cells if finite_values(cell, outcome.metric)]
    values_CS, seeds = value_matrix(cells, outcome.metric)
    if len(cells) < 2 or len(seeds) < 2:
        return None
    means, effects = two_way_fit(values_CS)
    order = sorted(range(len(cells)), key=lambda i: outcome.better_first(float(means[i])))[:MOST_CELLS]
    sign = 1.0 if outcome.direction == "maximize" else -1.0
    best, ranks = resampled_ranks(sign * (values_CS - effects)[order], np.random.default_rng(seed))
    ranked = [
        RankedCell(cells[i][0].levels, len(cells[i]), found, float(best[place]), float(ranks[place]))
        for place, i in enumerate(order)
        if (found := estimate(finite_values(cells[i], outcome.metric), outcome.limits))
    ]
    return RankStability(outcome, kind, ranked, len(cells), len(seeds))


def resampled_ranks(values_CS: FloatArray, generator: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """How often each cell's mean is the highest, and its mean rank, over 10,000 draws of as many seeds with replacement.

    A block bootstrap: a seed is drawn with all its cells, so that what it does to all of them changes no rank. With few seeds a
    plain bootstrap is overconfident: the variance of a mean of n drawn seeds is too small by (n - 1) / n (Efron 1982, section 5),
    and is itself only estimated. So the distance of a draw's means from those of all seeds is widened by
    √(n / (n - 1)) · √((n - 1) / χ²), with a χ² of n - 1 degrees of freedom for every draw, which turns a normal distribution into
    Student's t. Cells of equal mean share a rank, and the first place; a cell of which no value was drawn is last. The best cell
    is taken as it is found: among cells that hardly differ the result is overconfident.

    Args:
        values_CS: Cells by seeds, higher is better, NaN where there is no value; at least two seeds.
        generator: Draws the seeds.
    """
    known = np.isfinite(values_CS)
    filled = np.where(known, values_CS, 0.0)
    filled /= np.abs(filled).max() or 1.0  # so that rounding, which makes ties, is relative
    num_seeds = values_CS.shape[1]
    centre = filled.sum(axis=1) / known.sum(axis=1)
    best, ranks = np.zeros(len(values_CS)), np.zeros(len(values_CS))
    for _ in range(NUM_DRAWS // DRAWS_AT_ONCE):
        drawn = generator.multinomial(num_seeds, [1 / num_seeds] * num_seeds, size=DRAWS_AT_ONCE).astype(np.float64)
        counts = drawn @ known.T
        means = np.divide(drawn @ filled.T, counts, out=np.full(counts.shape, -np.inf), where=counts > 0)
        stretch = np.sqrt(num_seeds / generator.chisquare(num_seeds - 1, size=(DRAWS_AT_ONCE, 1)))
        means = centre + stretch * (means - centre)
        places = stats.rankdata(-np.round(means, 12), axis=1)
        first = places == places.min(axis=1, keepdims=True)
        best += (first / first.sum(axis=1, keepdims=True)).sum(axis=0)
        ranks += places.sum(axis=0)
    return best / NUM_DRAWS, ranks / NUM_DRAWS
