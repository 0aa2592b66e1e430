"""Partial dependence: what a surrogate model predicts at each level of a factor, averaged over the others (Friedman 2001)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from analysis.statistics.data.outcomes import Outcome
from analysis.statistics.search.design_matrix import DesignMatrix, model_inputs, some_of
from analysis.statistics.search.factor_axes import Array, FactorAxis
from analysis.statistics.search.importance import FEWEST_CONFIGURATIONS, MOST_CONFIGURATIONS
from analysis.statistics.search.surrogate_models import Kind, Score, fit, scores
from studies.run_record import Level, StudyRecord

Rows = npt.NDArray[np.intp]

NUM_PLACES = 15
MOST_BACKGROUND = 60
"""Configurations whose other factors are averaged over."""
NUM_HALVES = 25
NORMAL_95 = 1.96
SEED = 20260123


@dataclass(frozen=True)
class Dependence:
    """A surrogate model's mean prediction at levels of a factor, from low to high or in the study's order, in the outcome's unit.

    ``low`` and ``high`` are a pointwise 95 % band by the spread over 25 random halves of the configurations: how much other
    configurations would change the curve, not how wrong the model is.
    """

    axis: FactorAxis
    levels: Sequence[Level]
    mean: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class SurrogateModel:
    """What was learnt of one outcome: the error of every kind of model, the best first, and the best one's partial dependences.

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


def surrogate_model(study: StudyRecord, tried: DesignMatrix, outcome: Outcome) -> SurrogateModel:
    """Choose a surrogate model by cross-validation and compute its partial dependences.

    It is fitted to the configurations that have a value, or to 600 of them, drawn at random.
    """
    generator = np.random.default_rng(SEED)
    rows = some_of(np.flatnonzero(tried.known(outcome)), MOST_CONFIGURATIONS, generator)
    values_N, places_NF = tried.values[outcome][rows], tried.places_NF[rows]
    inputs_NC = model_inputs(tried.axes, places_NF)
    if len(rows) < FEWEST_CONFIGURATIONS or np.ptp(values_N) == 0:
        return SurrogateModel(outcome, len(rows))
    learnt = SurrogateModel(outcome, len(rows), scores(inputs_NC, values_N))
    if not learnt.explains_something:
        return learnt
    shown = [i for i in range(len(tried.axes)) if not np.isnan(places_NF[:, i]).all()]
    queries = [_query(study, tried.axes, i, places_NF, generator) for i in shown]
    return replace(learnt, dependences=_dependences(learnt.scores[0].kind, inputs_NC, values_N, queries, generator))


def _dependences(
    kind: Kind, inputs_NC: Array, values_N: Array, queries: Sequence["_Query"], generator: np.random.Generator
) -> list[Dependence]:
    num = len(values_N)
    all_inputs = np.vstack([inputs_NC, *(query.inputs for query in queries)])
    means = _curves(fit(kind, inputs_NC, values_N)(all_inputs), num, queries)
    halves = [some_of(np.arange(num), num // 2, generator) for _ in range(NUM_HALVES)]
    of_halves = [_curves(fit(kind, inputs_NC[half], values_N[half])(all_inputs), num, queries) for half in halves]
    found = []
    for i, query in enumerate(queries):
        band = NORMAL_95 * np.std([curves[i] for curves in of_halves], axis=0, ddof=1)
        levels = [query.axis.level(place) for place in query.places]
        found.append(Dependence(query.axis, levels, means[i], means[i] - band, means[i] + band))
    return found


@dataclass(frozen=True)
class _Query:
    """Places of a factor, and for each in turn the model's inputs of the background with the factor there.

    ``active`` are the rows of the configurations that have the factor, ``background`` those of them that are drawn.
    """

    axis: FactorAxis
    places: Sequence[float]
    inputs: Array
    active: Rows
    background: Rows


def _query(study: StudyRecord, axes: Sequence[FactorAxis], i: int, places_NF: Array, generator: np.random.Generator) -> _Query:
    """What hangs on the factor's level is in the middle of its range."""
    active = np.flatnonzero(~np.isnan(places_NF[:, i]))
    rows = some_of(active, MOST_BACKGROUND, generator)
    background = places_NF[rows]
    dependent = _dependent_on(study, axes[i].factor)
    background[:, [j for j, axis in enumerate(axes) if axis.factor in dependent]] = np.nan
    places = axes[i].grid(NUM_PLACES)
    blocks = []
    for place in places:
        background[:, i] = place
        blocks.append(model_inputs(axes, background))
    return _Query(axes[i], places, np.vstack(blocks), active, rows)


def _dependent_on(study: StudyRecord, factor: str) -> set[str]:
    """The factors whose conditions name this one, or one of those."""
    children = {name for name, conditions in study.conditions.items() if factor in conditions}
    return children.union(*(_dependent_on(study, child) for child in children))


def _curves(predictions: Array, num_rows: int, queries: Sequence[_Query]) -> list[Array]:
    """The mean over the background at every place, a curve for every query.

    The background is a draw; how far its own mean prediction is from that of all configurations is taken off (a control variate),
    which is exact where factors do not interact.

    Args:
        predictions: Of the configurations themselves, then of each query's inputs.
        num_rows: How many configurations there are.
        queries: In the order of the predictions.
    """
    curves, start = [], num_rows
    for query in queries:
        block = predictions[start : start + len(query.inputs)]
        offset = predictions[query.active].mean() - predictions[query.background].mean()
        curves.append(block.reshape(len(query.places), -1).mean(axis=1) + offset)
        start += len(query.inputs)
    return curves
