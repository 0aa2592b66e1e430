"""Partial dependence: what a surrogate predicts at each level of a factor, averaged over the other factors (Friedman 2001)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics.axes import Array, Axis
from analysis.statistics.importance import FEWEST_CONFIGURATIONS, MOST_CONFIGURATIONS
from analysis.statistics.outcomes import Outcome
from analysis.statistics.samples import Sample, model_inputs, some_of
from analysis.statistics.surrogates import Score, fitter, scores
from studies.run_record import Level, StudyRecord

NUM_PLACES = 15
MOST_BACKGROUND = 60
"""Configurations whose other factors are averaged over."""
NUM_HALVES = 50
NORMAL_95 = 1.96
SEED = 20260123


@dataclass(frozen=True)
class Dependence:
    """The surrogate's mean prediction at levels of one factor, from low to high or in the study's order.

    ``low`` and ``high`` are 95 % pointwise, by the spread over random halves of the configurations.
    """

    axis: Axis
    levels: Sequence[Level]
    mean: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class Surrogate:
    """What was learnt of one outcome: the error of every kind of surrogate, the best first, and the best one's dependences.

    There are no dependences where the best predicts no better than the mean; no scores where there is too little to learn from.
    """

    outcome: Outcome
    num_configurations: int
    scores: Sequence[Score] = ()
    dependences: Sequence[Dependence] = ()

    @property
    def explains_something(self) -> bool:
        """Whether the best one predicts better than the mean, surely enough."""
        return bool(self.scores) and self.scores[0].is_above_zero


def surrogate(study: StudyRecord, sample: Sample, outcome: Outcome) -> Surrogate:
    """Fit the surrogates to the configurations that have a value, at most 600 of them, drawn at random."""
    generator = np.random.default_rng(SEED)
    rows = some_of(np.flatnonzero(sample.known(outcome)), MOST_CONFIGURATIONS, generator)
    values_N, places_NF = sample.values[outcome][rows], sample.places_NF[rows]
    inputs_NC = model_inputs(sample.axes, places_NF)
    if len(rows) < FEWEST_CONFIGURATIONS or np.ptp(values_N) == 0:
        return Surrogate(outcome, len(rows))
    found = scores(inputs_NC, values_N)
    learnt = Surrogate(outcome, len(rows), found)
    if not learnt.explains_something:
        return learnt
    shown = [i for i in range(len(sample.axes)) if not np.isnan(places_NF[:, i]).all()]
    queries = [_queries(study, sample.axes, i, places_NF, generator) for i in shown]
    all_inputs = np.vstack([inputs for _, inputs in queries])
    fit = fitter(found[0].kind, inputs_NC, values_N)
    means = _curves(fit(inputs_NC, values_N)(all_inputs), queries)
    halves = [some_of(np.arange(len(rows)), len(rows) // 2, generator) for _ in range(NUM_HALVES)]
    of_halves = [_curves(fit(inputs_NC[half], values_N[half])(all_inputs), queries) for half in halves]
    dependences = []
    for position, (i, (places, _)) in enumerate(zip(shown, queries, strict=True)):
        axis, mean = sample.axes[i], means[position]
        band = NORMAL_95 * np.std([curves[position] for curves in of_halves], axis=0, ddof=1)
        dependences.append(Dependence(axis, [axis.level(place) for place in places], mean, mean - band, mean + band))
    return Surrogate(outcome, len(rows), found, dependences)


Query = tuple[list[float], Array]
"""Places of a factor, and for each in turn the model's inputs of the background with the factor there."""


def _queries(study: StudyRecord, axes: Sequence[Axis], i: int, places_NF: Array, generator: np.random.Generator) -> Query:
    """The background is of configurations in which the factor is active; what hangs on its level is in its range's middle."""
    active = some_of(np.flatnonzero(~np.isnan(places_NF[:, i])), MOST_BACKGROUND, generator)
    background = places_NF[active].copy()
    dependent = _dependent_on(study, axes[i].factor)
    background[:, [j for j, axis in enumerate(axes) if axis.factor in dependent]] = np.nan
    places = axes[i].grid(NUM_PLACES)
    blocks = []
    for place in places:
        background[:, i] = place
        blocks.append(model_inputs(axes, background))
    return places, np.vstack(blocks)


def _dependent_on(study: StudyRecord, factor: str) -> set[str]:
    """The factors whose conditions name this one, or one of those."""
    children = {name for name, conditions in study.conditions.items() if factor in conditions}
    return children.union(*(_dependent_on(study, child) for child in children))


def _curves(predictions: Array, queries: Sequence[Query]) -> list[Array]:
    """The mean over the background at every place, a curve for every query."""
    curves, start = [], 0
    for places, inputs in queries:
        block = predictions[start : start + len(inputs)]
        curves.append(block.reshape(len(places), -1).mean(axis=1))
        start += len(inputs)
    return curves
