"""What becomes of a search's trials when its file changes: those count that the new file would train in the same way."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState

from search_spaces.language.space import cell_key
from studies.engine.binding.replicates import Replicate
from studies.engine.definition.study import Study
from studies.engine.execution.runner import replicate_statuses
from studies.engine.ledger.ledger import open_ledger
from studies.engine.proposing.adaptive_search import SearchProposals, WarmStart
from studies.engine.proposing.earlier_trials import read_known
from studies.engine.proposing.proposals import Proposals
from tests.conftest import run
from tests.studies.simulated_driver import Driver, KilledError, Shelf, assert_consistent, ledger_of, simulate, surface_study

THEY_COUNT = "of an earlier version of this study lie in its search space: they count, and the sampler knows them."
THEY_DO_NOT = "of an earlier version of this study do not count: they are"
NARROW, WIDE = "a: {low: -0.5, high: 0.5}, b: [0, 1]", "a: {low: -1, high: 1}, b: [-1, 0, 1]"


def search(folder: Path, factors: str, *design: str, num_trials: int = 24, **parts: str) -> Study:
    """A search over these factors: a new version of the file at every call."""
    lines = [f"name: adaptive_search, num_trials: {num_trials}, sampler: {{name: tpe, n_startup_trials: 6}}", *design]
    others = "".join(f"{name}: {value}\n" for name, value in parts.items())
    return surface_study(folder, f"seeds: 3\nfactors: {{{factors}}}\ndesign: {{{', '.join(lines)}}}\n{others}")


def go_on(study: Study, shelf: Shelf) -> tuple[Proposals, int]:
    """Run a changed study to its end; returns its proposals, and how many replicates were begun."""
    shelf.begun.clear()
    proposals, shelf = simulate(study, shelf=shelf)
    assert len(set(shelf.begun)) == len(shelf.begun)
    return proposals, len(shelf.begun)


def what_the_sampler_knows(proposals: Proposals) -> list[float]:
    assert isinstance(proposals, SearchProposals)
    trials = proposals._search._study.get_trials(states=(TrialState.COMPLETE,))
    return sorted(trial.values[0] for trial in trials)


def accuracies(study: Study) -> list[float]:
    return sorted(entry.values["val/accuracy"] for entry in ledger_of(study).values() if entry.state == TrialState.COMPLETE)


def notes_of(study: Study) -> list[str]:
    return list(read_known(study, ledger_of(study)).warm_start.notes)


def test_a_wider_space_keeps_the_trials_of_the_narrower_one(tmp_path: Path) -> None:
    """24 are asked for and 12 are there: 12 more are trained, the sampler has learnt from all 24, and the notes say so."""
    before = search(tmp_path, NARROW, num_trials=12)
    _, shelf = simulate(before)
    old = ledger_of(before)
    study = search(tmp_path, WIDE)
    assert notes_of(study) == [f"12 trials {THEY_COUNT}"]
    total, statuses, _ = replicate_statuses(study)
    assert (total, len(statuses)) == (24, 12)
    proposals, num_begun = go_on(study, shelf)
    assert num_begun == 12
    assert proposals.total() == len(proposals.planned()) == 24
    assert what_the_sampler_knows(proposals) == accuracies(study)
    assert len(accuracies(study)) == 24
    assert proposals.notes() == [f"12 trials {THEY_COUNT}"]
    new = ledger_of(study)
    for number, (identity, entry) in enumerate(old.items()):
        taken = new[identity]
        assert list(new)[number] == identity
        assert (taken.state, taken.values, taken.seed, taken.role) == (entry.state, entry.values, entry.seed, entry.role)
    assert go_on(study, shelf)[1] == 0
    assert go_on(before, shelf)[1] == 0  # and back again: the twelve of the narrower space are all it asks for


def test_nothing_is_begun_twice_wherever_drivers_die(tmp_path: Path) -> None:
    """Killed before and after the change, a search ends with what was asked for, and replicates that were in training go on."""
    options = ["seeds_per_trial: 2", "finalists: 1", "pruner: {name: median, n_startup_trials: 3}"]
    before = search(tmp_path, NARROW, *options, num_trials=12, config="{epochs: 4}")
    shelf = Shelf()
    with pytest.raises(KilledError):
        Driver(before, shelf, 60, 3, some_fail, WarmStart(), retry_failed=False).run()
    states = {entry.state for entry in ledger_of(before).values()}
    assert {TrialState.RUNNING, TrialState.COMPLETE, TrialState.FAIL} <= states
    study = search(tmp_path, WIDE, *options, config="{epochs: 4}")
    proposals, shelf = simulate(study, shelf=shelf, kills=[0, 9, 14, 31], num_at_once=3, fails=some_fail)
    entries = assert_consistent(study, proposals, shelf)
    assert len({cell_key(entry.cell) for entry in entries if entry.role == "search"}) == 24
    assert set(ledger_of(before)) <= set(ledger_of(study))
    simulate(study, shelf=shelf, retry_failed=True)
    assert all(entry.state != TrialState.FAIL for entry in ledger_of(study).values())


def some_fail(replicate: Replicate) -> bool:
    return replicate.identity[0] in "01"


def test_trials_outside_of_a_narrower_space_do_not_count(tmp_path: Path) -> None:
    """Those inside do; both numbers are told."""
    before = search(tmp_path, WIDE, num_trials=12)
    _, shelf = simulate(before)
    study = search(tmp_path, NARROW, num_trials=12)
    inside = [entry for entry in ledger_of(before).values() if study.space.contains(entry.cell)]
    assert 0 < len(inside) < 12
    one_counts = f"{len(inside)} {'trial' if len(inside) == 1 else 'trials'} {THEY_COUNT}"
    assert notes_of(study) == [one_counts, f"{12 - len(inside)} trials {THEY_DO_NOT} outside of the search space now."]
    assert go_on(study, shelf)[1] == 12 - len(inside)
    assert len(accuracies(study)) == 12


def test_trials_that_break_a_new_constraint_do_not_count(tmp_path: Path) -> None:
    """They are told, and as many others are trained."""
    before = search(tmp_path, WIDE, num_trials=12)
    _, shelf = simulate(before)
    study = search(tmp_path, WIDE, num_trials=12, constraints="[a + b <= 0.5]")
    broken = [entry for entry in ledger_of(before).values() if not study.binder.accepts(entry.cell)]
    assert 1 < len(broken) < 12
    assert notes_of(study) == [f"{len(broken)} trials {THEY_DO_NOT} not allowed by its constraints now."]
    proposals, num_begun = go_on(study, shelf)
    assert num_begun == len(broken)
    assert len(what_the_sampler_knows(proposals)) == 12


def test_another_recipe_begins_anew(tmp_path: Path) -> None:
    """Trials of another number of epochs do not count, in a space that is the same and in one that is not."""
    before = search(tmp_path, NARROW, num_trials=6)
    _, shelf = simulate(before)
    old = set(ledger_of(before))
    for factors in (NARROW, WIDE):
        study = search(tmp_path, factors, num_trials=6, config="{epochs: 2}")
        assert notes_of(study) == [f"6 trials {THEY_DO_NOT} of another recipe or on other data."]
        assert set(read_known(study, ledger_of(study)).not_counted) == old
        if factors == NARROW:
            continue
        assert go_on(study, shelf)[1] == 6


@pytest.mark.parametrize(
    "added",
    [
        "c: [-1, 0, 1]",  # 0 is the default
        "c: {low: -1, high: 1}",
        "c: {low: -1, high: 1, step: 0.5}",
        "variant: [peaked, plain], peak_width: {low: 0.1, high: 2, log: true, when: {variant: peaked}}",
    ],
)
def test_a_factor_may_be_added(added: str, tmp_path: Path) -> None:
    """Trials from before have its default, where that is one of its levels, and count."""
    _, shelf = simulate(search(tmp_path, NARROW, num_trials=6))
    study = search(tmp_path, f"{NARROW}, {added}", num_trials=12)
    assert notes_of(study) == [f"6 trials {THEY_COUNT}"]
    proposals, num_begun = go_on(study, shelf)
    assert num_begun == 6
    assert len(what_the_sampler_knows(proposals)) == 12
    name = added.partition(":")[0]
    assert [entry.cell[name] for entry in ledger_of(study).values()][:6] == [{"c": 0.0, "variant": "plain"}[name]] * 6


def test_a_field_may_become_a_factor_and_a_factor_a_field(tmp_path: Path) -> None:
    """Trials count whose value of the field is among the factor's levels; then those whose level is the field's value."""
    _, shelf = simulate(search(tmp_path, NARROW, num_trials=6, config="{c: 0.5}"))
    study = search(tmp_path, f"{NARROW}, c: [0.25, 0.5]", num_trials=12)
    assert notes_of(study) == [f"6 trials {THEY_COUNT}"]
    assert go_on(study, shelf)[1] == 6
    quarter = sum(entry.cell["c"] == 0.25 for entry in ledger_of(study).values())
    assert quarter
    again = search(tmp_path, NARROW, num_trials=12, config="{c: 0.25}")
    assert f"{quarter} {'trial' if quarter == 1 else 'trials'} {THEY_COUNT}" in notes_of(again)
    assert go_on(again, shelf)[1] == 12 - quarter


def test_without_its_levels_no_trial_counts(tmp_path: Path) -> None:
    """An added factor that cannot be what it was makes all trials those of another recipe."""
    _, shelf = simulate(search(tmp_path, NARROW, num_trials=6))
    study = search(tmp_path, f"{NARROW}, c: [0.25, 0.5]", num_trials=6)
    assert notes_of(study) == [f"6 trials {THEY_DO_NOT} of another recipe or on other data."]
    assert go_on(study, shelf)[1] == 6


def test_what_a_study_has_cost_is_kept(tmp_path: Path) -> None:
    """The hours of its budget do not begin anew with its search space, also of a design."""
    before = search(tmp_path, NARROW, num_trials=6)
    open_ledger(before.stores.ledger, before.stores.name, before.space).store_meter({"seconds": 7.0})
    simulate(before)
    for study in (search(tmp_path, WIDE), surface_study(tmp_path, "seeds: 2\nfactors: {a: [0, 1]}\nbaseline: {a: 0}\n")):
        simulate(study)
        assert open_ledger(study.stores.ledger, study.stores.name, study.space).meter() == {"seconds": 7.0}


@pytest.mark.slow
def test_a_real_search_goes_on_in_a_wider_space(tmp_path: Path) -> None:
    """As a user runs it: the sentence stands in check and in run, 12 runs are added to the 12 in MLflow, none is doubled."""
    before = search(tmp_path, NARROW, num_trials=12)
    result = run(Path(before.file))
    assert result.returncode == 0, result.stdout + result.stderr
    study = search(tmp_path, WIDE)
    result = run(Path(study.file))
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"12 trials {THEY_COUNT}" in " ".join(result.stdout.split())
    assert len(ledger_of(study)) == 24
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("surface").experiment_id], "tags.`spikesweep.kind` = 'replicate'")
    assert len(runs) == len({found.data.tags["spikesweep.identity"] for found in runs}) == 24
    assert {found.info.status for found in runs} == {"FINISHED"}
    result = run(Path(study.file), "--set", "config.epochs=2", "--set", "design.num_trials=3")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 of 3 replicates finished" in result.stdout
