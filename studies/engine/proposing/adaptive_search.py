"""Adaptive search: the sampler proposes configurations, which are tried with few seeds; the best are trained with all seeds."""

import dataclasses
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from optuna.trial import TrialState

from search_spaces.language.space import Cell, cell_key
from studies.engine.binding.replicates import Replicate
from studies.engine.definition.search_plans import SearchPlan
from studies.engine.definition.study import Study
from studies.engine.ledger.ledger import LedgerEntry
from studies.engine.proposing.convergence import ConvergenceCounter
from studies.engine.proposing.early_stopping import Curve, EarlyStopping
from studies.engine.proposing.proposals import StudyHistory
from studies.engine.proposing.search import NUM_RANDOM_TRIES, Result, Search
from studies.run_record import Role

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class KnownConfiguration:
    """A configuration whose results are known before the search, with its metrics by seed."""

    cell: Cell
    metrics: Mapping[int, Metrics]


@dataclass(frozen=True)
class WarmStart:
    """Configurations that a search knows before it begins, and sentences on what was left out of them, for the record."""

    configurations: Sequence[KnownConfiguration] = ()
    notes: Sequence[str] = ()


@dataclass
class _Trial:
    """One configuration, with the replicates by which it is judged."""

    replicates: list[Replicate]
    """Those that are asked for; once one has failed or is pruned, only those that have begun."""
    states: dict[int, TrialState] = field(default_factory=dict)
    metrics: dict[int, Metrics] = field(default_factory=dict)
    curves: dict[int, dict[int, float]] = field(default_factory=dict)
    """The primary objective by epoch, by seed."""

    def is_finished(self) -> bool:
        """Whether all replicates that were asked for have finished."""
        return len(self.states) == len(self.replicates)

    def has_failed_or_pruned(self) -> bool:
        """Whether a replicate failed or was pruned, so that the other seeds are not tried."""
        return any(state != TrialState.COMPLETE for state in self.states.values())

    def state(self) -> TrialState:
        """Its state once it has finished, which is the worst of its replicates' states."""
        states = self.states.values()
        return next((state for state in (TrialState.FAIL, TrialState.PRUNED) if state in states), TrialState.COMPLETE)

    def curve(self) -> dict[int, float]:
        """The mean over the seeds by epoch, for epochs that all of them have reached."""
        of_seeds = list(self.curves.values())
        epochs = sorted(set.intersection(*(set(curve) for curve in of_seeds))) if of_seeds else []
        return {epoch: _mean(curve[epoch] for curve in of_seeds) for epoch in epochs}


class SearchProposals:
    """The trials of a search, then its finalists.

    Args:
        study: The study whose space is searched.
        plan: Sampler, pruner, objectives, limits, and numbers of trials, seeds and finalists.
        history: What earlier drivers left.
        warm: What is known from earlier studies.
    """

    def __init__(self, study: Study, plan: SearchPlan, history: StudyHistory, warm: WarmStart) -> None:
        self._study, self._plan, self._history = study, plan, history
        self._search_seeds = study.seeds[: plan.seeds_per_trial]
        self._stopping = EarlyStopping(plan.pruner, next(iter(plan.objectives.values()))) if plan.pruner else None
        self._convergence = ConvergenceCounter(list(plan.objectives.values()))
        self._trials: dict[object, _Trial] = {}
        self._num_asked = 0
        """Over the replicates of all trials."""
        self._known: set[str] = set()
        """What is trained or in training (``Configuration.training``): no cell that makes the same network is proposed."""
        self._queue: deque[Replicate] = deque()
        self._finalists: list[Replicate] | None = None
        self._search = Search(study.space, plan.sampler, list(plan.objectives.values()), accept=self._accepts)
        ours = [(cell_key(entry.cell), entry) for identity, entry in history.entries.items() if self._is_ours(identity, entry)]
        asked = {key for key, entry in ours if entry.role == "search"}
        self._warm_notes = list(warm.notes)
        self._begin_with([known for known in warm.configurations if cell_key(known.cell) not in asked], "of earlier studies")
        others = [self._known_of(entry) for key, entry in ours if key not in asked and entry.seed in self._search_seeds]
        self._begin_with([known for known in others if known], "that this study had trained as cells of a design")
        for key, entry in ours:
            if entry.role == "search" and key not in self._trials:
                self._remember(entry.cell)
        self._queue = deque(sorted(self._queue, key=lambda replicate: not history.is_running(replicate)))
        self._replay()
        self._is_exhausted = self._search.is_exhausted()
        self._choose_finalists()

    def _replicate(self, cell: Cell, seed: int, role: Role = "search") -> Replicate:
        return self._study.binder.replicate(cell, seed, role=role)

    def _is_ours(self, identity: str, entry: LedgerEntry) -> bool:
        """Whether an entry is a replicate of the study as its file is now."""
        space, binder = self._study.space, self._study.binder
        if not space.contains(entry.cell) or not binder.accepts(entry.cell):
            return False
        return binder.replicate(entry.cell, entry.seed).identity == identity

    def _accepts(self, cell: Cell) -> bool:
        binder = self._study.binder
        return binder.accepts(cell) and binder.training(cell) not in self._known

    def _known_of(self, entry: LedgerEntry) -> KnownConfiguration | None:
        identity = self._replicate(entry.cell, entry.seed).identity
        return (
            KnownConfiguration(entry.cell, {entry.seed: self._metrics(identity)}) if entry.state == TrialState.COMPLETE else None
        )

    def _begin_with(self, configurations: Sequence[KnownConfiguration], which: str) -> None:
        by_cell: dict[object, KnownConfiguration] = {}
        for known in configurations:
            earlier = by_cell.get(cell_key(known.cell))
            by_cell[cell_key(known.cell)] = KnownConfiguration(
                known.cell, {**(earlier.metrics if earlier else {}), **known.metrics}
            )
        new = [known for known in by_cell.values() if self._accepts(known.cell)]
        for known in new:
            self._known.add(self._study.binder.training(known.cell))
            result = self._result(TrialState.COMPLETE, known.metrics, {})
            self._convergence.add_known(result)
            self._search.remember(known.cell, {}, result)
        if new:
            self._warm_notes.append(f"The search began with {len(new)} configurations {which}.")

    def _metrics(self, identity: str) -> Metrics:
        """The metrics of a COMPLETE replicate: those of its last report, and at least those of the ledger."""
        reports = self._history.reports(identity)
        return {**self._history.entries[identity].values, **(reports[-1].metrics if reports else {})}

    def _open(self, cell: Cell, notes: Mapping[str, object]) -> _Trial:
        replicates = [self._replicate(cell, seed) for seed in self._search_seeds]
        trial = _Trial([dataclasses.replace(replicate, notes=dict(notes)) for replicate in replicates])
        self._trials[cell_key(cell)] = trial
        self._num_asked += len(replicates)
        self._known.add(self._study.binder.training(cell))
        return trial

    def _remember(self, cell: Cell) -> None:
        """Take up a trial of an earlier driver where it was left."""
        entries = self._history.entries
        first = self._replicate(cell, self._search_seeds[0]).identity
        notes = entries[first].notes if first in entries else {}
        trial = self._open(cell, notes)
        for replicate in trial.replicates:
            if replicate.identity in entries and not self._history.needs_training(replicate):
                self._note(trial, replicate)
        left = [replicate for replicate in trial.replicates if replicate.seed not in trial.states]
        if trial.has_failed_or_pruned():
            for replicate in left:
                if replicate.identity in entries and not self._history.is_running(replicate):
                    self._note(
                        trial, replicate
                    )  # a failure that is to be retried, but not in a trial that has failed or is pruned anyway
            left = [replicate for replicate in left if self._history.is_running(replicate)]
            self._ask_only(trial, [r for r in trial.replicates if r.seed in trial.states or r in left])
        result = self._result_of(trial) if trial.is_finished() else None
        if result:
            self._convergence.add(result)
        self._search.remember(cell, notes, result)
        self._queue.extend(left)

    def _ask_only(self, trial: _Trial, replicates: list[Replicate]) -> None:
        self._num_asked += len(replicates) - len(trial.replicates)
        trial.replicates = replicates

    def _note(self, trial: _Trial, replicate: Replicate) -> None:
        state = self._history.entries[replicate.identity].state
        trial.states[replicate.seed] = state
        trial.metrics[replicate.seed] = self._judged(self._metrics(replicate.identity)) if state == TrialState.COMPLETE else {}
        trial.curves[replicate.seed] = {epoch: value for _, epoch, value in self._points(replicate)}

    def _points(self, replicate: Replicate) -> list[tuple[int, int, float]]:
        reports = self._history.reports(replicate.identity)
        primary = self._plan.primary
        return [(each.timestamp_ms, each.epoch, each.metrics[primary]) for each in reports if primary in each.metrics]

    def _replay(self) -> None:
        """Tell the pruner what earlier drivers reported of all replicates, in the order in which they began."""
        if self._stopping is None:
            return
        replicates = {replicate.identity: (trial, replicate) for trial in self._trials.values() for replicate in trial.replicates}
        curves = []
        for identity in self._history.entries:
            if identity in replicates:
                trial, replicate = replicates[identity]
                curves.append(Curve(identity, self._points(replicate), trial.states.get(replicate.seed)))
        self._stopping.replay(curves)

    def next(self) -> Replicate | None:
        """The replicate to train next; None if there is none now."""
        if self._queue:
            return self._queue.popleft()
        if not self._has_proposed_all():
            if proposal := self._search.ask():
                self._queue.extend(self._open(*proposal).replicates)
                return self._queue.popleft()
            self._is_exhausted = True
        self._choose_finalists()
        return self._queue.popleft() if self._queue else None

    def is_waiting(self) -> bool:
        """Whether more replicates may be proposed once one in training has finished."""
        return bool(self._queue) or self._finalists is None

    def _has_proposed_all(self) -> bool:
        """Whether no more configurations will be proposed."""
        return self._is_exhausted or len(self._trials) >= self._plan.num_trials or self._has_converged()

    def _has_converged(self) -> bool:
        return self._plan.converged_after is not None and self._convergence.num_trials >= self._plan.converged_after

    def _choose_finalists(self) -> None:
        """Once all trials have finished, propose the other seeds of the best ones, which had no part in choosing them.

        Finalists that an earlier driver began stay finalists, whatever was learnt since.
        """
        if (
            self._finalists is not None
            or not self._has_proposed_all()
            or not all(trial.is_finished() for trial in self._trials.values())
        ):
            return
        seeds = self._study.seeds[self._plan.seeds_per_trial :] if self._plan.finalists else ()
        begun = [
            entry
            for identity, entry in self._history.entries.items()
            if entry.role == "finalist" and self._is_ours(identity, entry)
        ]
        cells = {cell_key(cell): cell for cell in self._search.best(self._plan.finalists)}
        cells |= {cell_key(entry.cell): entry.cell for entry in begun if seeds}
        self._finalists = [self._replicate(cell, seed, "finalist") for cell in cells.values() for seed in seeds]
        left = [replicate for replicate in self._finalists if self._history.needs_training(replicate)]
        self._queue.extend(sorted(left, key=lambda replicate: not self._history.is_running(replicate)))

    def reported(self, replicate: Replicate, epoch: int, metrics: Metrics) -> bool:
        """Take note of an epoch's metrics; True if the replicate should stop here, since it is pruned."""
        if replicate.role != "search" or self._plan.primary not in metrics:
            return False
        value = metrics[self._plan.primary]
        self._trials[cell_key(replicate.cell)].curves.setdefault(replicate.seed, {})[epoch] = value
        return self._stopping is not None and self._stopping.report(replicate.identity, epoch, value)

    def finished(self, replicate: Replicate, state: TrialState, metrics: Metrics) -> None:
        """Take note that a replicate is COMPLETE with these metrics, PRUNED or FAIL."""
        if replicate.role != "search":
            return
        if self._stopping:
            self._stopping.finished(replicate.identity, state)
        trial = self._trials[cell_key(replicate.cell)]
        trial.states[replicate.seed] = state
        trial.metrics[replicate.seed] = self._judged(metrics)
        if trial.has_failed_or_pruned():
            waiting = {replicate.identity for replicate in self._queue}
            self._ask_only(trial, [asked for asked in trial.replicates if asked.identity not in waiting])
            self._queue = deque(waits for waits in self._queue if cell_key(waits.cell) != cell_key(replicate.cell))
        if trial.is_finished():
            result = self._result_of(trial)
            self._convergence.add(result)
            self._search.tell(replicate.cell, result)

    def _result_of(self, trial: _Trial) -> Result:
        return self._result(trial.state(), trial.metrics, trial.curve())

    def _result(self, state: TrialState, metrics: Mapping[int, Metrics], curve: Mapping[int, float]) -> Result:
        """The result as means over the seeds; FAIL if a metric is missing for some seed."""
        if state == TrialState.FAIL or (state == TrialState.COMPLETE and self._lacks_metrics(metrics)):
            return Result(TrialState.FAIL)
        if state == TrialState.PRUNED:
            return Result(state, intermediate=curve)
        means = {name: _mean(of_seed[name] for of_seed in metrics.values()) for name in self._metric_names()}
        violations = {str(limit): limit.violation(means[limit.metric]) for limit in self._plan.limits}
        return Result(state, [means[name] for name in self._plan.objectives], violations, curve)

    def _judged(self, metrics: Metrics) -> Metrics:
        """The metrics by which trials are judged; others are not kept, to save memory in large studies."""
        return {name: metrics[name] for name in self._metric_names() if name in metrics}

    def _metric_names(self) -> list[str]:
        return list(dict.fromkeys([*self._plan.objectives, *(limit.metric for limit in self._plan.limits)]))

    def _lacks_metrics(self, metrics: Mapping[int, Metrics]) -> bool:
        return any(name not in of_seed for of_seed in metrics.values() for name in self._metric_names())

    def planned(self) -> Sequence[Replicate]:
        """Every replicate that the study has asked for so far, whether it has been trained or not."""
        return [*(replicate for trial in self._trials.values() for replicate in trial.replicates), *(self._finalists or ())]

    def total(self) -> int:
        """How many replicates there will be in all, as far as is known now."""
        to_come = 0 if self._has_proposed_all() else self._plan.num_trials - len(self._trials)
        others = len(self._study.seeds) - len(self._search_seeds)
        finalists = len(self._finalists) if self._finalists is not None else self._plan.finalists * others
        return self._num_asked + to_come * len(self._search_seeds) + finalists

    def notes(self) -> Sequence[str]:
        """Sentences on what was proposed, for the study's record."""
        notes = list(self._warm_notes)
        if self._has_converged() and len(self._trials) < self._plan.num_trials:
            why = f"the last {self._convergence.num_trials} were no better than those before"
            notes.append(f"The search ended after {len(self._trials)} trials: {why}.")
        elif self._is_exhausted and len(self._trials) < self._plan.num_trials:
            which = "is left" if self._search.is_exhausted() else f"was found in {NUM_RANDOM_TRIES} draws"
            notes.append(f"The search ended after {len(self._trials)} trials: no configuration {which} that is new and allowed.")
        complete = [trial for trial in self._trials.values() if trial.is_finished() and trial.state() == TrialState.COMPLETE]
        if lacking := sum(self._lacks_metrics(trial.metrics) for trial in complete):
            needed = ", ".join(self._metric_names())
            notes.append(f"The search learnt nothing from {lacking} trials, which did not report all of {needed}.")
        return notes


def _mean(values: Iterable[float]) -> float:
    """The same in whatever order the values come."""
    given = list(values)
    return math.fsum(given) / len(given)
