"""The progress of a search: the hypervolume of its front, or its best value, after every trial."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics.data.outcomes import Outcome
from analysis.statistics.optuna_internals import exact_hypervolume
from analysis.statistics.search.design_matrix import DesignMatrix, Mask
from analysis.statistics.search.factor_axes import Array
from analysis.statistics.search.pareto import dominated, losses_of

MOST_MOMENTS = 30
"""At which the hypervolume of three or more objectives is computed; of two it is after every trial."""

ROUNDING = 1e-9


@dataclass(frozen=True)
class Progress:
    """What a search had reached after each number of trials, in the order in which they were begun.

    With several objectives ``reached`` is a share: the hypervolume between the front and ``reference``, the worst values among
    the trials, over the volume between ``reference`` and the best values. With one it is the best value so far (NaN before the
    first).
    """

    num_trials: Sequence[int]
    reached: Sequence[float]
    reference: Mapping[Outcome, float]

    def trials_until(self, share: float) -> int:
        """The number of trials after which ``share`` of the last hypervolume was reached."""
        reached = np.asarray(self.reached)
        return self.num_trials[int(np.argmax(reached >= share * reached[-1] - ROUNDING))]


def progress(tried: DesignMatrix, objectives: Sequence[Outcome], counts: Mask) -> Progress | None:
    """The hypervolume (Zitzler and Thiele 1998) or, of one objective, the best value after every trial.

    Args:
        tried: The trials of the search.
        objectives: What was searched for.
        counts: Which trials count: those that keep the limits.

    Returns:
        None where no trial that counts has all objectives.
    """
    values_NO = np.column_stack([tried.values[objective] for objective in objectives])
    losses_NO = losses_of(values_NO, [objective.direction for objective in objectives])
    losses_NO[~counts] = np.nan
    known = np.all(np.isfinite(losses_NO), axis=1, keepdims=True)[:, 0]
    if not known.any():
        return None
    moments = np.arange(1, len(losses_NO) + 1)
    if len(objectives) == 1:
        best = np.fmin.accumulate(losses_NO[:, 0]) * (-1.0 if objectives[0].direction == "maximize" else 1.0)
        return Progress(moments.tolist(), best.tolist(), {})
    worst, ideal = losses_NO[known].max(axis=0), losses_NO[known].min(axis=0)
    spread = np.where(worst > ideal, worst - ideal, 1.0)
    unit_NO = np.where(known[:, None], (losses_NO - ideal) / spread, 1.0)  # what does not count dominates nothing
    if len(objectives) > 2 and len(moments) > MOST_MOMENTS:
        moments = np.unique(np.linspace(1, len(losses_NO), MOST_MOMENTS).astype(int))
    signs = [-1.0 if objective.direction == "maximize" else 1.0 for objective in objectives]
    reference = {objective: float(sign * bound) for objective, sign, bound in zip(objectives, signs, worst, strict=True)}
    return Progress(moments.tolist(), _hypervolumes(unit_NO, moments.tolist()), reference)


def _hypervolumes(unit_NO: Array, moments: Sequence[int]) -> list[float]:
    """After each moment, of losses between 0 and 1 and the reference point 1."""
    found: list[float] = []
    front = np.empty((0, unit_NO.shape[1]))
    before = 0
    for moment in moments:
        grown = np.unique(np.vstack([front, unit_NO[before:moment]]), axis=0)
        grown = grown[~dominated(grown)]
        same = len(grown) == len(front) and np.array_equal(grown, front)
        found.append(found[-1] if same and found else hypervolume(grown))
        front, before = grown, moment
    return found


def hypervolume(front_NO: Array) -> float:
    """The share of the unit cube that a front dominates, with 1 as the reference point.

    Args:
        front_NO: Losses between 0 and 1, sorted by the first; no point dominates another.
    """
    if front_NO.shape[1] > 2:
        return exact_hypervolume(front_NO)
    ends = np.append(front_NO[1:, 0], 1.0)
    return float((ends - front_NO[:, 0]) @ (1 - front_NO[:, 1]))
