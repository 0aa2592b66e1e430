"""What a search or a random design says of its space: importance, partial dependence, and the progress of the search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics.data.cells import group_by_levels
from analysis.statistics.data.outcomes import SPARSITY_OUTCOME, Outcome, objectives_of
from analysis.statistics.search.design_matrix import DesignMatrix, design_matrix_of
from analysis.statistics.search.hypervolume import Progress, progress
from analysis.statistics.search.importance import Importance, importances
from analysis.statistics.search.partial_dependence import SurrogateModel, surrogate_model
from analysis.statistics.search.rankings import keeps_limits
from studies.run_record import SPARSITY, RunRecord, StudyRecord


@dataclass(frozen=True)
class Exploration:
    """The importances for every objective, in the order of the factors, and the surrogate models of these and of sparsity.

    ``progress`` is of a search; None where no trial has finished, or for a random design.
    """

    tried: DesignMatrix
    importances: Mapping[Outcome, Sequence[Importance]]
    surrogate_models: Mapping[Outcome, SurrogateModel]
    progress: Progress | None


def explore(study: StudyRecord, runs: Sequence[RunRecord]) -> Exploration | None:
    """Explore the space of a random design or a search; None for designs that have effects instead."""
    if study.design not in ("adaptive_search", "random"):
        return None
    objectives = objectives_of(study)
    modelled = objectives if SPARSITY in study.objectives else (*objectives, SPARSITY_OUTCOME)
    tried = design_matrix_of(study, runs, modelled)
    return Exploration(
        tried,
        {outcome: importances(tried, outcome, with_pruned=outcome == objectives[0]) for outcome in objectives},
        {outcome: surrogate_model(study, tried, outcome) for outcome in modelled},
        _progress(study, runs, tried) if study.design == "adaptive_search" else None,
    )


def _progress(study: StudyRecord, runs: Sequence[RunRecord], tried: DesignMatrix) -> Progress | None:
    trials = group_by_levels(run for run in runs if run.role == "search").values()
    counts = np.array([keeps_limits(study, trial) for trial in trials], dtype=np.bool_)
    return progress(tried, objectives_of(study), counts)
