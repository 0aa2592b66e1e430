"""What a search or a random design says of its space: importance, partial dependence, and the progress of the search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics.data.cells import group_by_levels
from analysis.statistics.data.limits import keeps_limits
from analysis.statistics.data.outcomes import SPARSITY_OUTCOME, Outcome, objectives_of
from analysis.statistics.search.design_matrix import DesignMatrix, design_matrix_of
from analysis.statistics.search.hypervolume import Progress, progress
from analysis.statistics.search.importance import Importance, importances
from analysis.statistics.search.partial_dependence import SurrogateModel, surrogate_model
from studies.run_record import SPARSITY, RunRecord, StudyRecord

SPACE_FILLING = ("random", "qmc")
"""The samplers that do not learn from results."""


@dataclass(frozen=True)
class Exploration:
    """The importances for every objective, in the order of the factors, and the surrogate models of these and of sparsity.

    ``progress`` is of a search; None where no trial has finished, or for a random design. ``is_space_filling`` says that what was
    tried was chosen whatever the results were. Only then is a factor that does nothing as its shuffled copy, by which chance is
    judged: a sampler that learns goes where values were good, and takes along the levels that the inert factors had there.
    """

    tried: DesignMatrix
    importances: Mapping[Outcome, Sequence[Importance]]
    surrogate_models: Mapping[Outcome, SurrogateModel]
    progress: Progress | None
    is_space_filling: bool


def explore(study: StudyRecord, runs: Sequence[RunRecord]) -> Exploration | None:
    """Explore the space of a random design or a search; None for designs that have effects instead."""
    if study.design not in ("adaptive_search", "random"):
        return None
    objectives = objectives_of(study)
    modelled = objectives if SPARSITY in study.objectives else (*objectives, SPARSITY_OUTCOME)
    tried, is_space_filling = design_matrix_of(study, runs, modelled), fills_space(study)
    return Exploration(
        tried,
        {
            outcome: importances(tried, outcome, with_pruned=outcome == objectives[0], is_space_filling=is_space_filling)
            for outcome in objectives
        },
        {outcome: surrogate_model(study, tried, outcome) for outcome in modelled},
        _progress(study, runs, tried) if study.design == "adaptive_search" else None,
        is_space_filling,
    )


def fills_space(study: StudyRecord) -> bool:
    """Whether no result had a part in what was tried; a search whose sampler is not known counts as one that learns."""
    sampler = study.options.get("sampler")
    name = sampler.get("name") if isinstance(sampler, Mapping) else sampler
    return study.design == "random" or name in SPACE_FILLING


def _progress(study: StudyRecord, runs: Sequence[RunRecord], tried: DesignMatrix) -> Progress | None:
    trials = group_by_levels(run for run in runs if run.role == "search").values()
    counts = np.array([keeps_limits(study, trial) for trial in trials], dtype=np.bool_)
    return progress(tried, objectives_of(study), counts)
