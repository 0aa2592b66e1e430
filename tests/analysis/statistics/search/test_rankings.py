"""Rankings, finalists and Pareto fronts, against what one sees in small examples."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.reporting.figures import search as search_figures
from analysis.reporting.formats.tables_csv import configurations_csv, effects_csv
from analysis.statistics.data.outcomes import ACCURACY_OUTCOME
from analysis.statistics.search.pareto import pareto_front
from analysis.statistics.summary import Summary, summarise
from studies.run_record import ACCURACY, PRUNED, Level, RunRecord
from tests.analysis.examples import all_outputs, rows, run_of, study_of

FACTORS: dict[str, list[Level]] = {"lr": [], "layout": ["64 M", "64 A"]}
RANGES = {"lr": "0.0001 to 0.1, log"}


def levels(lr: float, layout: str = "64 M") -> dict[str, Level]:
    return {"lr": lr, "layout": layout}


def random_study(runs: Sequence[RunRecord]) -> Summary:
    return summarise(study_of("random", FACTORS, runs, baseline={}, ranges=RANGES), runs)


def search(runs: Sequence[RunRecord]) -> Summary:
    return summarise(study_of("adaptive_search", FACTORS, runs, baseline={}, ranges=RANGES, seeds=[0]), runs)


def searched() -> list[RunRecord]:
    """Four trials of a search on seed 0: accuracy and sparsity trade off in the first two, the third is beaten."""
    values = [(0.01, 0.9, 0.7), (0.02, 0.8, 0.9), (0.03, 0.8, 0.6)]
    runs = [run_of(levels(lr), 0, accuracy, role="search", sparsity=sparsity) for lr, accuracy, sparsity in values]
    return [*runs, run_of(levels(0.04), 0, role="search", status=PRUNED), run_of(levels(0.05), 0, role="search", status="FAILED")]


def finalists() -> list[RunRecord]:
    """The two best of them with seeds 1 and 2, where the second is the better one."""
    values = {0.01: [0.84, 0.86], 0.02: [0.87, 0.89]}
    return [
        run_of(levels(lr), seed, value, role="finalist") for lr, found in values.items() for seed, value in enumerate(found, 1)
    ]


def test_random_cells_are_ranked_by_their_mean() -> None:
    """Best first, equal means on the same rank, those without a result last; no effects, and the summary says why."""
    by_cell = {0.1: [0.5, 0.7], 0.2: [0.75, 0.85], 0.3: [0.75, 0.85], 0.4: [0.9]}
    runs = [run_of(levels(lr), seed, accuracy) for lr, found in by_cell.items() for seed, accuracy in enumerate(found)]
    runs += [run_of(levels(0.4), 1, status="FAILED"), run_of(levels(0.5), 0, status="MISSING")]
    summary = random_study(runs)
    (ranking,) = summary.rankings
    found = [(configuration.levels["lr"], configuration.rank) for configuration in ranking.configurations]
    assert found == [(0.4, 1), (0.2, 2), (0.3, 2), (0.1, 4), (0.5, None)]
    assert ranking.configurations[1].mean(ACCURACY_OUTCOME) == pytest.approx(0.8)
    assert summary.effects == {}
    text = " ".join(all_outputs(summary).split())
    assert "cell with the highest mean validation accuracy: lr=0.4 layout=64 M: " in text
    assert " over 1 of 2 seeds, selected on this value; whether it is the best is undecided: 1 replicate of it failed." in text
    assert "9 replicates, 5 configurations: 7 complete, 1 failed, 1 not finished." in text
    assert "No level is compared with another: drawn at random" in text
    assert "| 1 | 0.4 | 64 M | 1 of 2 | 90.00 | 90.00 | 89.00 |" in text
    assert [row["rank"] for row in rows(configurations_csv(summary))] == ["1", "2", "2", "4", ""]
    assert len(rows(effects_csv(summary))) == 0


def test_a_table_has_the_ten_best_and_the_file_all() -> None:
    """Of twelve cells the two worst are in configurations.csv alone."""
    summary = random_study([run_of(levels(i / 100), 0, 0.5 + i / 100) for i in range(1, 13)])
    text = all_outputs(summary)
    assert "| 10 | 0.03 |" in text
    assert "| 11 |" not in text
    assert len(rows(configurations_csv(summary))) == 12


def test_finalists_are_judged_on_fresh_seeds() -> None:
    """Their means are of the finalists' seeds alone, and rank them; what they were selected on stands beside."""
    summary = search([*searched(), *finalists()])
    best, second = summary.rankings[0].configurations
    assert [best.levels["lr"], second.levels["lr"]] == [0.02, 0.01]
    assert [best.mean(ACCURACY_OUTCOME), second.mean(ACCURACY_OUTCOME)] == pytest.approx([0.88, 0.85])
    assert [best.selected_on[ACCURACY_OUTCOME], second.selected_on[ACCURACY_OUTCOME]] == [0.8, 0.9]
    text = " ".join(all_outputs(summary).split())
    assert "finalist with the highest mean validation accuracy: lr=0.02 layout=64 M: 88.00 % over 2 fresh" in text
    assert " over 2 fresh seeds, selected on this value (by the search on 80.00); " in text
    assert "trained again with 2 seeds (1, 2) that had no part in choosing them" in text
    assert "from the results of earlier ones, trained with 1 seed (0)" in text
    assert summary.warnings == []
    selected = [row["selected on val/accuracy"] for row in rows(configurations_csv(summary))]
    assert selected == ["0.8", "0.9", "", "", "", "", ""]


def test_a_search_without_finalists_warns() -> None:
    """The best are then shown on the value that selected them, and the summary says that it flatters them."""
    summary = search(searched())
    assert summary.warnings == [
        "No finalist was trained with fresh seeds: the configurations shown were selected on the validation accuracy that is "
        "shown, which makes them look better than they are."
    ]
    text = " ".join(all_outputs(summary).split())
    assert "5 trials of the search, 5 configurations: 3 complete, 1 pruned, 1 failed." in text
    assert "3 of 5 replicates finished, 1 pruned." in text


def test_the_front_of_a_search() -> None:
    """It has the trials that nothing beats; pruned and failed ones are not on it; a study of one objective has none."""
    summary = search(searched())
    assert [configuration.levels["lr"] for configuration in summary.rankings[0].front] == [0.01, 0.02]
    front = "2 of 5 searched configurations (one seed does not say how certain that is)"
    assert f"On the Pareto front of validation accuracy, activation sparsity: {front}." in " ".join(all_outputs(summary).split())
    assert search_figures.front(summary) is not None
    one = summarise(replace(summary.study, objectives={ACCURACY: "maximize"}), summary.runs)
    assert "Pareto" not in all_outputs(one)
    assert search_figures.front(one) is None


def test_a_minimised_objective_is_ranked_from_below() -> None:
    """The first objective ranks, in its own direction."""
    runs = [run_of(levels(i / 10), 0, role="search", energy=float(i)) for i in (2, 1, 3)]
    study = study_of("adaptive_search", FACTORS, runs, ranges=RANGES, objectives={"energy": "minimize"})
    (ranking,) = summarise(study, runs).rankings
    assert [configuration.levels["lr"] for configuration in ranking.configurations] == [0.1, 0.2, 0.3]
    assert "lowest energy: lr=0.1 layout=64 M: 1 over 1 seed, selected on this value." in " ".join(
        all_outputs(summarise(study, runs)).split()
    )


def test_what_breaks_a_limit_has_no_rank() -> None:
    """However accurate it is, it cannot be the best, and stands behind those that keep the limit."""
    runs = [run_of(levels(i / 10), 0, 0.5 + i / 10, role="search", cost=float(i)) for i in (1, 2, 3)]
    limits = {"limits": {"cost": {"at_most": 2}}}
    summary = summarise(study_of("adaptive_search", FACTORS, runs, baseline={}, ranges=RANGES, seeds=[0], options=limits), runs)
    found = [(one.levels["lr"], one.rank) for one in summary.rankings[0].configurations]
    assert found == [(0.2, 1), (0.1, 2), (0.3, None)]
    assert "highest validation accuracy: lr=0.2 layout=64 M: 70.00 % over 1 seed" in " ".join(all_outputs(summary).split())


def test_no_share_of_resamples_is_none_or_all() -> None:
    """Of a front that no resample changes it is said that it hardly changes."""
    runs = [run_of(levels(i / 10), s, 0.5 + i / 10, sparsity=0.9 - i / 10) for i in (1, 2, 3) for s in range(3)]
    runs += [run_of(levels(0.4), s, 0.1, sparsity=0.1) for s in range(3)]
    text = all_outputs(random_study(runs))
    assert "&gt; 99 %" in text or "> 99 %" in text
    assert not re.search(r"[ |](0|100) %", text)
    assert "(3 in at least half of the resamples of the seeds)" in " ".join(text.split())


@pytest.mark.parametrize("design", ["random", "adaptive_search"])
def test_a_study_that_has_not_begun_gets_a_report(design: str) -> None:
    """Without any replicate every output is made."""
    study = study_of(design, FACTORS, [], baseline={}, ranges=RANGES)
    assert "0 of 0 replicates finished." in all_outputs(summarise(study, []))


POINTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=12)


@given(POINTS)
def test_pareto_front_is_its_definition(points: list[tuple[int, int]]) -> None:
    """A point is off the front if and only if some other is as good in both objectives and better in one."""
    expected = [not any(p[0] >= q[0] and p[1] <= q[1] and p != q for p in points) for q in points]
    assert pareto_front(points, ["maximize", "minimize"]) == expected


def test_pareto_front_ties_and_gaps() -> None:
    """Equal points stand on the front together; one without a value is neither on it nor beats another."""
    points = [(1.0, 1.0), (1.0, 1.0), (math.nan, 9.0), (math.inf, 9.0), (0.5, 0.5)]
    assert pareto_front(points, ["maximize", "maximize"]) == [True, True, False, False, False]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6)), min_size=65, max_size=120))
def test_a_front_of_three_objectives_is_its_definition(points: list[tuple[int, int, int]]) -> None:
    """More points than are looked at first: one is off the front if and only if some other is as good and somewhere better."""
    expected = [not any(all(a >= b for a, b in zip(q, p, strict=True)) and q != p for q in points) for p in points]
    assert pareto_front(points, ["maximize"] * 3) == expected
