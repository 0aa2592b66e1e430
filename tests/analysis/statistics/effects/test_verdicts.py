"""Verdicts in words: what is said is what the intervals and tests say."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.reporting.topics.effects import effect_verdicts
from analysis.statistics.effects.effect_sizes import hedges_g
from analysis.statistics.effects.power import seeds_needed, smallest_effect
from analysis.statistics.summary import summarise
from studies.run_record import ACCURACY, Direction, Level
from tests.analysis.examples import run_of, study_of

NOISE = np.random.default_rng(0).normal(size=(5, 10))


def sentence(
    effects: Mapping[Level, float],
    noise: float = 0.001,
    num_seeds: int = 10,
    metric: str = ACCURACY,
    direction: Direction = "maximize",
) -> str:
    """What is said of a factor x whose levels have these means; the first is the baseline."""
    runs = [
        run_of({"x": level}, seed, **{metric.replace(ACCURACY, "accuracy"): mean + noise * NOISE[place, seed]})
        for place, (level, mean) in enumerate(effects.items())
        for seed in range(num_seeds)
    ]
    objectives = {metric: direction}
    return next(
        effect_verdicts(summarise(study_of("one_factor_at_a_time", {"x": list(effects)}, runs, objectives=objectives), runs))
    )


def test_more_of_a_number_helps() -> None:
    """Levels below the baseline are worse, above it better: one statement, with a size for each, in points."""
    text = sentence({8: 0.8, 4: 0.78, 16: 0.81})
    assert text.startswith("validation accuracy by x (baseline 8): more x help (-2.0")
    assert "points at 4, 95 % -2." in text
    assert "; +1.0" in text or "; +0.9" in text


def test_a_larger_fraction_hurts_what_is_minimised() -> None:
    """Of an outcome to be minimised the higher is the worse; numbers with decimals are larger, not more."""
    text = sentence({0.5: 10.0, 1.0: 12.0}, metric="energy", direction="minimize")
    assert text.startswith("energy by x (baseline 0.5): a larger x hurts (+1.999 at 1, 95 % +")


@pytest.mark.parametrize("effects", [{8: 0.8, 4: 0.82, 16: 0.82}, {"M": 0.8, "A": 0.82}, {False: 0.8, True: 0.82}])
def test_levels_that_have_no_order_are_judged_one_by_one(effects: dict[Level, float]) -> None:
    """Names, switches, and numbers of which the middle is the worst."""
    text = sentence(effects)
    assert "more x" not in text
    assert text.count(" helps (+") == len(effects) - 1


def test_no_effect_is_said_with_its_bound() -> None:
    """All intervals within half a point: no effect larger than the farthest bound; equal values have no difference."""
    assert "(baseline M): no effect larger than 0." in sentence({"M": 0.8, "A": 0.8001, "B": 0.8})
    assert sentence({"M": 0.8, "A": 0.8}, noise=0.0).endswith("no difference in any seed.")
    assert "no effect larger than" in sentence({"M": 100.0, "A": 100.1}, noise=0.1, metric="energy")
    assert "undecided at A" in sentence({"M": 100.0, "A": 100.1}, noise=3.0, metric="energy")


def test_what_is_undecided_is_said_with_how_many_seeds_would_do() -> None:
    """The interval reaches beyond the margin; the number of seeds is that of the power at the observed difference."""
    text = sentence({"M": 0.8, "A": 0.83}, noise=0.02, num_seeds=6)
    assert "undecided at A (" in text
    assert "more seed" in text
    assert "would decide it if the true difference is the measured one" in text
    assert "in one seed, which says nothing about other seeds" in sentence({"M": 0.8, "A": 0.81}, num_seeds=1)


def test_a_factor_of_one_level_has_nothing_to_compare() -> None:
    """The sentence says so."""
    assert sentence({"M": 0.8}) == "validation accuracy by x (baseline M): nothing to compare."


@settings(max_examples=25, deadline=None)
@given(st.floats(0.05, 3), st.integers(1, 8))
def test_the_seeds_needed_are_the_fewest(standardised: float, num_contrasts: int) -> None:
    """With these the smallest detectable effect is at most the difference, with one less it is larger, or there is none."""
    num = seeds_needed(standardised, num_contrasts)
    if num is None:
        effect = smallest_effect(1000, num_contrasts, 1.0)
        assert effect is not None
        assert effect > standardised
        return
    assert (smallest_effect(num, num_contrasts, 1.0) or math.inf) <= standardised
    assert num == 1 or (smallest_effect(num - 1, num_contrasts, 1.0) or math.inf) > standardised


def test_no_difference_is_never_settled() -> None:
    """No number of seeds finds a difference of 0."""
    assert seeds_needed(0.0, 1) is None


def test_hedges_g_by_hand() -> None:
    """Means 2 and 4, standard deviations 1 and √7: a difference of 2 over √((1 + 7) / 2) = 2, times 1 - 3/15."""
    assert hedges_g([1, 2, 3], [1, 5, 6]) == pytest.approx(0.8)


@pytest.mark.parametrize(("reference", "level"), [([1.0], [2.0]), ([1.0, 1.0], [2.0, 2.0]), ([], [])])
def test_there_is_no_effect_size_without_spread(reference: Sequence[float], level: Sequence[float]) -> None:
    """One pair or none has no spread, equal values have none either."""
    assert math.isnan(hedges_g(reference, level))
