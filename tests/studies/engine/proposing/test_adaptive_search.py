"""Adaptive searches with a simulated driver that is killed at any moment."""

import random
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState

from search_spaces.language.space import cell_key
from studies.engine.binding.replicates import Replicate
from studies.engine.definition.study import Study
from studies.engine.proposing.adaptive_search import KnownConfiguration, SearchProposals, WarmStart
from tests.conftest import Start, run, wait_for
from tests.studies.simulated_driver import Shelf, assert_consistent, ledger_of, simulate, surface_study

SPACE = """
factors:
  a: {low: -1, high: 1}
  e: {low: -1, high: 1, step: 0.5}
  b: {low: -1, high: 1}
  variant: [plain, peaked, steep]
  peak_width: {low: 0.1, high: 2, log: true, when: {variant: peaked}}
constraints: ["a + e < 1.5"]
"""
TWO_OBJECTIVES = "objectives: {val/accuracy: maximize, sparsity/overall: maximize}"
PRUNER = "pruner: {name: median, n_startup_trials: 3}"


def search(folder: Path, *design: str, num_trials: int = 12, epochs: int = 4, seeds: int = 3, space: str = SPACE) -> Study:
    lines = [f"name: adaptive_search, num_trials: {num_trials}", *design]
    return surface_study(folder, f"config: {{epochs: {epochs}}}\nseeds: {seeds}\n{space}design: {{{', '.join(lines)}}}\n")


def some_fail(replicate: Replicate) -> bool:
    return replicate.identity[0] in "01"


def outcome(study: Study) -> list[tuple[str, TrialState, str]]:
    """Everything that was decided, in the order in which it was begun."""
    return [(identity, entry.state, entry.role) for identity, entry in ledger_of(study).items()]


@pytest.mark.parametrize("case", range(8))
def test_a_search_survives_any_kills(case: int, tmp_path: Path) -> None:
    """Wherever drivers die: distinct, allowed trials, as many as asked for, and the promised finalists."""
    rng = random.Random(case)
    sampler = ("tpe", "{name: nsga2, population_size: 4}", "random", "qmc", "{name: cma_es, popsize: 4}")[case % 5]
    pruner = ("median", "{name: successive_halving, min_resource: 1, reduction_factor: 2}", "hyperband")[case % 3]
    objectives = TWO_OBJECTIVES if case % 2 and "cma" not in sampler else "objectives: {val/accuracy: maximize}"
    seeds_per_trial = rng.choice([1, 2])
    options = [f"sampler: {sampler}", f"pruner: {pruner}", objectives, f"seeds_per_trial: {seeds_per_trial}", "finalists: 2"]
    study = search(tmp_path / "study", *options, "limits: {spikes_per_neuron/overall: {at_most: 2.3}}")
    kills = [rng.randrange(60) for _ in range(8)]
    proposals, shelf = simulate(study, num_at_once=rng.choice([1, 2, 5]), kills=kills, fails=some_fail)
    entries = assert_consistent(study, proposals, shelf)
    searched = {cell_key(entry.cell) for entry in entries if entry.role == "search"}
    assert len(searched) == 12
    finalists = [entry for entry in entries if entry.role == "finalist"]
    may_win = _that_keep_the_limit(study, shelf, seeds_per_trial)
    assert {cell_key(entry.cell) for entry in finalists} <= may_win
    pairs = {(cell_key(entry.cell), entry.seed) for entry in finalists}
    assert len(pairs) == len(finalists) == min(2, len(may_win)) * (3 - seeds_per_trial)
    assert {entry.seed for entry in finalists} <= set(range(seeds_per_trial, 3))
    for cell in searched:  # a trial that has not gone well is not tried with more seeds afterwards
        of_cell = [entry for entry in entries if entry.role == "search" and cell_key(entry.cell) == cell]
        assert len(of_cell) == seeds_per_trial or any(entry.state != TrialState.COMPLETE for entry in of_cell)


def _that_keep_the_limit(study: Study, shelf: Shelf, seeds_per_trial: int) -> set[object]:
    """The cells whose search seeds are all COMPLETE, and whose neurons spike little enough on average."""
    spikes: dict[object, list[float]] = {}
    for identity, entry in ledger_of(study).items():
        if entry.role == "search" and entry.state == TrialState.COMPLETE:
            last = shelf.reports[identity][-1].metrics
            spikes.setdefault(cell_key(entry.cell), []).append(last["spikes_per_neuron/overall"])
    whole = {cell: of_cell for cell, of_cell in spikes.items() if len(of_cell) == seeds_per_trial}
    return {cell for cell, of_cell in whole.items() if sum(of_cell) / len(of_cell) <= 2.3}


@pytest.mark.parametrize(
    ("options", "num_at_once"),
    [
        (["sampler: tpe", PRUNER], 1),
        (["sampler: tpe", PRUNER, TWO_OBJECTIVES, "seeds_per_trial: 2"], 3),
        (["sampler: {name: nsga2, population_size: 4}", TWO_OBJECTIVES], 1),
        (["sampler: random", "pruner: {name: successive_halving, min_resource: auto, reduction_factor: 2}"], 3),
        (["sampler: random", "pruner: hyperband"], 4),
        (["sampler: qmc", "pruner: {name: patient, wrapped_pruner: median, patience: 0}"], 1),
        (["sampler: {name: gp, n_startup_trials: 8}", "pruner: {name: threshold, lower: 0.35}"], 1),
    ],
)
def test_an_interrupted_search_decides_what_an_undisturbed_one_does(options: list[str], num_at_once: int, tmp_path: Path) -> None:
    """The same proposals, the same ones stopped early at the same epochs, the same finalists, wherever drivers die."""
    options = [*options, "finalists: 2"]
    undisturbed = search(tmp_path / "undisturbed", *options)
    _, expected = simulate(undisturbed, num_at_once=num_at_once, fails=some_fail)
    rng = random.Random(str(options))
    interrupted = search(tmp_path / "interrupted", *options)
    _, shelf = simulate(interrupted, num_at_once=num_at_once, fails=some_fail, kills=[rng.randrange(40) for _ in range(6)])
    assert outcome(interrupted) == outcome(undisturbed)
    assert shelf.verdicts == expected.verdicts


def test_a_finite_space_is_tried_whole(tmp_path: Path) -> None:
    """Every allowed configuration once, also where the sampler finds none; configurations that are one network count once."""
    space = """
factors:
  variant: [plain, peaked]
  peak_width: [0.5, 1, 2]
  a: [-1, 0, 1]
constraints: ["a < 1 or variant == 'plain'"]
"""
    study = search(tmp_path / "study", "sampler: tpe", "finalists: 1", num_trials=50, epochs=1, space=space)
    proposals, shelf = simulate(study, kills=[15, 20])
    entries = assert_consistent(study, proposals, shelf)
    assert Counter(entry.role for entry in entries) == {"search": 3 + 2 * 3, "finalist": 2}
    assert proposals.notes() == ["The search ended after 9 trials: no configuration is left that is new and allowed."]


def test_failures_may_be_tried_again(tmp_path: Path) -> None:
    """--retry-failed begins every failed trial once more and nothing else, and without it none."""
    study = search(tmp_path / "study", "sampler: random", "seeds_per_trial: 2")
    _, shelf = simulate(study, fails=some_fail, num_at_once=3)
    failed = [identity for identity, entry in ledger_of(study).items() if entry.state == TrialState.FAIL]
    assert failed
    shelf.begun.clear()
    simulate(study, shelf=shelf)
    assert shelf.begun == []
    simulate(study, shelf=shelf, retry_failed=True)
    assert set(failed) <= set(shelf.begun)
    entries = ledger_of(study)
    assert all(entry.state == TrialState.COMPLETE for entry in entries.values())
    assert len({cell_key(entry.cell) for entry in entries.values()}) == 12
    assert len(entries) == 24


def test_a_search_may_go_on(tmp_path: Path) -> None:
    """With more trials asked for, the old ones stay, and finalists that were begun stay finalists."""
    simulate(search(tmp_path / "study", "finalists: 1"))
    study = search(tmp_path / "study", "finalists: 1", num_trials=20)
    old = outcome(study)
    proposals, shelf = simulate(study, shelf=_shelf_of(study))
    entries = ledger_of(study)
    assert outcome(study)[: len(old)] == old
    assert {replicate.identity for replicate in proposals.planned()} == set(entries)
    assert sum(entry.role == "search" for entry in entries.values()) == 20
    assert len(shelf.begun) == len(entries) - len(old)


def _shelf_of(study: Study) -> Shelf:
    """What is left where checkpoints were deleted: the ledger still has accuracy and sparsity."""
    assert ledger_of(study)
    return Shelf()


def test_what_is_known_is_not_trained(tmp_path: Path) -> None:
    """Configurations of earlier studies are learnt from and never proposed; they may become finalists, with fresh seeds."""
    metrics = {"val/accuracy": 0.99, "sparsity/overall": 0.99}
    space = "factors: {a: [-1, 0, 1], b: [-1, 0, 1]}\n"
    study = search(tmp_path / "study", "finalists: 1", num_trials=50, epochs=1, space=space)
    warm = WarmStart([KnownConfiguration({"a": 0.0, "b": 0.0}, {0: metrics})], ["Others were left out."])
    proposals, shelf = simulate(study, warm=warm, kills=[12])
    entries = assert_consistent(study, proposals, shelf)
    known = [entry for entry in entries if entry.cell == {"a": 0.0, "b": 0.0}]
    assert [(entry.role, entry.seed) for entry in known] == [("finalist", 1), ("finalist", 2)]
    assert sum(entry.role == "search" for entry in entries) == 8
    assert proposals.notes()[:2] == ["Others were left out.", "The search began with 1 configurations of earlier studies."]


def test_cells_of_a_design_are_known_to_a_search_in_their_place(tmp_path: Path) -> None:
    """A study whose design becomes a search does not train its cells again."""
    text = "seeds: 2\nfactors: {a: [-1, 0, 1], b: [-1, 0, 1]}\n"
    simulate(surface_study(tmp_path / "study", text + "baseline: {a: 0, b: 0}\n"))
    study = surface_study(tmp_path / "study", text + "design: {name: adaptive_search, num_trials: 9}\n")
    proposals, shelf = simulate(study)
    assert isinstance(proposals, SearchProposals)
    assert len(shelf.begun) == 9 - 5
    assert "The search began with 5 configurations that this study had trained as cells of a design." in proposals.notes()


def test_a_metric_that_nobody_reports(tmp_path: Path) -> None:
    """The search goes on without learning from it, and says so."""
    study = search(tmp_path / "study", "objectives: {ops/energy_pj: minimize}", "finalists: 1", num_trials=4)
    proposals, shelf = simulate(study, kills=[10])
    assert len(assert_consistent(study, proposals, shelf)) == 4
    assert "learnt nothing from 4 trials, which did not report all of ops/energy_pj" in proposals.notes()[0]


@pytest.mark.slow
def test_a_real_search_is_killed_and_goes_on(tmp_path: Path, start: Start) -> None:
    """kill -9 of a real driver in a search with two objectives and a pruner: one run per replicate, each ended as it ended."""
    folder = tmp_path / "study"
    options = [TWO_OBJECTIVES, PRUNER, "finalists: 2", "limits: {spikes_per_neuron/overall: {at_most: 2.3}}"]
    study = search(folder, *options, num_trials=20, epochs=6)
    driver = start(folder / "surface.yaml", "--set", "config.seconds_per_epoch=0.02")
    wait_for(folder, "checkpoints/*/reports.json", 8, driver)
    driver.kill()
    driver.wait()
    assert len(ledger_of(study)) < 20
    result = run(folder / "surface.yaml")
    assert result.returncode == 0, result.stdout + result.stderr
    entries = ledger_of(study)
    assert Counter(entry.role for entry in entries.values()) == {"search": 20, "finalist": 4}
    assert all(entry.state in (TrialState.COMPLETE, TrialState.PRUNED) for entry in entries.values())
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("surface").experiment_id], "tags.`spikesweep.kind` = 'replicate'")
    statuses = {found.data.tags["spikesweep.identity"]: found.info.status for found in runs}
    assert len(statuses) == len(runs) == 24
    for found in runs:
        pruned = entries[found.data.tags["spikesweep.identity"]].state == TrialState.PRUNED
        assert found.info.status == ("KILLED" if pruned else "FINISHED")
        assert found.data.tags.get("spikesweep.state") == ("pruned" if pruned else None)
    assert any(entry.state == TrialState.PRUNED for entry in entries.values())


@pytest.mark.parametrize("objectives", ["objectives: {val/accuracy: maximize}", TWO_OBJECTIVES])
def test_a_search_ends_once_it_has_converged(objectives: str, tmp_path: Path) -> None:
    """So many trials in a row that were no better are enough, wherever drivers died; with more patience it goes on."""
    options = ["sampler: random", objectives, "finalists: 1"]
    study = search(tmp_path / "study", *options, "converged_after: 4", num_trials=60, epochs=1)
    undisturbed, shelf = simulate(study)
    assert_consistent(study, undisturbed, shelf)
    searched = [entry for entry in ledger_of(study).values() if entry.role == "search"]
    values = [[entry.values[name] for name in study.objectives] for entry in searched]
    improved = [not any(map(dominates, values[:i], [value] * i)) for i, value in enumerate(values)]
    windows = [any(improved[i : i + 4]) for i in range(len(values) - 3)]
    assert windows == [True] * (len(windows) - 1) + [False]
    assert "the last 4 were no better" in undisturbed.notes()[-1]

    killed = search(tmp_path / "killed", *options, "converged_after: 4", num_trials=60, epochs=1)
    simulate(killed, kills=[3, 7, 2, 11])
    assert outcome(killed) == outcome(study)
    patient = search(tmp_path / "study", *options, "converged_after: 9", num_trials=60, epochs=1)
    proposals, _ = simulate(patient, shelf=shelf)
    assert len([entry for entry in ledger_of(patient).values() if entry.role == "search"]) > len(searched)
    assert set(ledger_of(study)) <= {replicate.identity for replicate in proposals.planned()}


def dominates(one: list[float], other: list[float]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True))
