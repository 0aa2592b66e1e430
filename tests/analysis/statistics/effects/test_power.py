"""The smallest effect, against simulations of the very test that decides."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics.effects.contrasts import fewest_seeds
from analysis.statistics.effects.power import sd_of_differences, smallest_effect
from analysis.statistics.effects.sign_flips import sign_flip_test

NUM_STUDIES = 2000


@pytest.mark.parametrize(("num_seeds", "num_contrasts"), [(8, 1), (8, 3), (8, 5), (10, 1), (10, 7), (12, 3), (12, 7), (12, 20)])
def test_power_of_the_sign_flip_test(num_seeds: int, num_contrasts: int) -> None:
    """At the smallest effect the sign-flip test, at Holm's strictest level, finds 80 % of 2,000 simulated studies.

    The bounds are the 0.05th and 99.95th percentile of a binomial with 80 %, and 2 points more for the noncentral t.
    """
    generator = np.random.default_rng(num_seeds)
    effect = smallest_effect(num_seeds, num_contrasts, 0.02)
    assert effect is not None
    samples = generator.normal(effect, 0.02, size=(NUM_STUDIES, num_seeds))
    found = sum(sign_flip_test(list(sample), generator).p() * num_contrasts < 0.05 for sample in samples)
    low, high = stats.binom.ppf([0.0005, 0.9995], NUM_STUDIES, 0.8) / NUM_STUDIES
    assert 0.74 < low - 0.02 <= found / NUM_STUDIES <= high + 0.02 < 0.86


def test_one_sign_pattern_by_hand() -> None:
    """6 seeds and 1 contrast decide only if all differences have one sign: Φ(δ)**6 = 0.8 at δ = 1.793."""
    effect = smallest_effect(6, 1, 1.0)
    assert effect == pytest.approx(float(stats.norm.ppf(0.8 ** (1 / 6))), abs=0.02)


def test_many_seeds_by_hand() -> None:
    """With 100 seeds and 1 contrast it is nearly the normal test's (1.960 + 0.842) / √100."""
    assert smallest_effect(100, 1, 1.0) == pytest.approx(0.2802, rel=0.02)


@given(st.integers(1, 40), st.integers(1, 300))
def test_none_where_no_p_can_be_small_enough(num_seeds: int, num_contrasts: int) -> None:
    """There is a smallest effect, and a finite one above 0, if and only if there are seeds enough for significance."""
    effect = smallest_effect(num_seeds, num_contrasts, 1.0)
    assert (effect is None) == (num_seeds < fewest_seeds(num_contrasts))
    assert effect is None or 0 < effect < 10


def test_what_the_effect_depends_on() -> None:
    """It grows with the spread, the contrasts and the power; averaging m cells divides it by √m; unknown spread gives none."""
    effect = smallest_effect(10, 3, 0.02)
    assert effect is not None
    assert smallest_effect(10, 3, 0.04) == pytest.approx(2 * effect)
    assert smallest_effect(10, 3, 0.02, num_cells_averaged=4) == pytest.approx(effect / 2)
    by_contrasts = [smallest_effect(12, num, 1.0) or 0 for num in (1, 2, 5, 20, 50)]
    assert by_contrasts == sorted(by_contrasts)
    by_power = [smallest_effect(10, 7, 1.0, power=power) or 0 for power in (0.5, 0.8, 0.9, 0.99)]
    assert by_power == sorted(by_power)
    assert smallest_effect(10, 3, 0.0) == 0
    assert smallest_effect(10, 3, math.nan) is None


def test_bad_arguments_are_named() -> None:
    """Counts below 1, probabilities outside (0, 1) and negative spreads are errors, with the rule first."""
    with pytest.raises(ValueError, match="must be at least 1, but got 0, 1 and 1"):
        smallest_effect(0, 1, 1.0)
    with pytest.raises(ValueError, match=r"must be inside \(0, 1\), but got 1 and 0.05"):
        smallest_effect(10, 1, 1.0, power=1)
    with pytest.raises(ValueError, match="sd_of_differences must be at least 0, but got -1"):
        smallest_effect(10, 1, -1.0)
    with pytest.raises(ValueError, match=r"a correlation must be in \[-1, 1\], but got 2"):
        sd_of_differences(1.0, 2)


def test_sd_of_differences_by_hand() -> None:
    """Independent cells give √2 times the spread of one, equally shifted ones none, opposite ones twice."""
    assert sd_of_differences(3.0) == pytest.approx(3 * math.sqrt(2))
    assert [sd_of_differences(3.0, correlation) for correlation in (0.5, 1, -1)] == pytest.approx([3, 0, 6])
