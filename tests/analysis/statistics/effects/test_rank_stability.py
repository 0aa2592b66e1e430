"""Which cell is the best: the sentence says so only where paired tests decide it, with an interval that allows for the choice."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.data.estimates import mean_interval
from analysis.statistics.data.outcomes import Outcome
from analysis.statistics.effects.best_level import compare_with_best, decided_best, interval_of_selected
from analysis.statistics.effects.rank_stability import RankStability, rank_stability
from analysis.statistics.summary import Summary, summarise
from studies.run_record import RunRecord
from tests.analysis.examples import all_outputs, run_of, study_of

HIGHER, LOWER = Outcome("score", "score"), Outcome("score", "score", "minimize")
COLLAPSING = [0.951, 0.949, 0.953, 0.948, 0.950, 0.952, 0.947]
WORSE_BY = [0.010, 0.012, 0.009, 0.011, 0.010, 0.008, 0.85]


def runs_of(values: Sequence[Sequence[float]]) -> list[RunRecord]:
    """A cell for every row, a seed for every column; NaN is a replicate that was not trained."""
    return [
        run_of({"a": a}, seed, value, status="MISSING" if math.isnan(value) else "FINISHED")
        for a, of_cell in enumerate(values)
        for seed, value in enumerate(of_cell)
    ]


def summary_of(runs: list[RunRecord], **others: Any) -> Summary:
    levels = list(dict.fromkeys(run.levels["a"] for run in runs))
    return summarise(study_of("one_factor_at_a_time", {"a": levels}, runs, **others), runs)


def found_of(values: Sequence[Sequence[float]]) -> RankStability:
    found = summary_of(runs_of(values)).stability
    assert found is not None
    return found


def text_of(runs: list[RunRecord]) -> str:
    return " ".join(all_outputs(summary_of(runs)).split())


def test_a_cell_that_is_worse_in_every_seed_is_not_the_best_in_a_fifth_of_anything() -> None:
    """One of its seven seeds collapsed: resampling the seeds said that it is the best in 19 %; the paired test says never."""
    worse = [value - loss for value, loss in zip(COLLAPSING, WORSE_BY, strict=True)]
    found = found_of([worse, COLLAPSING])
    assert found.is_decided
    assert [(cell.levels["a"], cell.may_be_best) for cell in found.cells] == [(1, True), (0, False)]
    text = text_of(runs_of([worse, COLLAPSING]))
    assert "best cell by validation accuracy: a=1: 95.00 % over 7 seeds, selected on this value " in text
    assert "selected on this value (no interval, as 1 of 14 replicates collapsed); better than the other one" in text
    assert "better than the other one, paired by seed (p ≤ 0.016); next a=0, 13.00 points behind." in text
    assert "resample" not in text


def test_a_best_cell_among_many_says_that_its_tests_are_not_corrected() -> None:
    """Six seeds decide it, though they are too few for four corrected differences: a reader has to see why."""
    text = text_of(runs_of([[mean + seed / 1000 for seed in range(6)] for mean in (0.6, 0.7, 0.9, 0.5, 0.8)]))
    assert "6 seeds cannot decide 4 comparisons" in text
    assert (
        "better than each of the 4 others, paired by seed (p ≤ 0.031 in each test, not corrected, as all have to agree)" in text
    )


def test_one_common_seed_decides_nothing() -> None:
    """However far apart the two are."""
    found = found_of([[0.9, 0.9, 0.9, math.nan, math.nan], [math.nan, math.nan, 0.1, 0.1, 0.1]])
    assert not found.is_decided
    assert found.num_candidates == 2
    assert found.cells[1].p == 1


def test_cells_without_a_common_seed_get_no_ranking() -> None:
    """Their means differ by what the seeds do, too: nothing is best, no table is shown, and the sentence says what to do."""
    runs = runs_of([[0.9, 0.9, math.nan, math.nan], [math.nan, math.nan, 0.1, 0.1]])
    assert summary_of(runs).stability is not None
    text = text_of(runs)
    assert "best cell by validation accuracy: not known, because some cells share no seed with the others" in text
    assert "Rank stability" not in text
    linked = found_of([[0.9, 0.9, math.nan, math.nan], [math.nan, math.nan, 0.1, 0.1], [0.5, 0.5, 0.5, 0.5]])
    assert [cell.levels["a"] for cell in linked.cells] == [0, 2, 1]  # the third cell shares seeds with both
    assert math.isnan(linked.cells[2].p)
    assert linked.cells[2].may_be_best


def test_what_a_seed_does_to_all_cells_moves_no_rank() -> None:
    """Seeds that differ by far more than the cells leave the best cell certain; a missing replicate moves no other cell."""
    shifts = np.array([0.0, 0.3, -0.3, 0.2, -0.1, 0.1, -0.2, 0.25])
    values = [(0.5 + shifts).tolist(), (0.52 + shifts).tolist(), (0.51 + shifts).tolist()]
    values[0][2] = math.nan
    found = found_of(values)
    assert found.is_decided
    assert [cell.levels["a"] for cell in found.cells] == [1, 2, 0]
    assert [cell.estimate.mean for cell in found.cells] == pytest.approx([0.55125, 0.54125, 0.53125])
    assert [cell.behind for cell in found.cells] == pytest.approx([0, 0.01, 0.02])
    assert "Means are adjusted for the seeds that a cell lacks." in text_of(runs_of(values))


def test_what_is_not_decided_is_said_so() -> None:
    """Three seeds decide nothing, however large the difference: any of the cells may be the best."""
    text = text_of(runs_of([[0.60, 0.80, 0.70], [0.65, 0.85, 0.75], [0.50, 0.70, 0.60]]))
    assert "cell with the highest mean validation accuracy: a=1: 75.00 (" in text
    undecided = "whether it is the best is undecided: next a=0, 5.00 points behind (p = 0.250); 3 of 3 cells may be the best."
    assert undecided in text
    assert "best cell by" not in text


def test_a_cell_whose_replicates_failed_is_not_decided_on() -> None:
    """Those that finished may be the lucky ones; nor while another cell has no value at all."""
    values = [[0.9] * 8, [0.5] * 8]
    runs = runs_of(values)
    assert found_of(values).is_decided
    failed = [run_of({"a": 0}, 7, status="FAILED") if run.levels == {"a": 0} and run.seed == 7 else run for run in runs]
    assert "whether it is the best is undecided: 1 replicate of it failed." in text_of(failed)
    assert "among the 2 that may be the best" in text_of(failed)
    nan = [run_of({"a": 0}, 7, math.nan) if run.levels == {"a": 0} and run.seed == 7 else run for run in runs]
    assert "whether it is the best is undecided: 1 replicate of it failed." in text_of(nan)
    without = [*runs, *(run_of({"a": 2}, seed, status="MISSING") for seed in range(8))]
    assert "whether it is the best is undecided: 1 other cell has no value." in text_of(without)


def test_lower_is_better_where_the_objective_says_so() -> None:
    """Of an objective that is minimised the smallest is the best."""
    runs = [run_of({"a": a}, s, energy=float(a + s)) for a in (2, 1, 3) for s in range(8)]
    found = rank_stability(study_of("random", {"a": [1, 2, 3]}, runs, objectives={"energy": "minimize"}), runs)
    assert found is not None
    assert found.is_decided
    assert [cell.levels["a"] for cell in found.cells] == [1, 2, 3]
    assert [cell.behind for cell in found.cells] == [0, 1, 2]


def test_finalists_are_compared_not_trials() -> None:
    """Of a search the finalists' fresh seeds are compared; without finalists nothing is; one beyond a limit is left out."""
    searched = [run_of({"a": a}, 0, 0.9, role="search") for a in range(4)]
    finalists = [run_of({"a": a}, s, 0.5 + a / 10, role="finalist", cost=float(a)) for a in (1, 2, 3) for s in range(1, 9)]
    study = study_of("adaptive_search", {"a": []}, searched, seeds=[0])
    found = rank_stability(study, [*searched, *finalists])
    assert found is not None
    assert (found.kind, [cell.levels["a"] for cell in found.cells]) == ("finalist", [3, 2, 1])
    assert rank_stability(study, searched) is None
    limited = study_of("adaptive_search", {"a": []}, searched, seeds=[0], options={"limits": {"cost": {"at_most": 2}}})
    kept = rank_stability(limited, [*searched, *finalists])
    assert kept is not None
    assert [cell.levels["a"] for cell in kept.cells] == [2, 1]


@pytest.mark.parametrize("values", [[[0.5, 0.6, 0.7]], [[0.5], [0.6]], []])
def test_nothing_is_compared_without_two_cells_and_two_seeds(values: list[list[float]]) -> None:
    """One cell has no rival, one seed tells nothing of another."""
    runs = runs_of(values)
    assert rank_stability(study_of("one_factor_at_a_time", {"a": [0, 1]}, runs), runs) is None


def test_the_best_must_be_better_than_every_other() -> None:
    """Six seeds that all agree decide among any number; one as good as the best leaves it open, and so does one without data."""
    low, middle, high = ({seed: 0.1 * seed + gain for seed in range(6)} for gain in (0.0, 0.01, 0.02))
    assert decided_best([low, high, middle, low, low], HIGHER) == 1
    assert decided_best([low, high, middle], LOWER) == 0
    assert decided_best([low, high, {**high, 0: 0.01}], HIGHER) is None
    assert decided_best([low, high, high], HIGHER) is None
    assert decided_best([low, {}], HIGHER) is None
    assert decided_best([high], HIGHER) is None


def test_those_that_may_be_the_best_allow_for_their_number() -> None:
    """Of nine, where one is as good as the first, p = 2/2**7 is not below 0.05 after the factor 8/2, and of three it is."""
    worse, high = dict.fromkeys(range(7), 0.0), dict.fromkeys(range(7), 0.02)
    nine, three = [high, high, *[worse] * 7], [high, high, worse]
    assert compare_with_best(nine, HIGHER, [0.02, 0.02, *[0.0] * 7]).num_candidates == 9
    assert compare_with_best(three, HIGHER, [0.02, 0.02, 0.0]).may_be_best == [True, True, False]


def test_the_interval_of_what_was_selected_by_hand() -> None:
    """Student's t on the better side; on the worse side its level is divided by how many might have been chosen."""
    values = [1.0, 2.0, 3.0, 4.0]
    error = float(np.std(values, ddof=1)) / 2
    plain, wide = (error * float(stats.t.isf(level, 3)) for level in (0.025, 0.025 / 5))
    higher, lower = interval_of_selected(values, 5, HIGHER), interval_of_selected(values, 5, LOWER)
    assert (higher.low, higher.high) == pytest.approx((2.5 - wide, 2.5 + plain))
    assert (lower.low, lower.high) == pytest.approx((2.5 - plain, 2.5 + wide))
    alone = interval_of_selected(values, 1, HIGHER)
    assert (alone.low, alone.high) == pytest.approx((mean_interval(values).low, mean_interval(values).high))


def drawn(num_cells: int, num_seeds: int, num_studies: int, gain: float = 0.0) -> list[list[Mapping[int, float]]]:
    """Studies whose cells are equal, or each better than the one before by a gain; a seed shifts all of them."""
    generator = np.random.default_rng(num_cells)
    shape = (num_studies, num_cells, num_seeds)
    values = generator.normal(size=shape) + generator.normal(size=(num_studies, 1, num_seeds))
    values += gain * np.arange(num_cells)[:, None]
    return [[dict(enumerate(of_cell)) for of_cell in of_study] for of_study in values.tolist()]


@pytest.mark.parametrize(("num_cells", "num_seeds", "gain"), [(2, 7, 0.0), (8, 7, 0.0), (60, 10, 0.0), (8, 7, 8.0)])
def test_errors_and_coverage_of_the_best(num_cells: int, num_seeds: int, gain: float) -> None:
    """Of equal cells at most 5 % have one called the best; the interval of the first covers its truth in 95 % nonetheless.

    The bounds are three simulation errors wide. Student's own interval fails, where cells are equal and many.
    """
    num_studies = 100 if num_cells == 60 else 300
    decided, covered, plain = [], [], []
    for values in drawn(num_cells, num_seeds, num_studies, gain):
        found = compare_with_best(values, HIGHER, [float(np.mean(list(of_cell.values()))) for of_cell in values])
        first, truth = list(values[found.leader].values()), gain * found.leader
        interval, narrow = interval_of_selected(first, found.num_candidates, HIGHER), mean_interval(first)
        decided.append(found.is_decided)
        covered.append(interval.low <= truth <= interval.high)
        plain.append(narrow.low <= truth <= narrow.high)
    error = 3 * math.sqrt(0.05 * 0.95 / num_studies)
    assert np.mean(decided) <= 0.05 + error or gain
    assert np.mean(covered) >= 0.95 - error
    assert np.mean(plain) < 0.93 or num_cells == 2 or gain
