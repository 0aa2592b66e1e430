"""Tuned designs: a small search tunes the nuisance hyperparameters of each cell; then all cells train with the best values."""

import dataclasses
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.trial import TrialState

from search_spaces.language.space import Cell, cell_key
from studies.engine.binding.replicates import Replicate
from studies.engine.definition.search_plans import TuningPlan
from studies.engine.definition.study import Study
from studies.engine.proposing.proposals import FixedProposals, StudyHistory
from studies.engine.proposing.search import Result, Search
from studies.run_record import ACCURACY, levels_in_words

NOTHING = float("-inf")


@dataclass
class _Trial:
    replicate: Replicate
    is_shared: bool = False
    """Whether it is the same network as a trial of another cell, which trains it."""
    state: TrialState | None = None
    accuracy: float = NOTHING


class _Tuning:
    """The tuning of one cell: a search for the values of its nuisance hyperparameters."""

    def __init__(self, study: Study, plan: TuningPlan, cell: Cell) -> None:
        self.cell = cell
        self.trials: dict[str, _Trial] = {}
        """By identity."""
        self._known: set[str] = set()
        """What they train (``Configuration.training``)."""
        self._study, self._plan = study, plan
        self._search = Search(plan.space, plan.sampler, ["maximize"], accept=self._accepts)
        self._gave_up = False

    def replicate(self, tuned: Cell) -> Replicate:
        """The replicate of the cell with these values and the tuning's seed."""
        return self._study.binder.replicate(self.cell, self._plan.seed, role="tuning", tuned=tuned)

    def _accepts(self, tuned: Cell) -> bool:
        """Values are accepted if they make a new network; values that change nothing in this cell are not tried twice."""
        binder = self._study.binder
        return binder.accepts(self.cell, tuned) and binder.training(self.cell, tuned) not in self._known

    def remember(self, trial: _Trial) -> None:
        """Take up a trial of an earlier driver."""
        replicate = trial.replicate
        self._add(trial)
        self._search.remember(replicate.tuned, replicate.notes, _result(trial) if trial.state else None)

    def ask(self) -> _Trial | None:
        """The next trial; None if there is none."""
        if self.has_proposed_all():
            return None
        proposal = self._search.ask()
        if proposal is None:
            self._gave_up = True
            return None
        trial = _Trial(dataclasses.replace(self.replicate(proposal[0]), notes=proposal[1]))
        self._add(trial)
        return trial

    def _add(self, trial: _Trial) -> None:
        self.trials[trial.replicate.identity] = trial
        self._known.add(self._study.binder.training(self.cell, trial.replicate.tuned))

    def tell(self, trial: _Trial, state: TrialState, accuracy: float) -> None:
        """Take note of a trial's state and validation accuracy."""
        trial.state, trial.accuracy = state, accuracy
        self._search.tell(trial.replicate.tuned, _result(trial))

    def is_exhausted(self) -> bool:
        """Whether there are no other values to try."""
        return self._gave_up or self._search.is_exhausted()

    def has_proposed_all(self) -> bool:
        """Whether no more trials will be proposed."""
        return len(self.trials) >= self._plan.num_trials or self.is_exhausted()

    def is_finished(self) -> bool:
        """Whether no more will be proposed, and all proposed trials have finished."""
        return self.has_proposed_all() and all(trial.state is not None for trial in self.trials.values())

    def best(self) -> Cell:
        """The values with the highest validation accuracy; the first ones if no trial is complete."""
        return max(self.trials.values(), key=lambda trial: trial.accuracy).replicate.tuned


class TunedProposals:
    """Tuning trials of all cells, then the tuned cells themselves with all seeds, seed by seed.

    Args:
        study: The study whose cells are tuned.
        plan: Which hyperparameters are tuned, with which sampler, in how many trials.
        history: What earlier drivers left.
    """

    def __init__(self, study: Study, plan: TuningPlan, history: StudyHistory) -> None:
        self._study, self._plan, self._history = study, plan, history
        self._tunings = {cell_key(cell): _Tuning(study, plan, cell) for cell in study.cells}
        self._queue: deque[Replicate] = deque()
        self._evaluation: FixedProposals | None = None
        for identity, entry in history.entries.items():
            if entry.role == "tuning" and plan.space.contains(entry.tuned) and cell_key(entry.cell) in self._tunings:
                self._remember(identity, self._tunings[cell_key(entry.cell)])
        self._queue = deque(sorted(self._queue, key=lambda replicate: not history.is_running(replicate)))
        self._evaluate_if_tuned()

    def _remember(self, identity: str, tuning: _Tuning) -> None:
        entry = self._history.entries[identity]
        replicate = dataclasses.replace(tuning.replicate(entry.tuned), notes=dict(entry.notes))
        if replicate.identity != identity or not self._study.binder.accepts(tuning.cell, entry.tuned):
            return  # it belongs to an earlier version of the study file
        if self._history.needs_training(replicate):
            self._queue.append(replicate)
            tuning.remember(_Trial(replicate))
        else:
            tuning.remember(_Trial(replicate, state=entry.state, accuracy=entry.values.get(ACCURACY, NOTHING)))

    def next(self) -> Replicate | None:
        """The replicate to train next; None if there is none now."""
        if self._queue:
            return self._queue.popleft()
        for tuning in sorted(self._tunings.values(), key=lambda tuning: len(tuning.trials)):
            while trial := tuning.ask():
                elsewhere = self._elsewhere(tuning, trial)
                if elsewhere is None:
                    return trial.replicate
                trial.is_shared = True
                if elsewhere.state is not None:
                    tuning.tell(trial, elsewhere.state, elsewhere.accuracy)
        self._evaluate_if_tuned()
        return self._evaluation.next() if self._evaluation else None

    def _elsewhere(self, tuning: _Tuning, trial: _Trial) -> _Trial | None:
        """A trial of another cell that is the same network, since with these values the two cells are one."""
        others = (other.trials.get(trial.replicate.identity) for other in self._tunings.values() if other is not tuning)
        return next((other for other in others if other), None)

    def _evaluate_if_tuned(self) -> None:
        tunings = self._tunings.values()
        if self._evaluation or not all(tuning.is_finished() for tuning in tunings):
            return
        tuned = [(tuning.cell, tuning.best()) for tuning in tunings if tuning.trials]
        binder = self._study.binder
        replicates = [binder.replicate(cell, seed, tuned=best) for seed in self._study.seeds for cell, best in tuned]
        self._evaluation = FixedProposals(replicates, self._history)

    def is_waiting(self) -> bool:
        """Whether more replicates may be proposed once one in training has finished."""
        return self._evaluation is None or self._evaluation.is_waiting()

    def reported(self, replicate: Replicate, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Take note of an epoch's metrics; True if the replicate should stop here, since it is pruned."""
        return False

    def finished(self, replicate: Replicate, state: TrialState, metrics: Mapping[str, float]) -> None:
        """Take note that a replicate is COMPLETE with these metrics, PRUNED or FAIL."""
        if replicate.role != "tuning":
            return
        accuracy = metrics[ACCURACY] if state == TrialState.COMPLETE else NOTHING
        for tuning in self._tunings.values():
            if trial := tuning.trials.get(replicate.identity):
                tuning.tell(trial, state, accuracy)

    def planned(self) -> Sequence[Replicate]:
        """Every replicate that the study has asked for so far, whether it has been trained or not."""
        trials = [trial for tuning in self._tunings.values() for trial in tuning.trials.values()]
        tried = [trial.replicate for trial in trials if not trial.is_shared]
        return [*tried, *(self._evaluation.planned() if self._evaluation else ())]

    def total(self) -> int:
        """How many replicates there will be in all, as far as is known now."""
        total = 0
        for tuning in self._tunings.values():
            to_come = 0 if tuning.has_proposed_all() else self._plan.num_trials - len(tuning.trials)
            total += to_come + sum(not trial.is_shared for trial in tuning.trials.values())
            total += len(self._study.seeds) if to_come or tuning.trials else 0
        return total

    def notes(self) -> Sequence[str]:
        """Sentences on what was proposed, for the study's record."""
        notes = []
        for tuning in self._tunings.values():
            if tuning.has_proposed_all() and len(tuning.trials) < self._plan.num_trials:
                cell, num_trials = levels_in_words(tuning.cell), len(tuning.trials)
                what = f"was tuned with {num_trials} trials" if num_trials else "was left out"
                notes.append(f"The cell {cell} {what}: there are no other values that change it and are allowed.")
        return notes


def _result(trial: _Trial) -> Result:
    assert trial.state
    return Result(trial.state, [trial.accuracy] if trial.state == TrialState.COMPLETE else [])
