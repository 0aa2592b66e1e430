"""The sign-flip test against the enumeration of all patterns, and its interval against the test itself."""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics.effects.sign_flips import NUM_RANDOM_FLIPS, sign_flip_test

ROUNDED = st.integers(-1000, 1000).map(lambda n: n / 100)


def enumerated(differences: Sequence[float]) -> float:
    """The share of all sign patterns whose sum is at least as far from 0."""
    observed = abs(sum(differences))
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in product((1, -1), repeat=len(differences))
    ]
    return sum(value >= observed - 1e-9 for value in sums) / len(sums)


@given(st.lists(ROUNDED, min_size=1, max_size=8))
def test_it_is_the_enumeration(differences: list[float]) -> None:
    """The exact p is the share of all patterns whose sum is at least as far from 0."""
    assert sign_flip_test(differences, np.random.default_rng(0)).p() == pytest.approx(enumerated(differences))


@settings(deadline=None)
@given(st.lists(ROUNDED, min_size=1, max_size=8), st.integers(-100_000, 100_000), st.floats(0.01, 0.5))
def test_the_interval_are_the_shifts_that_are_not_rejected(differences: list[float], shift: int, level: float) -> None:
    """A shift is inside if and only if the test of the differences from it has a p of at least the level."""
    at = shift / 10_000 + 1e-6  # on no bound, where rounding would decide
    low, high = sign_flip_test(differences, np.random.default_rng(0)).interval(level)
    p = enumerated([one - at for one in differences])
    assert (low <= at <= high) == (p >= level)


def test_the_bounds_belong_to_the_interval() -> None:
    """Of six differences of one sign the smallest and the largest are the bounds at 5 %: there p is 4 / 64, beyond it 2 / 64."""
    test = sign_flip_test([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], np.random.default_rng(0))
    assert test.interval(0.05) == (1, 6)
    assert [test.p(shift) for shift in (0.0, 0.99, 1.0, 6.0, 6.01)] == [2 / 64, 2 / 64, 4 / 64, 4 / 64, 2 / 64]


def test_extremes() -> None:
    """Six equal signs give 2/64; no difference at all gives 1, and so does a sum of 0 that rounding hides."""
    generator = np.random.default_rng(0)
    assert sign_flip_test([1, 2, 3, 4, 5, 6], generator).p() == 2 / 64
    assert sign_flip_test([0, 0, 0], generator).p() == 1
    assert sum([0.3, -0.1, -0.2]) != 0
    assert sign_flip_test([0.3, -0.1, -0.2], generator).p() == 1


def test_few_pairs_reject_nothing() -> None:
    """Five pairs have no p below 2 / 32, so that no shift is rejected at 5 %."""
    assert sign_flip_test([1.0, 1.1, 0.9, 1.2, 1.0], np.random.default_rng(0)).interval(0.05) == (-math.inf, math.inf)


def test_many_pairs_are_sampled() -> None:
    """p is never 0; both p and interval are near those of the t-test, and agree with each other."""
    assert sign_flip_test(list(range(1, 31)), np.random.default_rng(0)).p() >= 1 / (1 + NUM_RANDOM_FLIPS)
    noise = np.random.default_rng(1).normal(0.3, 1, size=30)
    test = sign_flip_test(noise, np.random.default_rng(0))
    expected = stats.ttest_1samp(noise, 0)
    assert test.p() == pytest.approx(expected.pvalue, abs=0.02)
    assert test.interval(0.05) == pytest.approx(tuple(expected.confidence_interval(0.95)), abs=0.05)
    low, high = test.interval(test.p())
    assert min(abs(low), abs(high)) < 0.001
