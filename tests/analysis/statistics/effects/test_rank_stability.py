"""Rank stability, where one can count the resamples by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from analysis.statistics.effects.rank_stability import rank_stability, resampled_ranks
from analysis.statistics.summary import summarise
from studies.run_record import RunRecord
from tests.analysis.examples import all_outputs, run_of, study_of


def runs_of(values: Sequence[Sequence[float]]) -> list[RunRecord]:
    """A cell for every row, a seed for every column."""
    return [run_of({"a": a}, seed, value) for a, of_cell in enumerate(values) for seed, value in enumerate(of_cell)]


def ranks_of(values: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    best, ranks = resampled_ranks(np.array(values), np.random.default_rng(0))
    return best.tolist(), ranks.tolist()


def test_two_seeds_by_hand() -> None:
    """Differences 1 and -0.5: of the four pairs of draws one has the second seed twice, and only there the other cell is best."""
    best, ranks = ranks_of([[1.0, -0.5], [0.0, 0.0]])
    assert best == pytest.approx([0.75, 0.25], abs=0.02)
    assert ranks == pytest.approx([1.25, 1.75], abs=0.02)


def test_what_a_seed_does_to_all_cells_moves_no_rank() -> None:
    """Seeds that differ by far more than the cells leave the best cell certain."""
    best, ranks = ranks_of([[0.1, 5.1, -7.9], [0.2, 5.2, -7.8], [0.0, 5.0, -8.0]])
    assert best == [0, 1, 0]
    assert ranks == [2, 1, 3]


def test_equal_cells_share_the_first_place() -> None:
    """Two that are equal in every seed are best half of the time each."""
    best, ranks = ranks_of([[0.5, 0.6], [0.5, 0.6], [0.1, 0.2]])
    assert best == [0.5, 0.5, 0]
    assert ranks == [1.5, 1.5, 3]


def test_a_cell_that_is_not_drawn_is_last() -> None:
    """A cell with one value of two seeds is missing in a quarter of the draws, and best in the others."""
    best, _ = ranks_of([[0.9, np.nan], [0.5, 0.5]])
    assert best == pytest.approx([0.75, 0.25], abs=0.02)


def test_the_best_cell_is_named_with_its_interval() -> None:
    """The sentence has its levels, its mean and how sure that is; a missing replicate is counted, and moves no other cell."""
    runs = runs_of([[0.60, 0.80, 0.70], [0.65, 0.85, 0.75], [0.50, 0.70, 0.60]])
    runs[0] = run_of({"a": 0}, 0, status="FAILED")
    summary = summarise(study_of("one_factor_at_a_time", {"a": [0, 1, 2]}, runs), runs)
    assert summary.stability is not None
    assert [cell.levels["a"] for cell in summary.stability.cells] == [1, 0, 2]
    text = " ".join(all_outputs(summary).split())
    assert (
        "best cell by validation accuracy: a=1: 75.00 (50.16 to 99.84) %, best in > 99 % of resamples; next a=0, < 1 %." in text
    )
    assert "| 1.0 | a=1 | 3 |" in text


def test_lower_is_better_where_the_objective_says_so() -> None:
    """Of an objective that is minimised the smallest is the best."""
    runs = [run_of({"a": a}, s, energy=float(a + s)) for a in (2, 1, 3) for s in range(3)]
    study = study_of("random", {"a": [1, 2, 3]}, runs, objectives={"energy": "minimize"})
    found = rank_stability(study, runs)
    assert found is not None
    assert [cell.levels["a"] for cell in found.cells] == [1, 2, 3]
    assert [cell.probability_best for cell in found.cells] == [1, 0, 0]


def test_finalists_are_compared_not_trials() -> None:
    """Of a search the finalists' fresh seeds are resampled; without finalists nothing is."""
    searched = [run_of({"a": a}, 0, 0.9, role="search") for a in range(4)]
    finalists = [run_of({"a": a}, s, 0.5 + a / 10, role="finalist") for a in (1, 2) for s in (1, 2)]
    study = study_of("adaptive_search", {"a": []}, searched, seeds=[0])
    found = rank_stability(study, [*searched, *finalists])
    assert found is not None
    assert (found.kind, [cell.levels["a"] for cell in found.cells]) == ("finalist", [2, 1])
    assert rank_stability(study, searched) is None


@pytest.mark.parametrize("values", [[[0.5, 0.6, 0.7]], [[0.5], [0.6]], []])
def test_nothing_is_resampled_without_two_cells_and_two_seeds(values: list[list[float]]) -> None:
    """One cell has no rival, one seed no other to be drawn."""
    runs = runs_of(values)
    assert rank_stability(study_of("one_factor_at_a_time", {"a": [0, 1]}, runs), runs) is None
