"""Factors as numbers between 0 and 1."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.statistics.search.factor_axes import FactorAxis, factor_axes
from studies.run_record import Level
from tests.analysis.examples import study_of

FACTORS: dict[str, list[Level]] = {"lr": [], "width": [], "steps": [16, 4, 8], "bias": [True, False, None]}
RANGES = {"lr": "0.001 to 0.1, log", "width": "2 to 10 in steps of 4"}
BOUNDS = {
    "lr": {"low": 0.001, "high": 0.1, "log": True, "step": None, "integer": False},
    "width": {"low": 2, "high": 10, "log": False, "step": 4, "integer": True},
}
CELLS: list[dict[str, Level]] = [{"lr": 0.01, "width": 2, "steps": 4, "bias": True}, {"lr": 0.05, "steps": 8, "bias": None}]


def test_axes_of_a_study() -> None:
    """A range stands in its own scale; levels that are numbers have an order, others an indicator each."""
    lr, width, steps, bias = factor_axes(study_of("random", FACTORS, [], ranges=RANGES, bounds=BOUNDS), CELLS)
    assert lr.place(0.01) == pytest.approx(0.5)
    assert [width.level(place) for place in width.grid(15)] == [2, 6, 10]
    assert (steps.levels, steps.place(8), steps.margin) == ([4, 8, 16], 0.5, 0.25)
    assert [bias.place(level) for level in (True, False, None)] == [0.0, 1.0, 2.0]
    places = np.array([0.0, 2.0, np.nan])
    assert bias.columns(places).tolist() == [[1, 0, 0], [0, 0, 1], [1 / 3, 1 / 3, 1 / 3]]
    assert lr.columns(np.array([0.25, np.nan])).tolist() == [[0.25], [0.5]]


def test_a_record_without_bounds_has_the_range_that_was_tried() -> None:
    """Whether it is logarithmic stands in its words; what is no number has no place."""
    lr, _, _, _ = factor_axes(study_of("random", FACTORS, [], ranges=RANGES), CELLS)
    assert (lr.low, lr.high, lr.is_log) == (0.01, 0.05, True)
    assert math.isnan(lr.place("0.02"))


def test_a_range_is_as_wide_as_what_was_tried() -> None:
    """Values of an earlier, wider range have their places too; one that has no logarithm makes the scale linear."""
    study = study_of("random", FACTORS, [], ranges=RANGES, bounds=BOUNDS)
    (lr,) = factor_axes(study, [{"lr": 1.0}])
    assert (lr.low, lr.high, lr.is_log, lr.place(1.0)) == (0.001, 1.0, True, 1.0)
    lr, width = factor_axes(study, [{"lr": -0.1, "width": 14}])
    assert (lr.is_log, lr.place(-0.1), width.num_values) == (False, 0.0, 4)


def test_a_level_that_the_study_does_not_name_has_a_place() -> None:
    """One that was added by hand comes after the others."""
    (bias,) = factor_axes(study_of("random", {"bias": [True, False]}, []), [{"bias": 1}])
    assert [bias.place(level) for level in (True, 1)] == [0.0, 2.0]


@given(st.floats(1e-6, 1e6), st.floats(1.001, 1e3), st.floats(0, 1), st.booleans())
def test_place_and_level_are_inverse(low: float, ratio: float, place: float, is_log: bool) -> None:
    """Going to the level of a place and back ends where it began."""
    axis = FactorAxis("x", low=low, high=low * ratio, is_log=is_log)
    assert axis.place(axis.level(place)) == pytest.approx(place, abs=1e-6)
