"""Which replicates are stopped early: an Optuna pruner is asked about the primary objective."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from studies.engine.binding.samplers import make_pruner
from studies.run_record import Direction


@dataclass(frozen=True)
class Curve:
    """What a replicate of an earlier driver reported of the primary objective.

    ``points`` are (milliseconds since 1970, epoch, value), by epoch; ``state`` is None where it is still to be finished.
    """

    identity: str
    points: Sequence[tuple[int, int, float]]
    state: TrialState | None


@dataclass
class _Watched:
    """A replicate in flight: its trial, its last epoch with its value, and whether to stop there."""

    trial: Trial
    epoch: int = 0
    value: float = 0.0
    stops: bool = False


class EarlyStopping:
    """Asks an Optuna pruner about the primary objective, whatever other objectives there are."""

    def __init__(self, pruner: Mapping[str, Any], direction: Direction) -> None:
        self._study = optuna.create_study(
            study_name="primary",  # Hyperband's brackets depend on it
            direction=direction,
            sampler=optuna.samplers.RandomSampler(seed=0),  # the cheapest: nothing is sampled
            pruner=make_pruner(pruner),
        )
        self._watched: dict[str, _Watched] = {}

    def replay(self, curves: Sequence[Curve]) -> None:
        """See again what earlier drivers saw, in the order in which it happened: by time, then in the order given.

        A replicate that is still to be finished was not stopped before its last epoch; whether it should have been there is
        decided again, in the light of what was known then.
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
        """Whether a replicate should stop after this epoch; an epoch that is repeated decides nothing anew."""
        if identity not in self._watched:
            self._watched[identity] = _Watched(self._study.ask())
        watched = self._watched[identity]
        if epoch > watched.epoch:
            watched.epoch, watched.value = epoch, value
            watched.trial.report(value, epoch)
            watched.stops = watched.trial.should_prune()
        return watched.stops and epoch == watched.epoch

    def finished(self, identity: str, state: TrialState) -> None:
        """A replicate has ended; one that never reported is unknown here."""
        if watched := self._watched.pop(identity, None):
            self._study.tell(watched.trial, watched.value if state == TrialState.COMPLETE else None, state=state)
