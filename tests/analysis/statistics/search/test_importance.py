"""Importance: against Optuna's evaluators, against an analysis of variance by hand, and on surfaces whose truth is planted."""

import warnings
from collections.abc import Callable

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator
from optuna.trial import create_trial
from sklearn.ensemble import RandomForestRegressor

from analysis.statistics.data.outcomes import ACCURACY_OUTCOME
from analysis.statistics.search.design_matrix import DesignMatrix, model_inputs
from analysis.statistics.search.factor_axes import Array, FactorAxis
from analysis.statistics.search.fanova import main_effect_shares
from analysis.statistics.search.importance import FEWEST_CONFIGURATIONS, Importance, importances
from analysis.statistics.search.ped_anova import best_of, cells_on, ped_anova_share

LEVELS = ("s", "m", "l")


def sample_of_surface(places_NF: Array, surface: Callable[[Array], Array], *, noise: float = 0.05) -> DesignMatrix:
    """Ranges from 0 to 1, their values from a surface."""
    generator = np.random.default_rng(3)
    axes = [FactorAxis(f"x{i}") for i in range(places_NF.shape[1])]
    values = surface(places_NF) + noise * generator.normal(size=len(places_NF))
    return DesignMatrix(axes, places_NF, {ACCURACY_OUTCOME: values}, np.zeros(len(places_NF), dtype=np.bool_))


def of_accuracy(tried: DesignMatrix, *, with_pruned: bool = True) -> list[Importance]:
    return importances(tried, ACCURACY_OUTCOME, with_pruned=with_pruned)


def optuna_study(tried: DesignMatrix, distributions: list[optuna.distributions.BaseDistribution]) -> optuna.Study:
    """The same configurations as Optuna's own trials, less being better."""
    study = optuna.create_study()
    for places, value in zip(tried.places_NF, tried.values[ACCURACY_OUTCOME], strict=True):
        levels = [axis.level(place) for axis, place in zip(tried.axes, places, strict=True)]
        params = {axis.factor: level for axis, level in zip(tried.axes, levels, strict=True)}
        named = {axis.factor: distribution for axis, distribution in zip(tried.axes, distributions, strict=True)}
        study.add_trial(create_trial(params=params, distributions=named, value=float(value)))
    return study


def test_fanova_equals_optunas_on_ranges() -> None:
    """The same forest gives the same shares as Optuna's evaluator, which goes through every tree step by step."""
    places = np.random.default_rng(0).random((40, 3))
    tried = sample_of_surface(places, lambda x: x[:, 0] + 2 * x[:, 1] * x[:, 2])
    study = optuna_study(tried, [FloatDistribution(0, 1)] * 3)
    theirs = FanovaImportanceEvaluator(n_trees=5, max_depth=64, seed=7).evaluate(study)
    forest = RandomForestRegressor(n_estimators=5, max_depth=64, random_state=7).fit(places, tried.values[ACCURACY_OUTCOME])
    ours = main_effect_shares(forest, tried.axes)
    assert ours == pytest.approx([theirs[axis.factor] for axis in tried.axes], rel=1e-9)


def test_fanova_of_a_full_design_is_its_analysis_of_variance() -> None:
    """A tree that has learnt all cells of a balanced design gives each factor its part of the sum of squares."""
    axes = [FactorAxis("number", (2, 4, 8, 16), num_values=4), FactorAxis("layout", LEVELS)]
    cells = np.array([(axes[0].place(number), axes[1].place(layout)) for number in axes[0].levels for layout in LEVELS])
    table = np.array([[1.0, 2.0, 6.0], [2.0, 2.0, 5.0], [4.0, 4.0, 4.0], [9.0, 5.0, 4.0]])
    forest = RandomForestRegressor(n_estimators=1, bootstrap=False, random_state=0)
    forest.fit(model_inputs(axes, cells), table.ravel())
    variances = [table.mean(axis=1).var(), table.mean(axis=0).var()]
    assert main_effect_shares(forest, axes) == pytest.approx(np.array(variances) / table.var())


def test_ped_anova_equals_optunas_as_a_share() -> None:
    """On a range, a range with steps and levels: Optuna's importance over γ (1 - γ), the variance of being among the best."""
    generator = np.random.default_rng(5)
    axes = [FactorAxis("lr", low=0.001, high=1.0, is_log=True), FactorAxis("steps", low=2, high=9, is_integer=True, num_values=8)]
    axes.append(FactorAxis("layout", LEVELS))
    places = np.column_stack([generator.random(100), generator.integers(8, size=100) / 7, generator.integers(3, size=100)])
    values = (places[:, 0] - 0.4) ** 2 + 0.1 * places[:, 2] + 0.05 * generator.normal(size=100)
    tried = DesignMatrix(axes, places, {ACCURACY_OUTCOME: values}, np.zeros(100, dtype=np.bool_))
    study = optuna_study(tried, [FloatDistribution(0.001, 1, log=True), IntDistribution(2, 9), CategoricalDistribution(LEVELS)])
    with warnings.catch_warnings(action="ignore"):
        theirs = PedAnovaImportanceEvaluator().evaluate(study)
    is_best = best_of(values)
    for i, axis in enumerate(axes):
        cells, num_cells = cells_on(axis, places[:, i])
        share = ped_anova_share(cells, num_cells, is_best, is_ordered=axis.is_ordered)
        assert share == pytest.approx(theirs[axis.factor] / (0.1 * 0.9), rel=1e-6)


def test_the_one_factor_that_matters_is_found() -> None:
    """It has nearly all of the variance and stands above chance; the others are near 0."""
    one, *others = of_accuracy(sample_of_surface(np.random.default_rng(1).random((60, 4)), lambda x: x[:, 0]))
    assert one.fanova is not None
    assert one.ped_anova is not None
    assert one.fanova.value > 0.85
    assert one.fanova.is_above_chance
    assert one.ped_anova.is_above_chance
    assert one.fanova.standard_error < 0.1
    assert max(other.fanova.value for other in others if other.fanova) < 0.05
    assert max(other.ped_anova.value for other in others if other.ped_anova) < 0.2 * one.ped_anova.value


def test_a_conditional_factor_is_judged_where_it_is_active() -> None:
    """Half of the configurations have it, and there it is all that matters."""
    places = np.random.default_rng(2).random((80, 3))
    places[::2, 2] = np.nan
    always, _, conditional = of_accuracy(sample_of_surface(places, lambda x: np.nan_to_num(x[:, 2], nan=0.5)))
    assert (always.num_configurations, conditional.num_configurations) == (80, 40)
    assert conditional.fanova is not None
    assert conditional.fanova.value > 0.85


def test_pruned_configurations_are_not_among_the_best() -> None:
    """PED-ANOVA counts them as worse than the rest where it is told so: here they are all below a half, and nothing else is."""
    places = np.random.default_rng(4).random((100, 1))
    tried = sample_of_surface(places, lambda x: 0 * x[:, 0], noise=1.0)
    is_pruned = places[:, 0] < 0.5
    values = np.where(is_pruned, np.nan, tried.values[ACCURACY_OUTCOME])
    pruned = DesignMatrix(tried.axes, places, {ACCURACY_OUTCOME: values}, is_pruned)
    (used,), (left_out,) = of_accuracy(pruned), of_accuracy(pruned, with_pruned=False)
    assert (used.num_ranked, left_out.num_ranked) == (100, int((~is_pruned).sum()))
    assert used.ped_anova is not None
    assert left_out.ped_anova is not None
    assert used.ped_anova.is_above_chance
    assert not left_out.ped_anova.is_above_chance


@pytest.mark.parametrize(("num", "noise"), [(FEWEST_CONFIGURATIONS - 1, 1.0), (FEWEST_CONFIGURATIONS, 0.0)])
def test_too_few_configurations_or_one_value_say_nothing(num: int, noise: float) -> None:
    """A factor then has no share."""
    (one,) = of_accuracy(sample_of_surface(np.random.default_rng(0).random((num, 1)), lambda x: 0 * x[:, 0], noise=noise))
    assert (one.fanova, one.ped_anova) == (None, None)


def test_importance_is_the_same_every_time() -> None:
    """Two calls give the same numbers to the last bit."""
    tried = sample_of_surface(np.random.default_rng(9).random((20, 1)), lambda x: x[:, 0])
    assert of_accuracy(tried) == of_accuracy(tried)
