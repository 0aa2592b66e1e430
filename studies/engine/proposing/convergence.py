"""Whether a search still improves: how many trials in a row were no better than those before them."""

from collections.abc import Sequence

from optuna.trial import TrialState

from studies.engine.proposing.search import Result
from studies.run_record import Direction


class ConvergenceCounter:
    """Counts the trials since the last one that improved on all before it, or that joined the Pareto front of several objectives.

    A trial that broke a limit, failed or was pruned is no improvement. ``num_trials`` is the count.

    Args:
        directions: Of the objectives, "maximize" or "minimize".
    """

    def __init__(self, directions: Sequence[Direction]) -> None:
        self._signs = [-1 if direction == "maximize" else 1 for direction in directions]
        self._front: list[list[float]] = []
        self.num_trials = 0

    def add_known(self, result: Result) -> None:
        """Take note of a result that was known before the search; the count starts again at 0."""
        self.add(result)
        self.num_trials = 0

    def add(self, result: Result) -> None:
        """Count a trial of the search with its result."""
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
