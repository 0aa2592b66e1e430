"""How surely a configuration is on the front, and the hypervolume, against numbers worked out by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from analysis.statistics.data.outcomes import ACCURACY_OUTCOME, SPARSITY_OUTCOME, Outcome
from analysis.statistics.search.design_matrix import DesignMatrix
from analysis.statistics.search.factor_axes import Array
from analysis.statistics.search.front_probability import NUM_RESAMPLES, by_added_noise, by_resampled_seeds, replicate_noise
from analysis.statistics.search.hypervolume import hypervolume, progress
from analysis.statistics.search.pareto import dominated

TOLERANCE = 4.5 / (2 * NUM_RESAMPLES**0.5)
"""No estimate of a probability is farther from it than 4.5 standard errors, but once in 100,000."""
COST = Outcome("cost", "cost", "minimize")


def test_front_probability_is_that_of_all_resamples() -> None:
    """Of three seeds there are 27 resamples: the share of them in which nothing beats the widened means."""
    losses = np.array([[[0.0, 1], [0, 1], [0, 1]], [[-1.0, 1], [-2, 1], [2, 1]], [[5.0, 0], [5, 0], [5, 0]]])
    mean = losses.mean(axis=1)
    drawn = [losses[:, list(seeds)].mean(axis=1) for seeds in itertools.product(range(3), repeat=3)]
    expected = np.mean([~dominated(mean + math.sqrt(1.5) * (one - mean)) for one in drawn], axis=0)
    assert 0.2 < expected[0] < 0.8
    assert by_resampled_seeds(losses) == pytest.approx(expected, abs=TOLERANCE)


def test_seeds_are_resampled_in_blocks() -> None:
    """What a seed does to all configurations alike cannot take the better one from the front."""
    seeds = np.array([0.0, 10, -10, 3])
    losses = np.stack([np.stack([seeds, seeds], axis=1), np.stack([seeds + 0.1, seeds + 0.1], axis=1)])
    found = by_resampled_seeds(losses)
    assert found is not None
    assert found.tolist() == [1, 0]


def test_front_probability_needs_two_seeds() -> None:
    """One seed tells nothing of its spread, neither of all nor of one configuration; one without a value has no share either."""
    assert by_resampled_seeds(np.zeros((3, 1, 2))) is None
    found = by_resampled_seeds(np.array([[[1.0, 2], [1, 2]], [[math.nan, 1], [math.nan, 1]]]))
    assert found is not None
    assert found[0] == 1
    assert math.isnan(found[1])
    single = by_resampled_seeds(np.array([[[1.0, 2], [1, 2]], [[0, 3], [math.nan, math.nan]]]))
    assert single is not None
    assert math.isnan(single[1])


def test_added_noise_gives_the_normal_probability() -> None:
    """Of two values d apart with normal noise, the worse one is truly better with probability Φ(-d / √2)."""
    noise = np.column_stack([norm.ppf((np.arange(2000) + 0.5) / 2000), np.zeros(2000)])
    losses = np.array([[0.0, 1], [0.8, 1], [50, 1], [math.nan, 0]])
    found = by_added_noise(losses, np.ones(4), noise)
    worse = norm.cdf(-0.8 / math.sqrt(2))
    assert found[:3] == pytest.approx([1 - worse, worse, 0], abs=TOLERANCE)
    assert math.isnan(found[3])


def test_replicate_noise_has_its_true_size() -> None:
    """What configurations and seeds do is taken out, whatever its size; what is left is scaled to the noise that was planted."""
    generator = np.random.default_rng(8)
    noise = generator.normal(size=(40, 6, 2)) * [1.0, 3.0]
    losses = noise + 50 * generator.normal(size=(40, 1, 2)) + 20 * generator.normal(size=(1, 6, 2))
    losses[0, 0] = math.nan
    found = replicate_noise(losses)
    assert found is not None
    assert found.std(axis=0) == pytest.approx([1, 3], rel=0.15)
    assert len(found) == 239


@pytest.mark.parametrize("shape", [(1, 4, 2), (2, 4, 2), (5, 1, 2)])
def test_too_few_replicates_tell_no_noise(shape: tuple[int, int, int]) -> None:
    """Fewer than 4 degrees of freedom are not taken for a noise."""
    assert replicate_noise(np.random.default_rng(0).random(shape)) is None


def sample_of_values(accuracy: list[float], sparsity: list[float], cost: list[float] | None = None) -> DesignMatrix:
    values = {ACCURACY_OUTCOME: np.array(accuracy), SPARSITY_OUTCOME: np.array(sparsity)}
    values |= {COST: np.array(cost)} if cost else {}
    return DesignMatrix([], np.empty((len(accuracy), 0)), values, np.zeros(len(accuracy), dtype=np.bool_))


def test_hypervolume_over_time() -> None:
    """A share of the box between the worst and the best values; what broke a limit or has not finished adds nothing."""
    tried = sample_of_values([0.5, 0.7, math.nan, 0.9, 0.6, 0.99], [0.5, 0.7, 0.9, 0.6, 0.9, 0.99])
    counts = np.array([True, True, True, True, True, False])
    found = progress(tried, (ACCURACY_OUTCOME, SPARSITY_OUTCOME), counts)
    assert found is not None
    assert found.reached == pytest.approx([0, 0.25, 0.25, 0.375, 0.5, 0.5])
    assert found.reference == pytest.approx({ACCURACY_OUTCOME: 0.5, SPARSITY_OUTCOME: 0.5})
    assert (found.trials_until(0.5), found.trials_until(0.95)) == (2, 5)


def test_hypervolume_of_three_objectives() -> None:
    """Two boxes that overlap in one: by inclusion and exclusion; a minimised objective counts downwards."""
    tried = sample_of_values([0, 1, 0.5], [0, 0.5, 1], [10, 8, 9])
    found = progress(tried, (ACCURACY_OUTCOME, SPARSITY_OUTCOME, COST), np.ones(3, dtype=np.bool_))
    assert found is not None
    assert found.reached == pytest.approx([0, 0.5, 0.5 + 0.25 - 0.125])
    assert found.reference[COST] == 10


def test_one_objective_has_its_best_value() -> None:
    """In its own direction; nothing before the first result, and no history of nothing."""
    found = progress(sample_of_values([0], [0], [3]), (COST,), np.ones(1, dtype=np.bool_))
    assert found is not None
    costs = sample_of_values([0] * 4, [0] * 4, [math.nan, 3, 4, 2])
    found = progress(costs, (COST,), np.ones(4, dtype=np.bool_))
    assert found is not None
    assert math.isnan(found.reached[0])
    assert found.reached[1:] == [3, 3, 2]
    assert progress(costs, (COST,), np.zeros(4, dtype=np.bool_)) is None


POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8)


def counted(points: Array) -> float:
    """Of the cube's 125 cells, those that a point dominates."""
    cells = np.array(list(itertools.product(range(5), repeat=3)))
    return float(np.mean([np.any(np.all(points <= cell, axis=1)) for cell in cells]))


@given(POINTS)
def test_hypervolume_is_the_share_of_cells(points: list[tuple[int, int, int]]) -> None:
    """In three dimensions and, where the third is 0, in two."""
    for array in (np.array(points, dtype=np.float64), np.array([(a, b, 0) for a, b, _ in points], dtype=np.float64)):
        front = np.unique(array, axis=0)
        front = front[~dominated(front)]
        assert hypervolume(front / 5) == pytest.approx(counted(array))
    assert hypervolume(front[:, :2] / 5) == pytest.approx(counted(array))
