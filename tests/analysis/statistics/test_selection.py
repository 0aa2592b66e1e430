"""Selected epochs and trainings for seconds in reports: the gap is measured, and every format says what the numbers are."""

import dataclasses
import math
from typing import Any

import pytest

from analysis.reporting.formats.html import to_html
from analysis.reporting.formats.latex import to_latex
from analysis.reporting.formats.markdown import to_markdown
from analysis.reporting.formats.tables_csv import replicates_csv
from analysis.reporting.summary_document import paper_document, summary_document
from analysis.statistics.selection import selected_cells
from analysis.statistics.summary import Summary, summarise
from studies.run_record import PARENT_EPOCHS, PARENT_TIME_BUDGET, SELECTED_ON_TEST, RunRecord
from tests.analysis.examples import all_outputs, rows, run_of, study_of
from trainables.training.epochs import selection, time_budget

NUM_SEEDS = 4


def summary_of(how: str, facts: dict[str, str]) -> Summary:
    """Two cells: the second one's result is a selected epoch, 2 points better than its last and 1 than the best on validation."""
    runs: list[RunRecord] = []
    for seed in range(NUM_SEEDS):
        accuracy = 0.8 + seed / 100
        other: dict[str, Any] = {"selection/epoch": 3.0 + seed, "selection/last_test_accuracy": accuracy - 0.02}
        other |= {"selection/best_on_validation_test_accuracy": accuracy - 0.01} if how == "best_on_test" else {}
        plain = run_of({"selection": "last"}, seed, 0.7 + seed / 100)
        chosen = run_of({"selection": how}, seed, accuracy + 0.01, **other)
        runs += [plain, dataclasses.replace(chosen, facts=facts)]
    runs = [dataclasses.replace(run, run_id=run.identity, config={"epochs": 5}) for run in runs]
    study = study_of("one_factor_at_a_time", {"selection": ["last", how]}, runs)
    return summarise(study, runs)


def facts_of(how: Any) -> dict[str, str]:
    """What the training loop says."""
    return selection.SelectedEpoch(how, 1, {}).run_facts


def test_the_gap_is_measured() -> None:
    """Paired by seed: the test accuracy of the selected epoch less that of the last, and of the best on validation images."""
    (cell,) = selected_cells(summary_of("best_on_test", facts_of("best_on_test")).runs)
    assert (cell.levels, cell.how, cell.epochs) == ({"selection": "best_on_test"}, "best_on_test", (3, 6))
    assert cell.accuracy
    assert cell.over_last
    assert cell.over_validation
    assert math.isclose(cell.accuracy.mean, 0.815)
    assert math.isclose(cell.over_last.mean, 0.02)
    assert math.isclose(cell.over_last.high - cell.over_last.low, 0, abs_tol=1e-12)
    assert math.isclose(cell.over_validation.mean, 0.01)
    (cell,) = selected_cells(summary_of("best_on_validation", facts_of("best_on_validation")).runs)
    assert cell.over_validation is None


def test_every_format_says_so() -> None:
    """Warnings, captions and the method of a report, a paper's tables and the replicates' file say what selected."""
    summary = summary_of("best_on_test", facts_of("best_on_test"))
    document, paper = summary_document(summary), paper_document(summary)
    assert f"4 of 8 replicates were {SELECTED_ON_TEST}" in " ".join(document.warnings)
    text = all_outputs(summary)
    assert "+2.00 (+2.00 to +2.00)" in text
    tables = [content for content in to_latex(paper).values() if "caption" in content]
    assert len(tables) == 4  # of the cells, in one column and in two, and of two outcomes
    for output in (text, to_markdown(document), to_html(document), to_markdown(paper), *tables):
        assert SELECTED_ON_TEST.capitalize() in output.replace("\n", " ")
    assert "nothing was selected on the test images" not in text.lower()
    found = [row["selection"] for row in rows(replicates_csv(summary.runs))]
    assert found == ["last", f"best_on_test, {SELECTED_ON_TEST}"] * NUM_SEEDS


@pytest.mark.parametrize(
    ("how", "method"),
    [
        ("last", "No epoch was selected on either."),
        ("best_on_validation", "Epochs were selected on the validation images, whose accuracy is too high by that"),
    ],
)
def test_other_selections_are_not_called_optimistic(how: str, method: str) -> None:
    """Where no test image selected, nothing says that one did; the method says what the validation images selected."""
    text = all_outputs(summary_of(how, facts_of(how)))
    assert "optimistic" not in text.lower()
    assert method in text


def test_trainings_for_seconds_are_marked() -> None:
    """A report says how long training was and how many epochs it came to, and that these are not equal."""
    facts = time_budget.TimeBudget(600.0, {}).run_facts
    runs = []
    for time_steps in (2, 4):
        for seed in range(3):
            run = run_of({"time_steps": time_steps}, seed)
            metrics = {**run.metrics, time_budget.EPOCHS: 4 + time_steps / 10 + seed}
            runs.append(dataclasses.replace(run, run_id=str(seed), facts=facts, metrics=metrics))
    summary = summarise(study_of("one_factor_at_a_time", {"time_steps": [2, 4]}, runs), runs)
    (warning,) = [warning for warning in summary.warnings if "epochs" in warning]
    assert warning.startswith("Trained for 600 s, 4.2 to 6.4 epochs: differences are at equal time")
    assert "Trained for 600 s, 4.2 to 6.4 epochs" in all_outputs(summary).replace("\n", " ")


def test_source_networks_trained_for_seconds_are_marked() -> None:
    """Those of a study that converts or fine-tunes them are called so, as its own replicates have epochs."""
    budget = time_budget.TimeBudget(485.0, {}).run_facts["time_budget"]
    runs = []
    for pool in ("or", "largest_count"):
        for seed in range(3):
            run = run_of({"max_pool": pool}, seed)
            facts = {PARENT_TIME_BUDGET: budget, PARENT_EPOCHS: f"{7.5 + seed}"}
            runs.append(dataclasses.replace(run, run_id=f"{pool}{seed}", facts=facts))
    summary = summarise(study_of("one_factor_at_a_time", {"max_pool": ["largest_count", "or"]}, runs), runs)
    (warning,) = [warning for warning in summary.warnings if "epochs" in warning]
    assert warning.startswith("Source networks trained for 485 s, 7.5 to 9.5 epochs: differences are at equal time")


def test_the_words_are_those_of_the_training() -> None:
    """The analysis, which knows no trainable, reads the names and words that the training loop writes."""
    assert selection.ON_TEST == SELECTED_ON_TEST
    assert facts_of("best_on_test") == {"selection": f"best_on_test, {SELECTED_ON_TEST}"}
