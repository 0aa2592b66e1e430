"""Nested tuning: its trials are counted and shown, and never enter an estimate."""

from analysis.reporting.formats.tables_csv import replicates_csv
from analysis.statistics.data.outcomes import ACCURACY_OUTCOME
from analysis.statistics.summary import Summary, summarise
from studies.run_record import PRUNED, Level, RunRecord
from tests.analysis.examples import all_outputs, rows, run_of, study_of

TUNING = {"parameters": {"lr": "0.001 to 0.1, log"}, "num_trials": 3, "sampler": {"name": "tpe", "seed": 0}, "seed": 99}


def tuned_study(**others: RunRecord) -> Summary:
    """Two cells of three seeds, each tuned by three trials that did much better than the replicates."""
    runs: list[RunRecord] = []
    for steps, lr in ((4, 0.01), (8, 0.02)):
        cell: dict[str, Level] = {"time_steps": steps}
        statuses = ("FINISHED", PRUNED, "FAILED")
        runs += [
            run_of(cell, 99, 0.99, role="tuning", tuned={"lr": lr * i}, status=status) for i, status in enumerate(statuses, 1)
        ]
        runs += [run_of(cell, seed, 0.5 + steps / 100, tuned={"lr": lr}) for seed in range(3)]
    runs += others.values()
    return summarise(study_of("one_factor_at_a_time", {"time_steps": [4, 8]}, runs, tuning=TUNING), runs)


def test_tuning_trials_never_enter_estimates() -> None:
    """Cells, counts and effects are of the study's own replicates."""
    summary = tuned_study()
    effect = summary.effects[ACCURACY_OUTCOME][1]
    assert effect.estimate is not None
    assert effect.contrast is not None
    assert (effect.estimate.mean, effect.num_planned) == (0.58, 3)
    assert effect.contrast.difference.num_values == 3
    text = " ".join(all_outputs(summary).split())
    assert "6 of 6 replicates finished." in text
    assert "Not finished" not in text


def test_the_tuned_values_are_shown_by_cell() -> None:
    """With the trials that they took, and how the tuning was done."""
    summary = tuned_study()
    text = " ".join(all_outputs(summary).split())
    assert "| baseline | 0.01 | 3 | 1 | 1 | 1 |" in text
    assert "| time_steps=8 | 0.02 | 3 | 1 | 1 | 1 |" in text
    assert (
        "Each cell's nuisance hyperparameters (lr 0.001 to 0.1, log) were tuned with a budget of 3 trials (sampler (name tpe, "
        "seed 0)) on seed 99, which is none of the study's seeds."
    ) in text
    written = rows(replicates_csv(summary.runs))
    assert [row["role"] for row in written].count("tuning") == 6
    assert {row["tuned.lr"] for row in written if row["role"] == "cell"} == {"0.01", "0.02"}


def test_a_cell_in_tuning_has_trials_and_no_values() -> None:
    """Its replicates are planned, not absent from the design."""
    cell: dict[str, Level] = {"time_steps": 4}
    runs = [run_of(cell, 99, role="tuning", tuned={"lr": 0.1}), run_of(cell, 0, status="MISSING")]
    summary = summarise(study_of("one_factor_at_a_time", {"time_steps": [4]}, runs, tuning=TUNING), runs)
    assert "| baseline | – | 1 | 1 | 0 | 0 |" in all_outputs(summary)
    assert summary.effects[ACCURACY_OUTCOME][0].num_planned == 1


def test_different_values_within_a_cell_are_told() -> None:
    """Replicates of a cell that were trained with other values than the rest would not be comparable."""
    assert tuned_study().warnings[1:] == []
    odd = run_of({"time_steps": 4}, 3, tuned={"lr": 0.5})
    assert "time_steps=4: its replicates were trained with 2 different tuned values." in tuned_study(odd=odd).warnings
