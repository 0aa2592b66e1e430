"""Effects by design, against numbers worked out by hand."""

import math
from dataclasses import replace
from itertools import product

import pytest

from analysis.reporting.formats.html import to_html
from analysis.reporting.formats.tables_csv import effects_csv, replicates_csv
from analysis.reporting.summary_document import summary_document
from analysis.statistics.data.cells import active_levels
from analysis.statistics.data.outcomes import ACCURACY_OUTCOME, Outcome, outcomes_of
from analysis.statistics.effects.level_effects import LevelEffect
from analysis.statistics.summary import Summary, summarise
from studies.run_record import ACCURACY, PRUNED, Level, RunRecord, StudyRecord
from tests.analysis.examples import all_outputs, rows, run_of, study_of

FACTORS: dict[str, list[Level]] = {"a": [0, 1], "b": [0, 1]}
BY_SEED = {0: [0.5, 0.6, 0.7, 0.9], 1: [0.5, 0.5, 0.6, 0.7]}
"""Accuracy of the cells (a, b) = (0, 0), (0, 1), (1, 0), (1, 1)."""

CONDITIONAL: dict[str, list[Level]] = {"gradient": ["exact", "bptt"], "surrogate": ["arctan", "triangle", "sigmoid"]}
CONDITIONS = {"surrogate": {"gradient": ["bptt"]}}
EXACT: dict[str, Level] = {"gradient": "exact"}
ARCTAN: dict[str, Level] = {"gradient": "bptt", "surrogate": "arctan"}
TRIANGLE: dict[str, Level] = {"gradient": "bptt", "surrogate": "triangle"}


def effects_of(summary: Summary, outcome: Outcome = ACCURACY_OUTCOME) -> dict[tuple[str, Level], LevelEffect]:
    return {(effect.factor, effect.level): effect for effect in summary.effects[outcome]}


def difference(effect: LevelEffect) -> float:
    assert effect.contrast is not None
    return effect.contrast.difference.mean


def factorial(design: str = "full_factorial") -> tuple[StudyRecord, list[RunRecord]]:
    runs = [
        run_of({"a": a, "b": b}, seed, accuracy)
        for seed, accuracies in BY_SEED.items()
        for (a, b), accuracy in zip(product((0, 1), repeat=2), accuracies, strict=True)
    ]
    return study_of(design, FACTORS, runs), runs


def around_exact(values: dict[str, list[float]]) -> tuple[StudyRecord, list[RunRecord]]:
    """One factor at a time with a factor that the baseline lacks; accuracy by cell and seed."""
    cells = {"exact": EXACT, "arctan": ARCTAN, "triangle": TRIANGLE}
    runs = [run_of(cells[name], seed, value) for name, found in values.items() for seed, value in enumerate(found)]
    references = {"gradient": EXACT, "surrogate": ARCTAN}
    study = study_of("one_factor_at_a_time", CONDITIONAL, runs, conditions=CONDITIONS, references=references)
    return study, runs


def test_main_effects_by_hand() -> None:
    """Within each seed, the mean of the cells with the level minus that of the cells with the baseline level."""
    summary = summarise(*factorial())
    found = effects_of(summary)
    assert difference(found["a", 1]) == pytest.approx((0.25 + 0.15) / 2)
    assert difference(found["b", 1]) == pytest.approx((0.15 + 0.05) / 2)
    estimate = found["a", 1].estimate
    assert estimate is not None
    assert estimate.mean == pytest.approx((0.8 + 0.65) / 2)
    assert found["a", 1].num_cells == 2
    assert [point.mean for point in found["a", 1].accuracy_at_t] == pytest.approx([0.3625, 0.725])
    contrast = found["a", 1].contrast
    assert contrast is not None
    assert (contrast.p, contrast.corrected_p) == (0.5, 1)  # 2/2**2, times two contrasts
    assert rows(effects_csv(summary))[1]["num_cells"] == "2"
    assert "Main effects: within every seed" in all_outputs(summary)


def test_a_seed_that_is_not_whole_is_adjusted() -> None:
    """It counts with what its cells say beside the cells' means, 0.5, 0.55, 0.65 and 0.9 - 0.1/3; the summary warns."""
    study, runs = factorial()
    runs[7] = run_of({"a": 1, "b": 1}, 1, status="FAILED")
    summary = summarise(study, runs)
    found = effects_of(summary)
    assert difference(found["a", 1]) == pytest.approx((0.25 + 0.7 / 3 - 0.05) / 2)
    assert difference(found["b", 1]) == pytest.approx((0.15 + 0.4 / 3 - 0.05) / 2)
    assert [found["a", level].num_finished for level in (0, 1)] == [2, 2]
    assert any(warning.startswith("1 of 2 seeds have a result in every cell.") for warning in summary.warnings)
    assert "adjusted by a linear model of main effects because" in all_outputs(summary)
    assert not [warning for warning in summarise(*factorial()).warnings if "in every cell" in warning]


def test_main_effects_of_a_conditional_factor() -> None:
    """They are of the cells in which it is active; the factor that it hangs on averages over it, and is balanced."""
    values = {"exact": [0.5, 0.6], "arctan": [0.7, 0.7], "triangle": [0.9, 0.8]}
    study, runs = around_exact(values)
    summary = summarise(replace(study, design="full_factorial"), runs)
    found = effects_of(summary)
    assert difference(found["surrogate", "triangle"]) == pytest.approx((0.2 + 0.1) / 2)
    assert difference(found["gradient", "bptt"]) == pytest.approx((0.3 + 0.15) / 2)
    assert found["surrogate", "sigmoid"].verdict == "not in the design"
    assert not [warning for warning in summary.warnings if "not balanced" in warning]


def test_an_unbalanced_factorial_warns() -> None:
    """Where constraints leave cells out, the levels whose means are of other shares of the other factors are named."""
    study, runs = factorial()
    whole = [run for run in runs if run.levels != {"a": 1, "b": 1}]
    (warning,) = [warning for warning in summarise(study, whole).warnings if "not balanced" in warning]
    assert "a = 1, b = 1" in warning
    assert not [warning for warning in summarise(study, runs).warnings if "not balanced" in warning]


def test_notes_stand_beside_the_effects() -> None:
    """Resolution, generators and aliases are in every output of a fractional factorial."""
    study, runs = factorial("fractional_factorial")
    note = "Aliases: b with a×c."
    text = all_outputs(summarise(replace(study, notes=[note], constraints=["a < b"]), runs))
    assert text.count(note) == 2  # terminal and Markdown
    assert "Constraint: a < b." in text


def test_a_conditional_factor_is_compared_in_its_own_reference_cell() -> None:
    """Its baseline level is not the baseline cell; changing the factor that it hangs on lands in that reference cell."""
    summary = summarise(*around_exact({"exact": [0.5, 0.6], "arctan": [0.7, 0.7], "triangle": [0.9, 0.8]}))
    found = effects_of(summary)
    assert difference(found["gradient", "bptt"]) == pytest.approx((0.2 + 0.1) / 2)
    assert difference(found["surrogate", "triangle"]) == pytest.approx((0.2 + 0.1) / 2)
    assert found["surrogate", "arctan"].is_baseline
    assert found["surrogate", "triangle"].in_cell == {"gradient": "bptt"}
    assert found["gradient", "bptt"].in_cell == {}
    text = " ".join(all_outputs(summary).split())
    assert "validation accuracy by surrogate (baseline arctan, in the cell gradient=bptt): undecided at triangle" in text
    assert "| surrogate, in the cell gradient=bptt | triangle |" in text
    assert "its levels are compared in the cell gradient=bptt surrogate=arctan" in text


def test_a_level_without_a_cell_is_not_missing_data() -> None:
    """What a constraint left out is said to be not in the design, and counts neither as lost nor as a contrast."""
    summary = summarise(*around_exact({"exact": [0.5, 0.6], "arctan": [0.7, 0.7], "triangle": [0.9, 0.8]}))
    effect = effects_of(summary)["surrogate", "sigmoid"]
    assert (effect.verdict, effect.num_planned, effect.estimate, effect.contrast) == ("not in the design", 0, None, None)
    assert "With 2 seeds and 2 contrasts" in summary.warnings[0]
    assert not [warning for warning in summary.warnings if "sigmoid" in warning]
    assert "not in the design: sigmoid" in " ".join(all_outputs(summary).split())


def test_a_conditional_factor_without_a_reference_is_not_compared() -> None:
    """An older record has no reference cells: the baseline is not taken for every level of a factor that it lacks."""
    study, runs = around_exact({"exact": [0.5], "arctan": [0.7], "triangle": [0.9]})
    found = effects_of(summarise(replace(study, references={}), runs))
    assert {found["surrogate", level].verdict for level in CONDITIONAL["surrogate"]} == {"not in the design"}


def test_activity_follows_chains_of_conditions() -> None:
    """A factor is active if its conditions hold and the factors that they name are active themselves; null is a level."""
    conditions = {"b": {"a": [None]}, "c": {"b": [True]}}
    study = study_of("one_factor_at_a_time", {"a": [None, 1], "b": [True, False], "c": [1, 2]}, [], conditions=conditions)
    assert active_levels(study, {"a": None, "b": True, "c": 1}) == {"a": None, "b": True, "c": 1}
    assert active_levels(study, {"a": 1, "b": True, "c": 1}) == {"a": 1}


def test_null_and_true_are_levels() -> None:
    """They are found, compared and written as a study file has them; an inactive factor stays empty."""
    cells: list[dict[str, Level]] = [{"limit": None, "bias": True}, {"limit": 3, "bias": True}, {"limit": None, "bias": False}]
    runs = [run_of(levels, seed, 0.5 + 0.1 * i) for i, levels in enumerate(cells) for seed in range(2)]
    summary = summarise(study_of("leave_one_out", {"limit": [None, 3], "bias": [True, False]}, runs), runs)
    found = effects_of(summary)
    assert difference(found["limit", 3]) == pytest.approx(0.1)
    assert difference(found["bias", False]) == pytest.approx(0.2)
    assert [row["level"] for row in rows(effects_csv(summary))[:4]] == ["null", "3", "true", "false"]
    assert "by limit (baseline null): undecided at 3" in " ".join(all_outputs(summary).split())
    (first, *_) = rows(replicates_csv([*runs, run_of({"limit": 3}, 0)]))[::-1]
    assert (first["limit"], first["bias"]) == ("3", "")


def test_pruned_replicates_are_counted_apart() -> None:
    """They are neither unfinished nor failed, and the level that lost them is said to be flattered."""
    runs = [run_of({"a": a, "b": 0}, seed, status=PRUNED if a and seed < 2 else "FINISHED") for seed in range(4) for a in (0, 1)]
    summary = summarise(study_of("one_factor_at_a_time", FACTORS | {"b": [0]}, runs), runs)
    text = " ".join(all_outputs(summary).split())
    assert "6 of 8 replicates finished, 2 pruned." in text
    assert "a = 1: 2 of 4 replicates were pruned" in text
    assert summary.not_finished == []
    assert "not finished" not in text


def test_a_value_that_is_no_number_is_not_unfinished() -> None:
    """The replicate has finished, and the warning says that it has no value."""
    runs = [run_of({"a": a}, seed, math.nan if a and not seed else 0.5) for seed in range(6) for a in (0, 1)]
    warnings = summarise(study_of("one_factor_at_a_time", {"a": [0, 1]}, runs), runs).warnings
    assert not [warning for warning in warnings if "not finished" in warning]
    assert any(warning.startswith("a = 1: 1 of 6 replicates have no value of validation accuracy;") for warning in warnings)


def test_no_mean_is_beyond_what_an_accuracy_can_be() -> None:
    """Accuracies near 1, one of them lower: Student's t interval would end above 100 %."""
    runs = [run_of({"a": a}, seed, 0.999 if seed else 0.9) for seed in range(4) for a in (0, 1)]
    summary = summarise(study_of("one_factor_at_a_time", {"a": [0, 1]}, runs), runs)
    estimate = effects_of(summary)["a", 1].estimate
    assert estimate is not None
    assert estimate.low < estimate.mean < estimate.high == 1


def test_other_objectives_are_shown_in_their_own_unit() -> None:
    """Any metric can be an objective: no fraction, it has four digits; to be minimised, lower is better."""
    runs = [run_of({"a": a}, seed, energy=1_234_567.0 * (1 - 0.5 * a) + seed) for seed in range(6) for a in (0, 1)]
    study = study_of("one_factor_at_a_time", {"a": [0, 1]}, runs, objectives={"energy": "minimize", ACCURACY: "maximize"})
    summary = summarise(study, runs)
    assert [outcome.metric for outcome in outcomes_of(study)] == ["energy", "val/accuracy", "sparsity/overall"]
    text = " ".join(all_outputs(summary).split())
    assert "energy by a (baseline 0): lower at 1 (-617300, 95 % -617300 to -617300)." in text
    assert "| a | 0 | 6 | 1235000 (1235000 to 1235000) |" in text
    assert 'class="better"' in to_html(summary_document(summary))
