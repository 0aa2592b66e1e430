"""Whether a search still gets better: how many trials in a row have found nothing that was not as good before."""

from collections.abc import Sequence

from optuna.trial import TrialState

from studies.engine.proposing.search import Result
from studies.run_record import Direction


class ConvergenceCounter:
    """Counts trials since the last one that was better than all before it or, with several objectives, on their Pareto front.

    One that broke a limit, failed or was stopped early is no better.
    """

    def __init__(self, directions: Sequence[Direction]) -> None:
        self._signs = [-1 if direction == "maximize" else 1 for direction in directions]
        self._front: list[list[float]] = []
        self.num_trials = 0

    def add_known(self, result: Result) -> None:
        """Something that no trial of this search found."""
        self.add(result)
        self.num_trials = 0

    def add(self, result: Result) -> None:
        """What became of a trial."""
        self.num_trials += 1
        if result.state != TrialState.COMPLETE or any(violation > 0 for violation in result.violations.values()):
            return
        losses = [sign * value for sign, value in zip(self._signs, result.values, strict=True)]
        if any(_is_as_good(known, losses) for known in self._front):
            return
        self._front = [known for known in self._front if not _is_as_good(losses, known)] + [losses]
        self.num_trials = 0


def _is_as_good(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True))
