"""The analysis of variance, against a balanced example worked out by hand and against statsmodels' own tables."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from analysis.statistics.data.outcomes import ACCURACY_OUTCOME
from analysis.statistics.effects.interactions import VarianceTable, variance_table
from analysis.statistics.effects.simple_effects import simple_effects
from analysis.statistics.effects.variance_shares import variance_share
from analysis.statistics.summary import summarise
from studies.run_record import ACCURACY, Level, RunRecord
from tests.analysis.examples import all_outputs, run_of, study_of

FACTORS: dict[str, list[Level]] = {"a": [0, 1], "b": ["x", "y", "z"]}


def noisy_runs(factors: Mapping[str, Sequence[Level]], num_seeds: int, seed: int = 0) -> list[RunRecord]:
    """A full factorial of noise around seeds that shift all cells."""
    generator = np.random.default_rng(seed)
    shifts = generator.normal(size=num_seeds)
    cells = [dict(zip(factors, levels, strict=True)) for levels in product(*factors.values())]
    return [run_of(cell, s, 0.5 + 0.01 * (shifts[s] + generator.normal())) for s in range(num_seeds) for cell in cells]


def table_of(design: str, factors: Mapping[str, Sequence[Level]], runs: Sequence[RunRecord], **others: object) -> VarianceTable:
    table = variance_table(study_of(design, factors, runs, **others), runs, ACCURACY_OUTCOME)
    assert table is not None
    return table


def statsmodels_table(runs: Sequence[RunRecord]) -> dict[str, list[float]]:
    """What statsmodels says of the same runs by its own formula and its own type II: sum of squares, df, F and p by term."""
    frame = pd.DataFrame([{**run.levels, "seed": run.seed, "y": run.metrics[ACCURACY]} for run in runs])
    table = anova_lm(ols("y ~ C(seed) + C(a) * C(b)", frame).fit(), typ=2)
    return {name: [float(table[column][name]) for column in ("sum_sq", "df", "F", "PR(>F)")] for name in table.index}


def test_a_balanced_example_by_hand() -> None:
    """Cells 0.5, 0.55, 0.65, 0.8 over two seeds: sums of squares 0.08, 0.02, 0.005; error 0.01 with 3 degrees of freedom."""
    by_seed = {0: [0.5, 0.6, 0.7, 0.9], 1: [0.5, 0.5, 0.6, 0.7]}
    cells = [{"a": a, "b": b} for a, b in product((0, 1), repeat=2)]
    runs = [run_of(cell, s, value) for s, values in by_seed.items() for cell, value in zip(cells, values, strict=True)]
    table = table_of("full_factorial", {"a": [0, 1], "b": [0, 1]}, runs)
    assert [line.term for line in table.lines] == [("a",), ("b",), ("a", "b")]
    assert [line.sum_of_squares for line in table.lines] == pytest.approx([0.08, 0.02, 0.005])
    assert [line.f for line in table.lines] == pytest.approx([24, 6, 1.5])
    assert table.residual_df == 3
    assert table.residual_mean_square == pytest.approx(0.01 / 3)
    assert table.lines[0].share.value == pytest.approx(23 / (23 + 8))
    assert table.lines[0].corrected_p == pytest.approx(3 * table.lines[0].p)


@settings(max_examples=15, deadline=None)
@given(st.sets(st.integers(0, 29), max_size=5), st.integers(0, 100))
def test_it_equals_statsmodels(missing: set[int], seed: int) -> None:
    """With and without missing replicates: sums of squares, degrees of freedom, F and p are those of anova_lm, type II."""
    runs = [run for place, run in enumerate(noisy_runs(FACTORS, 5, seed)) if place not in missing]
    table, expected = table_of("full_factorial", FACTORS, runs), statsmodels_table(runs)
    for line, name in zip(table.lines, ("C(a)", "C(b)", "C(a):C(b)"), strict=True):
        found = [line.sum_of_squares, line.df, line.f, line.p]
        assert found == pytest.approx(expected[name])
    assert table.residual_df == expected["Residual"][1]


def test_interactions_of_three_have_a_line_of_their_own() -> None:
    """They are not in the error, which is that of cells and seeds: 3 of 7 degrees of freedom are mains, 3 pairs, 1 the rest."""
    factors: dict[str, list[Level]] = {name: [0, 1] for name in "abc"}
    table = table_of("full_factorial", factors, noisy_runs(factors, 4))
    assert [line.df for line in table.lines] == [1] * 7
    assert table.lines[-1].term == ()
    assert table.residual_df == 7 * 3
    text = all_outputs(summarise(study_of("full_factorial", factors, noisy_runs(factors, 4)), noisy_runs(factors, 4)))
    assert "three or more factors" in text
    assert "none of the 3 tested interactions of two factors is decided" in " ".join(text.split())


def test_how_factors_interact_by_hand() -> None:
    """a gives 0.1 beside x and 0.3 beside y, whatever c is; the report has both, and nothing of pairs that add up."""
    factors: dict[str, list[Level]] = {"a": [0, 1], "b": ["x", "y"], "c": [0, 1]}
    generator = np.random.default_rng(0)
    cells = [dict(zip(factors, levels, strict=True)) for levels in product(*factors.values())]
    effect: dict[tuple[Level, Level], float] = {(1, "x"): 0.1, (1, "y"): 0.3}
    runs = [
        run_of(cell, s, 0.4 + effect.get((cell["a"], cell["b"]), 0) + s / 50 + 1e-5 * generator.normal())
        for cell in cells
        for s in range(4)
    ]
    study = study_of("full_factorial", factors, runs)
    found = simple_effects(study, runs, ("a", "b"), ACCURACY)
    assert [(effect.level, effect.beside_level) for effect in found] == [(1, "x"), (1, "y")]
    assert [effect.difference.mean for effect in found if effect.difference] == pytest.approx([0.1, 0.3], abs=1e-4)
    text = " ".join(all_outputs(summarise(study, runs)).split())
    assert "| a = 1 | b | x | 4 | +10.0" in text
    assert "| a = 1 | c |" not in text
    without = [run for run in runs if run.levels != {"a": 0, "b": "y", "c": 0} and (run.seed, run.levels["c"]) != (3, 1)]
    at_x, at_y = simple_effects(study, without, ("a", "b"), ACCURACY)
    assert [at.difference.num_values for at in (at_x, at_y) if at.difference] == [4, 3]  # at y of c = 1 alone, without seed 3
    assert [at.difference.mean for at in (at_x, at_y) if at.difference] == pytest.approx([0.1, 0.3], abs=1e-4)
    assert simple_effects(study, without[:1], ("a", "b"), ACCURACY) == []


def test_a_fraction_names_its_aliases() -> None:
    """With d = a × b × c the pairs stand two and two in a line, of which only the sum is estimated; the sentence says so."""
    factors: dict[str, list[Level]] = {name: [-1, 1] for name in "abcd"}
    cells = [{"a": a, "b": b, "c": c, "d": a * b * c} for a, b, c in product((-1, 1), repeat=3)]
    generator = np.random.default_rng(0)
    runs = [run_of(cell, s, 0.5 + 0.05 * cell["a"] * cell["b"] + 0.01 * generator.normal()) for cell in cells for s in range(6)]
    table = table_of("fractional_factorial", factors, runs)
    aliases = {line.term: line.aliases for line in table.lines}
    assert aliases["a", "b"] == [("c", "d")]
    assert aliases["a", "d"] == [("b", "c")]
    assert aliases["a",] == []
    text = " ".join(all_outputs(summarise(study_of("fractional_factorial", factors, runs), runs)).split())
    assert "a × b or c × d (partial ω²" in text
    assert "| a × b | c × d | 1 |" in text


def test_mains_that_are_aliased_with_pairs_say_so() -> None:
    """With c = a × b, resolution III, every main effect stands for a pair too: in the sentence, the caption and the table."""
    factors: dict[str, list[Level]] = {name: [-1, 1] for name in "abc"}
    cells = [{"a": a, "b": b, "c": a * b} for a, b in product((-1, 1), repeat=2)]
    generator = np.random.default_rng(0)
    runs = [run_of(cell, s, 0.5 + 0.01 * generator.normal()) for cell in cells for s in range(4)]
    text = " ".join(all_outputs(summarise(study_of("fractional_factorial", factors, runs), runs)).split())
    assert "validation accuracy by a (baseline -1, together with b × c):" in text
    assert "The fraction cannot separate a from b × c; b from a × c; c from a × b." in text
    assert "| c | a × b | 1 |" in text


def test_missing_cells_take_degrees_of_freedom() -> None:
    """Without the cell (1, z) the pair keeps one of its two, and the caption says so; with one b beside a = 1 it keeps none."""
    runs = noisy_runs(FACTORS, 4)
    without = [run for run in runs if run.levels != {"a": 1, "b": "z"}]
    (pair,) = [line for line in table_of("full_factorial", FACTORS, without).lines if line.term == ("a", "b")]
    assert (pair.df, pair.full_df) == (1, 2)
    text = all_outputs(summarise(study_of("full_factorial", FACTORS, without), without))
    assert "Estimated only in part, because cells are missing or other terms share it: a × b." in text
    fewer = [run for run in without if run.levels != {"a": 1, "b": "y"}]
    assert table_of("full_factorial", FACTORS, fewer).not_estimable == [("a", "b")]


def test_a_conditional_factor_does_not_interact_with_its_condition() -> None:
    """The surrogate exists beside one gradient alone: two mains, no pair, and nothing is lost."""
    factors: dict[str, list[Level]] = {"gradient": ["exact", "bptt"], "surrogate": ["arctan", "triangle"]}
    cells: list[dict[str, Level]] = [{"gradient": "exact"}, *({"gradient": "bptt", "surrogate": s} for s in factors["surrogate"])]
    generator = np.random.default_rng(0)
    runs = [run_of(cell, s, float(generator.normal())) for cell in cells for s in range(4)]
    table = table_of("full_factorial", factors, runs, conditions={"surrogate": {"gradient": ["bptt"]}})
    assert [(line.term, line.df) for line in table.lines] == [(("gradient",), 1), (("surrogate",), 1)]
    assert table.not_estimable == []


def test_too_many_levels_leave_the_interactions_out() -> None:
    """Two factors of 20 levels would take 361 parameters: mains alone, and what pairs may do is in the rest."""
    factors: dict[str, list[Level]] = {"a": list(range(20)), "b": list(range(20))}
    runs = noisy_runs(factors, 2)
    table = table_of("full_factorial", factors, runs)
    assert [(line.term, line.df) for line in table.lines] == [(("a",), 19), (("b",), 19), ((), 361)]


@pytest.mark.parametrize("case", ["one seed", "no noise", "one cell", "no values", "around a baseline"])
def test_there_is_no_table_without_an_error(case: str) -> None:
    """One seed, one cell, no value or no noise leave nothing to test against; a design around a baseline has no table."""
    runs = noisy_runs(FACTORS, 1 if case == "one seed" else 3)
    if case == "no noise":
        runs = [run_of(run.levels, run.seed, 0.5) for run in runs]
    if case == "one cell":
        runs = [run for run in runs if run.levels == {"a": 0, "b": "x"}]
    if case == "no values":
        runs = [run_of(run.levels, run.seed, status="FAILED") for run in runs]
    design = "one_factor_at_a_time" if case == "around a baseline" else "full_factorial"
    study = study_of(design, FACTORS, runs)
    assert variance_table(study, runs, ACCURACY_OUTCOME) is None
    assert "Analysis of variance: validation accuracy" not in all_outputs(summarise(study, runs))


@given(st.floats(0, 50), st.integers(1, 4), st.integers(3, 60))
def test_a_share_and_its_interval(f: float, df: int, residual_df: int) -> None:
    """The interval is in [0, 1) and ordered; it leaves 0 out if and only if p is below 2.5 %; ω² has the sign of F - 1."""
    share = variance_share(f, df, residual_df, 2 * residual_df)
    assert 0 <= share.low <= share.high < 1
    p = stats.f.sf(f, df, residual_df)
    assert abs(p - 0.025) < 1e-6 or (share.low > 0) == (p < 0.025)
    assert (share.value > 0) == (f > 1)


def test_the_noncentral_interval_by_its_definition() -> None:
    """At its bounds 2.5 % of Fs are higher and 2.5 % lower than the one observed."""
    share = variance_share(9.0, 2, 20, 30)
    low, high = (30 * bound / (1 - bound) for bound in (share.low, share.high))
    assert stats.ncf.sf(9.0, 2, 20, low) == pytest.approx(0.025, abs=1e-6)
    assert stats.ncf.cdf(9.0, 2, 20, high) == pytest.approx(0.025, abs=1e-6)


@pytest.mark.parametrize("f", [1e5, 1e9, 1e15])
def test_a_share_of_nearly_all(f: float) -> None:
    """Where there is next to no noise the interval is close to 1, and finite."""
    share = variance_share(f, 3, 20, 30)
    assert 0.99 < share.low < share.value < share.high < 1
