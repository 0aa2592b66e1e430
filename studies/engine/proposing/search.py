"""A search: Optuna proposes configurations from the results so far; none is proposed twice, and none that is not allowed.

The Optuna study of a search is in memory and is filled from the ledger when a driver starts. So the ledger alone is the record,
and a proposal that was rejected leaves no trace. Every proposal follows from that record: for each one a new sampler is made,
with a seed that depends on how many there were before, so that a search that was interrupted continues as it would have without.
There are two exceptions: CMA-ES has a state that is not in the ledger, and starts again; and generations of NSGA-II may be cut
at other trials if several replicates run at the same time.
"""

import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from search_spaces.language.space import Cell, Space, cell_key, cell_of_params, params_and_distributions
from studies.engine.binding.optuna_internals import (
    QMC_POSITION,
    RELATIVE_PARAMS,
    notes_of_study,
    notes_of_trial,
    open_trial,
    pass_on_search_space,
    set_note_of_study,
    set_note_of_trial,
)
from studies.engine.binding.samplers import GENERATION, make_sampler
from studies.run_record import Direction

NUM_TRIES = 50
"""This number of proposals of the sampler in a row may be known or not allowed; then a configuration is drawn at random."""
NUM_TRIES_OF_GP = 3
"""The same for GP, which takes seconds per proposal and then proposes nearly the same again."""
NUM_RANDOM_TRIES = 2_000
"""This number of random draws from a space too large to list may be known or not allowed; then the search ends."""
MOST_CELLS_TO_LIST = 20_000
"""A space with no more cells than this is listed, so that the search knows when all of it has been proposed."""


@dataclass(frozen=True)
class Result:
    """The result of a configuration.

    ``values`` are those of the objectives (empty unless COMPLETE); ``violations`` says by how much each limit is exceeded (at
    most 0 if it is kept); ``intermediate`` is the primary objective by epoch.
    """

    state: TrialState
    values: Sequence[float] = ()
    violations: Mapping[str, float] = field(default_factory=dict)
    intermediate: Mapping[int, float] = field(default_factory=dict)


class Search:
    """Proposes cells of a space, and learns from their results, in whatever order they come.

    Args:
        space: The space of all cells.
        sampler: Its name with all its arguments (``samplers.with_all_arguments``).
        directions: Of the objectives, the primary one first.
        accept: Whether a cell is allowed; a cell that it has refused once it must always refuse.
    """

    def __init__(
        self, space: Space, sampler: Mapping[str, Any], directions: Sequence[Direction], *, accept: Callable[[Cell], bool]
    ) -> None:
        self._space, self._sampler, self._accept = space, sampler, accept
        self._study = optuna.create_study(directions=list(directions), sampler=make_sampler(sampler, num_asked=0))
        self._seen: set[object] = set()
        self._open: dict[object, Trial] = {}

    def remember(self, cell: Cell, sampler_notes: Mapping[str, Any], result: Result | None) -> None:
        """Take up a configuration of an earlier driver or study; without a result it is in training, and ``tell`` follows.

        A configuration that no sampler proposed has no notes, and belongs to the first generation.
        """
        self._seen.add(cell_key(cell))
        params, distributions = self._as_params(cell)
        for name in sampler_notes:
            if name.startswith(QMC_POSITION):
                position = max(notes_of_study(self._study).get(name, -1), sampler_notes[name])
                set_note_of_study(self._study, name, position)
        state = result.state if result else TrialState.RUNNING
        self._study.add_trial(
            create_trial(
                state=state,
                params=params,
                distributions=distributions,
                values=list(result.values) if result and state == TrialState.COMPLETE else None,
                intermediate_values=self._intermediate(result),
                system_attrs={GENERATION: sampler_notes.get(GENERATION, 0)},
                constraints=dict(result.violations) if result and state == TrialState.COMPLETE else None,
            )
        )
        if result is None:
            frozen = self._study.get_trials(deepcopy=False)[-1]
            self._open[cell_key(cell)] = open_trial(self._study, frozen)

    def ask(self) -> tuple[Cell, dict[str, Any]] | None:
        """A cell that is new and allowed, with the sampler's notes for the ledger; None if none is found."""
        if self.is_exhausted():
            return None
        with warnings.catch_warnings(action="ignore"):  # about fallbacks of the sampler, which the record has
            self._renew_sampler()
            for _ in range(NUM_TRIES_OF_GP if self._sampler["name"] == "gp" else NUM_TRIES):
                cell, trial = self._propose()
                if self._is_new(cell):
                    return self._keep(cell, trial)
                self._study.tell(trial, state=TrialState.FAIL)
            drawn = self._draw()
            if drawn is None:
                return None
            self._study.enqueue_trial(self._as_params(drawn)[0])
            return self._keep(*self._propose())

    def _renew_sampler(self) -> None:
        """Another sampler with the next seed, which need not read every trial again."""
        before, self._study.sampler = self._study.sampler, make_sampler(self._sampler, num_asked=len(self._seen))
        pass_on_search_space(before, self._study.sampler)

    def is_exhausted(self) -> bool:
        """Whether every cell of the space is known or not allowed; False if the space is too large to list."""
        return self._left is not None and self._next_left() is None

    def tell(self, cell: Cell, result: Result) -> None:
        """Learn the result of a cell that was proposed."""
        trial = self._open.pop(cell_key(cell))
        with warnings.catch_warnings(action="ignore"):  # CMA-ES warns that it ignores limits
            for name, violation in result.violations.items():
                trial.set_constraint(name, violation)
            for epoch, value in self._intermediate(result).items():
                trial.report(value, epoch)
            self._study.tell(trial, list(result.values) if result.state == TrialState.COMPLETE else None, state=result.state)

    def best(self, num: int) -> list[Cell]:
        """The best ``num`` configurations that keep all limits: those of the Pareto front, then of the next front, and so on.

        If a front has more than are still needed, some are taken, evenly along the primary objective. With one objective, a
        front is the best configuration, or several that are equally good.
        """
        signs = np.array([-1 if direction == StudyDirection.MAXIMIZE else 1 for direction in self._study.directions])
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        left = [trial for trial in complete if all(value <= 0 for value in trial.constraints.values())]
        left.sort(key=lambda trial: (signs[0] * trial.values[0], repr(sorted(trial.params.items()))))
        best: list[FrozenTrial] = []
        while left and len(best) < num:
            losses = signs * np.array([trial.values for trial in left])
            on_front = [not np.any(np.all(losses <= loss, axis=1) & np.any(losses < loss, axis=1)) for loss in losses]
            best += _spread([trial for trial, on in zip(left, on_front, strict=True) if on], num - len(best))
            left = [trial for trial, on in zip(left, on_front, strict=True) if not on]
        return [cell_of_params(self._space, trial.params) for trial in best]

    def _as_params(self, cell: Cell) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
        params, distributions = params_and_distributions(self._space, cell, 0)
        return {name: params[name] for name in cell}, {name: distributions[name] for name in cell}

    def _intermediate(self, result: Result | None) -> dict[int, float]:
        """Values by epoch, which Optuna takes for a single objective only."""
        return dict(result.intermediate) if result and len(self._study.directions) == 1 else {}

    def _propose(self) -> tuple[Cell, Trial]:
        trial = self._study.ask()
        return self._space.suggest(trial), trial

    def _is_new(self, cell: Cell) -> bool:
        return cell_key(cell) not in self._seen and self._accept(cell)

    def _keep(self, cell: Cell, trial: Trial) -> tuple[Cell, dict[str, Any]]:
        self._seen.add(cell_key(cell))
        self._open[cell_key(cell)] = trial
        of_trial = notes_of_trial(trial)
        for name in of_trial:
            if RELATIVE_PARAMS in name:  # also for factors that turned out to be inactive in this cell
                set_note_of_trial(trial, name, "")
        generation = {GENERATION: of_trial[GENERATION]} if GENERATION in of_trial else {}
        of_study = notes_of_study(self._study)
        return cell, generation | {name: note for name, note in of_study.items() if name.startswith(QMC_POSITION)}

    def _draw(self) -> Cell | None:
        """A new cell at random, since the sampler found none."""
        if self._left is not None:
            return self._next_left()
        generator = random.Random(f"{self._sampler['seed']}/{len(self._seen)}")  # noqa: S311  # nothing secret
        drawn = (self._space.random_cell(generator) for _ in range(NUM_RANDOM_TRIES))
        return next((cell for cell in drawn if self._is_new(cell)), None)

    def _next_left(self) -> Cell | None:
        """The next new cell of the list; known ones and those not allowed are removed from it for good."""
        while self._left:
            cell = self._space.cell_at(self._left[-1])
            if self._is_new(cell):
                return cell
            self._left.pop()
        return None

    @cached_property
    def _left(self) -> list[int] | None:
        """Positions in the list of all cells at which new ones may be, in random order; None if the list is too long."""
        num_cells = self._space.num_cells()
        if num_cells is None or num_cells > MOST_CELLS_TO_LIST:
            return None
        positions = list(range(num_cells))
        random.Random(str(self._sampler["seed"])).shuffle(positions)  # noqa: S311  # nothing secret
        return positions


def _spread(front: list[FrozenTrial], num: int) -> list[FrozenTrial]:
    """At most ``num`` of a front, evenly from its first to its last."""
    if len(front) <= num:
        return front
    return [front[round(i * (len(front) - 1) / max(1, num - 1))] for i in range(num)]
