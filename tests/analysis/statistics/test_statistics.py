"""Intervals, contrasts and corrections against hand-worked numbers and SciPy."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics.data.estimates import mean_interval
from analysis.statistics.data.scales import Scale
from analysis.statistics.effects.contrasts import fewest_seeds, holm, holm_levels, paired_contrasts

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


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_each_p_is_below_its_level_where_holm_decides(p_values: list[float]) -> None:
    """The level of Holm's step and his corrected p decide alike; a level is at least that of Bonferroni."""
    for p, corrected, level in zip(p_values, holm(p_values), holm_levels(p_values), strict=True):
        assert (corrected < 0.05) == (p < level)
        assert 0.05 / len(p_values) <= level <= 0.05


def test_levels_by_hand() -> None:
    """Of four the first two are decided, at 0.05 / 4 and 0.05 / 3, and the others are tested at the third step."""
    assert holm_levels([0.001, 0.9, 0.012, 0.03]) == pytest.approx([0.0125, 0.025, 0.05 / 3, 0.025])


def paired(values: Sequence[Sequence[float]]) -> list[tuple[dict[int, float], dict[int, float]]]:
    """The first of these is the reference of the others."""
    reference, *levels = [dict(enumerate(of_level)) for of_level in values]
    return [(reference, level) for level in levels]


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 99).map(lambda n: n / 100), min_size=8, max_size=8), min_size=2, max_size=5),
    st.sampled_from(["linear", "logit", "log"]),
)
def test_an_interval_holds_no_difference_where_nothing_is_decided(values: list[list[float]], scale: Scale) -> None:
    """On every scale, of as many contrasts as there are: interval and corrected p never say different things."""
    for contrast in paired_contrasts(paired(values), scale=scale, num_images=100):
        difference = contrast.difference
        assert difference.low <= difference.mean <= difference.high
        assert contrast.is_decided == (not difference.low <= 0 <= difference.high)


def test_a_lower_level_is_not_beside_an_interval_that_holds_0() -> None:
    """All seven seeds are lower, one of them by 87 points: Student's t interval would reach to +16, that of the test does not."""
    levels = [0.94, 0.93, 0.945, 0.94, 0.92, 0.949, 0.08]
    (contrast,) = paired_contrasts(paired([[0.95] * 7, levels]), scale="logit", num_images=1000)
    assert contrast.corrected_p == 2 / 2**7
    assert mean_interval([level - 0.95 for level in levels]).high > 0
    assert -0.9 < contrast.difference.low < contrast.difference.mean < contrast.difference.high < 0


def test_accuracies_are_decided_on_both_scales() -> None:
    """Seven seeds win a point and one loses eight: the mean is lower, that of the logits higher, and nothing is decided."""
    (contrast,) = paired_contrasts(paired([[0.9] * 8, [0.91] * 7 + [0.82]]), scale="logit", num_images=1000)
    assert contrast.shift > 0
    assert contrast.difference.low < contrast.difference.mean < 0 < contrast.difference.high
    assert contrast.p == 1


def test_too_few_seeds_have_no_interval() -> None:
    """Five pairs reject no shift at 5 %: there is no interval, and no infinite one."""
    (contrast,) = paired_contrasts(paired([[0.1, 0.2, 0.3, 0.4, 0.5], [0.2, 0.4, 0.6, 0.5, 0.9]]))
    assert math.isnan(contrast.difference.low)
    assert math.isnan(contrast.difference.high)


def test_a_ratio_has_its_interval() -> None:
    """All seeds have 0.6 times the reference's spikes, which differ twentyfold: 40 % less, whatever their size."""
    reference = [1.0, 2.0, 5.0, 10.0, 20.0, 3.0]
    (contrast,) = paired_contrasts(paired([reference, [0.6 * value for value in reference]]), scale="log")
    assert (contrast.difference.mean, contrast.difference.low, contrast.difference.high) == pytest.approx((-0.4, -0.4, -0.4))


def test_a_count_of_0_is_compared_as_it_is() -> None:
    """It has no logarithm: differences are tested, and shown as shares of the reference's mean."""
    (contrast,) = paired_contrasts(paired([[2.0] * 6, [0.0, 1.0, 1.0, 1.0, 1.0, 1.0]]), scale="log")
    assert contrast.scale == "linear"
    assert contrast.difference.mean == pytest.approx(-7 / 12)
    assert contrast.difference.low == -1


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
