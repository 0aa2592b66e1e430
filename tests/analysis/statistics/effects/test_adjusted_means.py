"""Adjusted level means: what is missing does not shift what is there."""

from collections.abc import Collection, Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from analysis.statistics.data.cell_by_seed import two_way_fit
from analysis.statistics.data.cells import block_means, group_by_levels
from analysis.statistics.data.outcomes import ACCURACY_OUTCOME
from analysis.statistics.effects.adjusted_means import adjusted_means
from analysis.statistics.summary import summarise
from studies.run_record import ACCURACY, Level, RunRecord
from tests.analysis.examples import all_outputs, run_of, study_of

FACTORS: dict[str, list[Level]] = {"a": [0, 1], "b": ["x", "y", "z"]}
CELLS: list[dict[str, Level]] = [{"a": a, "b": b} for a, b in product(*FACTORS.values())]
LEVELS: list[tuple[str, Level]] = [(name, level) for name, levels in FACTORS.items() for level in levels]
VALUES = st.lists(st.integers(0, 100).map(lambda n: n / 100), min_size=18, max_size=18)


def runs_of(values: Sequence[float], missing: Collection[int] = ()) -> list[RunRecord]:
    """Three seeds of every cell."""
    places = list(product(range(3), CELLS))
    return [
        run_of(cell, seed, value) for i, ((seed, cell), value) in enumerate(zip(places, values, strict=True)) if i not in missing
    ]


@given(VALUES)
def test_nothing_is_adjusted_where_nothing_is_missing(values: list[float]) -> None:
    """In a balanced design the adjusted means are the plain ones, seed by seed."""
    runs = runs_of(values)
    cells = list(group_by_levels(runs).values())
    found = adjusted_means(study_of("full_factorial", FACTORS, runs), cells, LEVELS, ACCURACY)
    assert found is not None
    for (factor, level), by_seed in zip(LEVELS, found, strict=True):
        assert by_seed == pytest.approx(block_means([cell for cell in cells if cell[0].levels[factor] == level], ACCURACY))


@given(VALUES, st.sets(st.integers(0, 17), max_size=4))
def test_missing_replicates_shift_nothing(values: list[float], missing: set[int]) -> None:
    """Cells of any means, which interact, under seeds that shift them all: whatever is missing, every seed has the true means."""
    means, shifts = np.array(values[:6]), np.array(values[6:9])
    exact = [float(mean + shift) for shift, mean in product(shifts, means)]
    runs = runs_of(exact, missing)
    cells = list(group_by_levels(runs).values())
    assume(len(cells) == 6)
    found = adjusted_means(study_of("full_factorial", FACTORS, runs), cells, LEVELS, ACCURACY)
    assert found is not None
    whole = runs_of(exact)
    for (factor, level), by_seed in zip(LEVELS, found, strict=True):
        plain = block_means([cell for cell in group_by_levels(whole).values() if cell[0].levels[factor] == level], ACCURACY)
        assert by_seed == pytest.approx({seed: plain[seed] for seed in by_seed})


def test_an_unbalanced_design_is_adjusted() -> None:
    """a gives 0.1 and z 0.3; without the cell (1, z) plain means would show no difference for a: the adjusted one is 0.1."""
    effects: dict[Level, float] = {0: 0.0, 1: 0.1, "x": 0.0, "y": 0.0, "z": 0.3}
    cells = [cell for cell in CELLS if cell != {"a": 1, "b": "z"}]
    runs = [run_of(cell, s, 0.4 + effects[cell["a"]] + effects[cell["b"]] + s / 50) for cell in cells for s in range(3)]
    summary = summarise(study_of("full_factorial", FACTORS, runs), runs)
    found = {effect.level: effect for effect in summary.effects[ACCURACY_OUTCOME]}
    contrast = found[1].contrast
    assert contrast is not None
    assert found[1].is_adjusted
    assert contrast.difference.mean == pytest.approx(0.1)
    text = " ".join(all_outputs(summary).split())
    assert "adjusted for that by a linear model of main effects" in text


def test_factors_that_always_go_together_are_not_told_apart() -> None:
    """No model adjusts them: means stay plain, and the summary says that the differences are of both."""
    runs = [run_of({"a": a, "b": b}, s, 0.5 + 0.1 * a + s / 50) for a, b in ((0, "x"), (1, "y")) for s in range(3)]
    summary = summarise(study_of("full_factorial", {"a": [0, 1], "b": ["x", "y"]}, runs), runs)
    assert not any(effect.is_adjusted for effect in summary.effects[ACCURACY_OUTCOME])
    assert any("No model can separate these factors" in warning for warning in summary.warnings)


@given(VALUES, st.sets(st.integers(0, 17), max_size=6))
def test_the_two_way_fit_is_least_squares(values: list[float], missing: set[int]) -> None:
    """Its fitted values are those of a regression on indicators of cells and seeds."""
    matrix = np.array(values).reshape(6, 3)
    matrix.flat[list(missing)] = np.nan
    known = np.isfinite(matrix)
    assume(known.any(axis=0).all())
    means, effects = two_way_fit(matrix)
    cells, seeds = np.nonzero(known)
    indicators = np.hstack([np.eye(6)[cells], np.eye(3)[seeds]])
    expected = indicators @ np.linalg.lstsq(indicators, matrix[known], rcond=None)[0]
    assert means[cells] + effects[seeds] == pytest.approx(expected)
    assert effects.sum() == pytest.approx(0, abs=1e-12)
    assert np.isnan(means).tolist() == (~known.any(axis=1)).tolist()
