"""Numbers, levels and settings as a person reads them."""

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from analysis.reporting import formatting
from analysis.reporting.figures import effects
from analysis.statistics.data.estimates import Estimate
from analysis.statistics.data.outcomes import ACCURACY_OUTCOME, Outcome
from analysis.statistics.summary import summarise
from studies.run_record import Level
from tests.analysis.examples import run_of, study_of

ENERGY = Outcome("energy_pj", "energy_pj", "minimize")


def test_plain_numbers_by_hand() -> None:
    """Four significant digits, written out unless a power of ten is shorter to read."""
    numbers = [0, 12.3456, 0.00123456, 1234567, -3.5, 2e9, 3e-5]
    assert [formatting.plain_number(number) for number in numbers] == "0 12.35 0.001235 1235000 -3.5 2.000e+09 3.000e-05".split()
    assert formatting.plain_number(12.3456, "+") == "+12.35"
    assert formatting.plain_number(-1.0, "+") == "-1"
    assert formatting.plain_number(math.nan) == "nan"


def test_shares_are_never_none_or_all() -> None:
    """What hardly ever or nearly always happened in draws is bounded, and never said to be impossible, certain, or 1 %."""
    shares = [0.0, 0.0001, 0.0099, 0.01, 0.425, 0.99, 0.9998, 1.0, math.nan]
    words = ["< 1 %", "< 1 %", "< 1 %", "1 %", "42 %", "99 %", "> 99 %", "> 99 %", "–"]
    assert [formatting.share_in_words(share) for share in shares] == words


@given(st.floats(-1e12, 1e12))
def test_plain_numbers_are_close(number: float) -> None:
    """What is read is the number, to four digits."""
    assert float(formatting.plain_number(number)) == pytest.approx(number, rel=5.1e-4, abs=1e-300)


def test_fractions_are_percent_and_others_plain() -> None:
    """An accuracy has a unit and points, an energy neither; one value has no interval."""
    estimate = Estimate(0.9612, 0.954, 0.9684, 3)
    assert formatting.value(ACCURACY_OUTCOME, estimate) == "96.12 (95.40 to 96.84)"
    assert formatting.difference(ACCURACY_OUTCOME, estimate) == "+96.12 (+95.40 to +96.84)"
    assert formatting.value(ENERGY, estimate) == "0.9612 (0.954 to 0.9684)"
    assert formatting.value(ENERGY, Estimate(5.0, math.nan, math.nan, 1)) == "5"
    assert formatting.value(ENERGY, None) == "–"
    assert [formatting.unit(outcome) for outcome in (ACCURACY_OUTCOME, ENERGY)] == [" %", ""]


def test_levels_from_a_range_are_rounded_and_others_never() -> None:
    """A drawn learning rate has four digits, a level that was chosen all of its own; what is inactive is a dash."""
    study = study_of("random", {"lr": [], "scale": [0.015625], "bias": [None]}, [], ranges={"lr": "0 to 1"})
    levels: dict[str, Level] = {"lr": 0.015625, "scale": 0.015625}
    assert formatting.configuration_in_words(study, levels) == "lr=0.01562 scale=0.015625"
    assert formatting.level_of(study, "bias", levels) == "–"
    assert formatting.level_of(study, "bias", {"bias": None}) == "null"


def test_half_intervals_have_two_digits() -> None:
    """The mean is as exact as they are; one value, or an interval of no width, has none."""
    assert formatting.plus_minus(Estimate(248714.2, 244862.1, 252566.3, 10)) == "248714 ± 3852"
    assert formatting.plus_minus(Estimate(1.87234, 1.81375, 1.93093, 10)) == "1.872 ± 0.059"
    assert formatting.plus_minus(Estimate(1.5e-9, 1.4e-9, 1.6e-9, 2)) == "1.500e-09 ± 1.000e-10"
    assert formatting.plus_minus(Estimate(2.0, 2.0, 2.0, 3)) == formatting.plus_minus(Estimate(2.0, math.nan, math.nan, 1)) == "2"
    assert formatting.plus_minus(None) == "–"


def test_settings_are_spelt_out() -> None:
    """Nested mappings and lists keep to one line."""
    assert (
        formatting.setting({"sampler": {"name": "tpe", "seed": None}, "at": [1, True]})
        == "sampler (name tpe, seed null), at (1, true)"
    )


def test_figures_of_many_factors_and_outcomes_have_rows() -> None:
    """Panels beyond three factors, or two outcomes, go below, so that none becomes too small to read."""
    factors: dict[str, list[Level]] = {name: [0, 1] for name in "abcd"}
    runs = [run_of(dict(zip("abcd", cell, strict=True)), 0, energy=1.0) for cell in product((0, 1), repeat=4)]
    objectives = {"val/accuracy": "maximize", "sparsity/overall": "maximize", "energy": "minimize"}
    summary = summarise(study_of("full_factorial", factors, runs, objectives=objectives), runs)
    few = summarise(study_of("full_factorial", {"a": [0, 1]}, runs[:1] + runs[8:9]), runs[:1] + runs[8:9])
    assert height(effects.accuracy_against_t(summary)) == pytest.approx(2 * height(effects.accuracy_against_t(few)), rel=0.1)
    assert height(effects.differences(summary)) > 1.5 * height(effects.differences(few))


def height(figure: Figure | None) -> float:
    return float(figure.get_figheight()) if figure else 0.0
