"""What the tuning of nuisance hyperparameters chose for every cell, and the trials that it took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.statistics.data.cells import group_by_levels
from studies.run_record import PRUNED, Level, RunRecord


@dataclass(frozen=True)
class TunedCell:
    """One cell: the nuisance hyperparameters of its replicates, and the trials that found them.

    ``tuned`` is empty while nothing is chosen; ``num_choices`` above 1 says that its replicates were trained with different ones,
    of which ``tuned`` is the first.
    """

    levels: Mapping[str, Level]
    tuned: Mapping[str, Level]
    num_choices: int
    num_trials: int
    num_complete: int
    num_pruned: int
    num_failed: int


def tuned_cells(runs: Sequence[RunRecord]) -> list[TunedCell]:
    """Every cell that was tuned or has tuned values, in the order of the plan."""
    cells = group_by_levels(run for run in runs if run.role in ("cell", "tuning"))
    return [_tuned_cell(cell) for cell in cells.values() if any(run.tuned for run in cell)]


def _tuned_cell(cell: Sequence[RunRecord]) -> TunedCell:
    choices = {frozenset(run.tuned.items()): run.tuned for run in cell if run.role == "cell" and run.tuned}
    trials = [run.status for run in cell if run.role == "tuning"]
    return TunedCell(
        levels=cell[0].levels,
        tuned=next(iter(choices.values()), {}),
        num_choices=len(choices),
        num_trials=len(trials),
        num_complete=trials.count("FINISHED"),
        num_pruned=trials.count(PRUNED),
        num_failed=trials.count("FAILED"),
    )
