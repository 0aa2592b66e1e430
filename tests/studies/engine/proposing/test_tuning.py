"""Nuisance hyperparameters tuned per cell, with a simulated driver that is killed at any moment."""

import dataclasses
import random
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search_spaces.language.space import Cell, Factor, Levels, cell_key, make_space
from studies.engine.binding.replicates import Replicate
from studies.engine.definition.study import Study
from studies.run_record import ACCURACY
from tests.studies.simulated_driver import assert_consistent, ledger_of, simulate, surface_study

CELLS = "baseline: {a: 0, b: 0}\nfactors: {a: [-1, 0, 1], b: [0, 1]}\n"


def tuned_study(folder: Path, tuning: str, cells: str = CELLS) -> Study:
    return surface_study(folder, f"seeds: 2\n{cells}tuning: {{{tuning}}}\n")


def some_fail(replicate: Replicate) -> bool:
    return replicate.identity[0] in "01"


@pytest.mark.parametrize("case", range(4))
def test_every_cell_gets_its_budget_and_its_best(case: int, tmp_path: Path) -> None:
    """Wherever drivers die: so many distinct values are tried in each cell, and all its seeds have those of the best one."""
    rng = random.Random(case)
    sampler = ("tpe", "random", "qmc", "{name: gp, n_startup_trials: 3}")[case]
    study = tuned_study(tmp_path / "study", f"parameters: {{f: {{low: -1, high: 1}}}}, num_trials: 4, sampler: {sampler}")
    kills = [rng.randrange(50) for _ in range(5)]
    proposals, shelf = simulate(study, num_at_once=rng.choice([1, 3]), kills=kills, fails=some_fail)
    entries = assert_consistent(study, proposals, shelf)
    for cell in study.cells:
        ours = [entry for entry in entries if entry.cell == cell]
        tried = [entry for entry in ours if entry.role == "tuning"]
        assert len({cell_key(entry.tuned) for entry in tried}) == len(tried) == 4
        assert {entry.seed for entry in tried} == {1000}
        complete = [entry for entry in tried if entry.state == TrialState.COMPLETE]
        best = max(complete, key=lambda entry: entry.values[ACCURACY])
        evaluated = [entry for entry in ours if entry.role == "cell"]
        assert [entry.seed for entry in evaluated] == [0, 1]
        assert all(entry.tuned == best.tuned for entry in evaluated)


def test_an_interrupted_tuning_finds_what_an_undisturbed_one_does(tmp_path: Path) -> None:
    """The same values in the same order, and so the same replicates."""
    tuning = (
        "parameters: {f: {low: -1, high: 1}, e: {low: -1, high: 1}}, num_trials: 5, sampler: {name: tpe, n_startup_trials: 2}"
    )
    undisturbed = tuned_study(tmp_path / "undisturbed", tuning)
    simulate(undisturbed, num_at_once=2)
    interrupted = tuned_study(tmp_path / "interrupted", tuning)
    simulate(interrupted, num_at_once=2, kills=[3, 17, 30, 30])
    assert list(ledger_of(interrupted)) == list(ledger_of(undisturbed))


def test_nothing_is_tried_twice(tmp_path: Path) -> None:
    """Values that make no difference in a cell are one trial there; a network that two cells have in common is trained once."""
    study = tuned_study(tmp_path / "study", "parameters: {variant: [plain, peaked]}, num_trials: 3")
    space = make_space([Factor("peak_width", Levels((0.5, 1.0)))])  # which the check of a study refuses: plain has no peak
    cells: tuple[Cell, ...] = ({"peak_width": 0.5}, {"peak_width": 1.0})
    study = dataclasses.replace(study, space=space, cells=cells)
    proposals, shelf = simulate(study, kills=[4], num_at_once=2)
    entries = ledger_of(study)
    assert set(shelf.begun) == set(entries) == {replicate.identity for replicate in proposals.planned()}
    tried = [(entry.cell["peak_width"], entry.tuned["variant"]) for entry in entries.values() if entry.role == "tuning"]
    assert {variant for _, variant in tried} == {"plain", "peaked"}
    assert len(tried) == 3
    assert len([replicate for replicate in proposals.planned() if replicate.role == "cell"]) == 2 * 2
    assert "The cell peak_width=0.5 was tuned with 2 trials" in proposals.notes()[0]
