"""Rankings of configurations: the cells of a random design, the trials and finalists of a search."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from analysis.statistics.data.cells import Cell, Levels, estimate, finite_values, group_by_levels
from analysis.statistics.data.estimates import SHARES, Estimate
from analysis.statistics.data.limits import keeps_limits
from analysis.statistics.data.outcomes import Outcome, objectives_of, outcomes_of
from analysis.statistics.search.factor_axes import Array
from analysis.statistics.search.front_probability import by_added_noise, by_resampled_seeds, replicate_noise
from analysis.statistics.search.pareto import losses_of, pareto_front
from studies.run_record import TEST_ACCURACY, Level, Role, RunRecord, StudyRecord

Kind = Literal["cell", "search", "finalist"]
FrontBasis = Literal["seeds", "noise of the finalists", ""]
"""What is drawn to see how often each configuration is on the front: the seeds, the finalists' noise, or nothing."""


@dataclass(frozen=True)
class Configuration:
    """One combination of levels with the means of its replicates over seeds.

    ``rank`` counts from 1 by the primary objective, equal means sharing the better rank; None where nothing finished.
    ``selected_on`` is what a finalist measured in the search, which chose it. Only what keeps the search's limits has a rank and
    can be on the Pareto front; ``front_probability`` is the share of resamples (or of draws of noise) in which it is, NaN where
    nothing is known of that.
    """

    levels: Mapping[str, Level]
    num_planned: int
    estimates: Mapping[Outcome, Estimate]
    """Of the outcomes that at least one replicate has."""
    test_estimate: Estimate | None
    selected_on: Mapping[Outcome, float]
    rank: int | None = None
    keeps_limits: bool = True
    on_front: bool = False
    front_probability: float = math.nan

    def mean(self, outcome: Outcome) -> float:
        """The mean of an outcome, NaN where there is none."""
        return self.estimates[outcome].mean if outcome in self.estimates else math.nan

    def num_finished(self, outcome: Outcome) -> int:
        """How many replicates the mean is of."""
        return self.estimates[outcome].num_values if outcome in self.estimates else 0


@dataclass(frozen=True)
class Ranking:
    """All configurations of one kind, the best first by the primary objective, last those beyond limits or without a value."""

    kind: Kind
    configurations: Sequence[Configuration]
    front_basis: FrontBasis = ""

    @property
    def front(self) -> list[Configuration]:
        """Those on the Pareto front of the objectives."""
        return [configuration for configuration in self.configurations if configuration.on_front]


def rankings(study: StudyRecord, runs: Sequence[RunRecord]) -> list[Ranking]:
    """Cells of a random design; of an adaptive search the finalists, if there are any, and what was searched."""
    if study.design == "random":
        return [_ranking(study, runs, "cell")]
    if study.design != "adaptive_search":
        return []
    searched = _ranking(study, runs, "search")
    finalists = _ranking(study, runs, "finalist", selected_on=searched)
    return [finalists, searched] if finalists.configurations else [searched]


def _ranking(study: StudyRecord, runs: Sequence[RunRecord], kind: Kind, selected_on: Ranking | None = None) -> Ranking:
    role: Role = kind
    primary, *_ = objectives_of(study)
    searched: dict[Levels, Configuration] = {}
    if selected_on:
        searched = {frozenset(configuration.levels.items()): configuration for configuration in selected_on.configurations}
    cells = group_by_levels(run for run in runs if run.role == role)
    found = [_configuration(study, cell, searched.get(levels)) for levels, cell in cells.items()]
    found, basis = _with_fronts(study, runs, kind, found, list(cells.values()))
    having = sorted(
        (configuration for configuration in found if primary in configuration.estimates),
        key=lambda configuration: primary.better_first(configuration.mean(primary)),
    )
    known = [configuration for configuration in having if configuration.keeps_limits]
    keys = [configuration.mean(primary) for configuration in known]
    first = {key: len(keys) - i for i, key in enumerate(reversed(keys))}  # where each mean comes first, counted from 1
    ranked = [replace(configuration, rank=first[key]) for configuration, key in zip(known, keys, strict=True)]
    beyond = [configuration for configuration in having if not configuration.keeps_limits]
    without = [configuration for configuration in found if primary not in configuration.estimates]
    return Ranking(kind, [*ranked, *beyond, *without], basis)


def _with_fronts(
    study: StudyRecord, runs: Sequence[RunRecord], kind: Kind, found: Sequence[Configuration], cells: Sequence[Cell]
) -> tuple[list[Configuration], FrontBasis]:
    """Who is on the front of those that keep the limits, and how surely."""
    objectives = objectives_of(study)
    means = [[one.mean(objective) if one.keeps_limits else math.nan for objective in objectives] for one in found]
    directions = [objective.direction for objective in objectives]
    fronts = pareto_front(means, directions)
    probabilities: Array | None = None
    basis: FrontBasis = ""
    if len(objectives) > 1 and found:
        losses_CSO = _losses(study, cells) * np.where([one.keeps_limits for one in found], 1.0, np.nan)[:, None, None]
        probabilities, basis = by_resampled_seeds(losses_CSO), "seeds"
    if probabilities is None and kind == "search" and len(objectives) > 1:
        finalists = group_by_levels(run for run in runs if run.role == "finalist")
        noise_RO = replicate_noise(_losses(study, list(finalists.values()))) if finalists else None
        if noise_RO is not None:
            num_seeds = np.array([max(1, one.num_finished(objectives[0])) for one in found])
            probabilities, basis = by_added_noise(losses_of(means, directions), num_seeds, noise_RO), "noise of the finalists"
    if probabilities is None:
        return [replace(one, on_front=on_front) for one, on_front in zip(found, fronts, strict=True)], ""
    return [
        replace(one, on_front=on_front, front_probability=float(probability))
        for one, on_front, probability in zip(found, fronts, probabilities, strict=True)
    ], basis


def _losses(study: StudyRecord, cells: Sequence[Cell]) -> Array:
    """Cells × seeds × objectives, less is better; NaN where a replicate has not finished."""
    objectives = objectives_of(study)
    seeds = sorted({run.seed for cell in cells for run in cell})
    values = [[finite_values(cell, objective.metric) for objective in objectives] for cell in cells]
    by_seed = [[[found.get(seed, math.nan) for found in of_cell] for seed in seeds] for of_cell in values]
    losses = losses_of(np.array(by_seed).reshape(-1, len(objectives)), [objective.direction for objective in objectives])
    return losses.reshape(len(cells), len(seeds), len(objectives))


def _configuration(study: StudyRecord, cell: Cell, searched: Configuration | None) -> Configuration:
    estimates = {outcome: estimate(finite_values(cell, outcome.metric), outcome.limits) for outcome in outcomes_of(study)}
    return Configuration(
        levels=cell[0].levels,
        num_planned=len(cell),
        estimates={outcome: found for outcome, found in estimates.items() if found},
        test_estimate=estimate(finite_values(cell, TEST_ACCURACY), SHARES),
        selected_on={outcome: found.mean for outcome, found in searched.estimates.items()} if searched else {},
        keeps_limits=keeps_limits(study, cell),
    )
