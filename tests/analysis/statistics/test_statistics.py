"""Intervals, contrasts and corrections against hand-worked numbers and SciPy."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics.data.estimates import mean_interval
from analysis.statistics.effects.contrasts import fewest_seeds, holm, paired_contrasts, sign_flip_p

ROUNDED = st.integers(-1000, 1000).map(lambda n: n / 100)


@given(st.lists(ROUNDED, min_size=3, max_size=12))
def test_interval_is_scipys(values: list[float]) -> None:
    """The interval equals SciPy's t interval."""
    if len(set(values)) == 1:
        return
    estimate = mean_interval(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert [estimate.low, estimate.high] == pytest.approx([low, high])


def test_interval_of_one_and_none() -> None:
    """One value has a mean and no interval; none is an error."""
    assert mean_interval([0.5]).mean == 0.5
    assert math.isnan(mean_interval([0.5]).low)
    with pytest.raises(ValueError, match="at least 1 value"):
        mean_interval([])


@given(st.lists(ROUNDED, min_size=1, max_size=8))
def test_sign_flip_is_the_enumeration(differences: list[float]) -> None:
    """The exact p is the share of all sign patterns whose mean is at least as far from 0."""
    observed = abs(sum(differences))
    patterns = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in product((1, -1), repeat=len(differences))
    ]
    expected = sum(value >= observed - 1e-9 for value in patterns) / len(patterns)
    assert sign_flip_p(differences, np.random.default_rng(0)) == pytest.approx(expected)


def test_sign_flip_extremes() -> None:
    """Six equal signs give 2/64; no difference at all gives 1; many pairs are sampled, and never give 0."""
    generator = np.random.default_rng(0)
    assert sign_flip_p([1, 2, 3, 4, 5, 6], generator) == 2 / 64
    assert sign_flip_p([0, 0, 0], generator) == 1
    assert 0 < sign_flip_p(list(range(1, 31)), generator) < 0.001
    noise = list(np.random.default_rng(1).normal(size=30))
    assert sign_flip_p(noise, generator) == pytest.approx(stats.ttest_1samp(noise, 0).pvalue, abs=0.03)


def test_holm_by_hand() -> None:
    """Holm's textbook example; a p-value that is none stays none and does not count."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    corrected = holm([0.01, math.nan, 0.04])
    assert corrected[0] == pytest.approx(0.02)
    assert math.isnan(corrected[1])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_contrasts_are_paired_by_seed() -> None:
    """Only seeds that both have count, whatever their order; a level without any is no contrast."""
    baseline = {0: 0.5, 1: 0.6, 2: 0.9}
    up, alone = paired_contrasts([(baseline, {2: 1.0, 1: 0.7, 7: 0.1}), (baseline, {8: 0.3})])
    assert up.difference.num_values == 2
    assert up.difference.mean == pytest.approx(0.1)
    assert alone.difference.num_values == 0
    assert math.isnan(alone.p)
    assert up.corrected_p == up.p


def test_fewest_seeds() -> None:
    """An exact paired test needs 6 seeds for one contrast, 9 for seven (7 * 2/2**9 = 0.027)."""
    assert [fewest_seeds(n) for n in (1, 2, 7, 100)] == [6, 7, 9, 12]


def test_false_positives_of_a_family() -> None:
    """On 400 studies without any effect (10 seeds, 5 levels, one shared baseline) a family errs at most as often as promised.

    The threshold is the 99.9th percentile of a binomial with the promised 5 %.
    """
    generator = np.random.default_rng(0)
    num_errors = 0
    for _ in range(400):
        cells = generator.standard_t(3, size=(6, 10)) + generator.normal(size=10)  # heavy tails, block effects
        baseline, *levels = [dict(enumerate(cell)) for cell in cells]
        num_errors += any(contrast.corrected_p < 0.05 for contrast in paired_contrasts([(baseline, level) for level in levels]))
    assert num_errors <= stats.binom.ppf(0.999, 400, 0.05)
