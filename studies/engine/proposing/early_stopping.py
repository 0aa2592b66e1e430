"""Early stopping: which replicates of a search are pruned, as an Optuna pruner decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from studies.engine.binding.samplers import make_pruner
from studies.run_record import Direction


@dataclass(frozen=True)
class Curve:
    """The primary objective of a replicate that an earlier driver trained.

    ``points`` are (milliseconds since 1970, epoch, value), by epoch; ``state`` is None if the replicate is to be resumed.
    """

    identity: str
    points: Sequence[tuple[int, int, float]]
    state: TrialState | None


@dataclass
class _Watched:
    """A replicate in training: its Optuna trial, its last epoch with its value, and whether it is pruned there."""

    trial: Trial
    epoch: int = 0
    value: float = 0.0
    stops: bool = False


class EarlyStopping:
    """Asks an Optuna pruner about the primary objective; other objectives play no part.

    Args:
        pruner: Its name with all its arguments.
        direction: Of the primary objective.
    """

    def __init__(self, pruner: Mapping[str, Any], direction: Direction) -> None:
        self._study = optuna.create_study(
            study_name="primary",  # Hyperband's brackets depend on it
            direction=direction,
            sampler=optuna.samplers.RandomSampler(seed=0),  # the cheapest: nothing is sampled
            pruner=make_pruner(pruner),
        )
        self._watched: dict[str, _Watched] = {}

    def replay(self, curves: Sequence[Curve]) -> None:
        """Report again what earlier drivers reported, in the order in which it happened: by time, then as given.

        A replicate that is to be resumed was not pruned before its last epoch; whether it is pruned there is decided again, from
        what was known at that time.
        """
        events = []
        for position, curve in enumerate(curves):
            at = 0
            for time_ms, epoch, value in curve.points:
                at = max(at, time_ms)  # a clock may have been set back
                events.append((at, position, epoch, value))
        for _, position, epoch, value in sorted(events):
            curve = curves[position]
            self.report(curve.identity, epoch, value)
            if curve.state is not None and epoch == curve.points[-1][1]:
                self.finished(curve.identity, curve.state)

    def report(self, identity: str, epoch: int, value: float) -> bool:
        """Whether a replicate is pruned after this epoch; an epoch that is reported again gets the same answer."""
        if identity not in self._watched:
            self._watched[identity] = _Watched(self._study.ask())
        watched = self._watched[identity]
        if epoch > watched.epoch:
            watched.epoch, watched.value = epoch, value
            watched.trial.report(value, epoch)
            watched.stops = watched.trial.should_prune()
        return watched.stops and epoch == watched.epoch

    def finished(self, identity: str, state: TrialState) -> None:
        """Take note of the state of a replicate that has finished; one that never reported is ignored."""
        if watched := self._watched.pop(identity, None):
            self._study.tell(watched.trial, watched.value if state == TrialState.COMPLETE else None, state=state)
