"""Configurations that are ranked, not contrasted: the cells of a random design, the trials and finalists of a search."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from analysis.statistics.cells import Levels, estimate, finite_values, group_by_levels
from analysis.statistics.intervals import Estimate
from analysis.statistics.outcomes import Outcome, objectives_of, outcomes_of
from analysis.statistics.pareto import pareto_front
from studies.run_record import TEST_ACCURACY, Level, Role, RunRecord, StudyRecord

Kind = Literal["cell", "search", "finalist"]


@dataclass(frozen=True)
class Configuration:
    """One combination of levels with the means of its replicates over seeds.

    ``rank`` counts from 1 by the primary objective, equal means sharing the better rank; None where nothing finished.
    ``selected_on`` is what a finalist measured in the search, which chose it.
    """

    levels: Mapping[str, Level]
    num_planned: int
    estimates: Mapping[Outcome, Estimate]
    """Of the outcomes that at least one replicate has."""
    test_estimate: Estimate | None
    selected_on: Mapping[Outcome, float]
    rank: int | None = None
    on_front: bool = False

    def mean(self, outcome: Outcome) -> float:
        """The mean of an outcome, NaN where there is none."""
        return self.estimates[outcome].mean if outcome in self.estimates else math.nan

    def num_finished(self, outcome: Outcome) -> int:
        """How many replicates the mean is of."""
        return self.estimates[outcome].num_values if outcome in self.estimates else 0


@dataclass(frozen=True)
class Ranking:
    """All configurations of one kind, the best first by the primary objective, those without a value last."""

    kind: Kind
    configurations: Sequence[Configuration]

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
    primary, *_ = objectives = objectives_of(study)
    searched: dict[Levels, Configuration] = {}
    if selected_on:
        searched = {frozenset(configuration.levels.items()): configuration for configuration in selected_on.configurations}
    found = [
        _configuration(cell, outcomes_of(study), searched.get(levels))
        for levels, cell in group_by_levels(run for run in runs if run.role == role).items()
    ]
    means = [[configuration.mean(objective) for objective in objectives] for configuration in found]
    fronts = pareto_front(means, [objective.direction for objective in objectives])
    found = [replace(configuration, on_front=on_front) for configuration, on_front in zip(found, fronts, strict=True)]
    known = sorted(
        (configuration for configuration in found if primary in configuration.estimates),
        key=lambda configuration: primary.better_first(configuration.mean(primary)),
    )
    keys = [configuration.mean(primary) for configuration in known]
    ranked = [replace(configuration, rank=1 + keys.index(key)) for configuration, key in zip(known, keys, strict=True)]
    return Ranking(kind, [*ranked, *(configuration for configuration in found if primary not in configuration.estimates)])


def _configuration(cell: Sequence[RunRecord], outcomes: Sequence[Outcome], searched: Configuration | None) -> Configuration:
    estimates = {outcome: estimate(finite_values(cell, outcome.metric)) for outcome in outcomes}
    return Configuration(
        levels=cell[0].levels,
        num_planned=len(cell),
        estimates={outcome: found for outcome, found in estimates.items() if found},
        test_estimate=estimate(finite_values(cell, TEST_ACCURACY)),
        selected_on={outcome: found.mean for outcome, found in searched.estimates.items()} if searched else {},
    )
