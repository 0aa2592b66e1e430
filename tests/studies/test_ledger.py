"""The ledger on a real SQLite file: states, taking up after a death, changed levels."""

import dataclasses
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search_spaces.language.space import make_space
from studies.engine.ledger import list_ledger, open_ledger, read_ledger
from studies.engine.problems import StudyError
from studies.engine.reading import load_study
from studies.run_record import ACCURACY, SPARSITY


def test_a_replicate_from_running_to_its_end(tiny_study: Path) -> None:
    """Values and reasons are kept, with what each replicate is for; another opening of the file sees the same."""
    study = load_study(str(tiny_study))
    ledger = open_ledger(study.stores.ledger_url, "tiny", study.space)
    tuned = dataclasses.replace(study.replicates[2], role="tuning", tuned={"lr": 0.01}, notes={"sampler:generation": 3})
    for replicate in (study.replicates[3], study.replicates[0], tuned, study.replicates[1]):
        ledger.begin(replicate)
    first, second, third, fourth = (study.replicates[i].identity for i in (0, 3, 2, 1))
    ledger.complete(first, {ACCURACY: 0.5, SPARSITY: 0.9, "train/loss": 1.0})
    ledger.fail(second, "epoch 2: broken")
    ledger.prune(third, "stopped after epoch 1")

    again = open_ledger(study.stores.ledger_url, "tiny", study.space).entries()
    assert again == ledger.entries()
    assert list(again) == [second, first, third, fourth]
    assert (again[first].state, dict(again[first].values)) == (TrialState.COMPLETE, {ACCURACY: 0.5, SPARSITY: 0.9})
    assert (again[second].state, again[second].reason) == (TrialState.FAIL, "epoch 2: broken")
    assert (again[first].cell, again[first].seed, again[first].role) == (study.replicates[0].cell, 0, "cell")
    assert (again[third].state, again[third].reason) == (TrialState.PRUNED, "stopped after epoch 1")
    assert (again[third].role, again[third].tuned, again[third].notes) == ("tuning", {"lr": 0.01}, {"sampler:generation": 3})
    assert again[fourth].state == TrialState.RUNNING
    assert list_ledger(study.stores.ledger_url) == {"tiny": {"FAIL": 1, "COMPLETE": 1, "PRUNED": 1, "RUNNING": 1}}


def test_another_process_can_end_what_a_dead_one_began(tiny_study: Path) -> None:
    """A RUNNING replicate of a dead driver stays the same trial for the next one; a failed one, tried again, is another."""
    study = load_study(str(tiny_study))
    replicate = study.replicates[0]
    open_ledger(study.stores.ledger_url, "tiny", study.space).begin(replicate)
    successor = open_ledger(study.stores.ledger_url, "tiny", study.space)
    left = successor.entries()[replicate.identity]
    successor.begin(replicate)
    successor.fail(replicate.identity, "gone")
    assert successor.entries()[replicate.identity] == dataclasses.replace(left, state=TrialState.FAIL, reason="gone")
    successor.begin(replicate)
    assert successor.entries()[replicate.identity].trial_id != left.trial_id
    assert list_ledger(study.stores.ledger_url) == {"tiny": {"RUNNING": 1}}


def test_levels_may_change(tiny_study: Path) -> None:
    """A study with another level goes on in a space of its own; one with more seeds in the same."""
    study, wider = load_study(str(tiny_study)), load_study(str(tiny_study), ["factors.time_steps=[2,4,8]"])
    longer = load_study(str(tiny_study), ["seeds=3"])
    for each in (study, wider, longer):
        ledger = open_ledger(each.stores.ledger_url, "tiny", each.space)
        for replicate in each.replicates:
            if replicate.identity not in ledger.entries():
                ledger.begin(replicate)
    sizes = [len(read_ledger(each.stores.ledger_url, "tiny", each.space)) for each in (study, wider, longer)]
    assert sizes == [9, 8, 9]


def test_no_ledger(tmp_path: Path) -> None:
    """Looking makes no file; a database out of reach is a problem that does not show the password."""
    url = f"sqlite:///{tmp_path / 'absent.db'}"
    assert list_ledger(url) == {}
    assert read_ledger(url, "tiny", make_space([])) == {}
    assert not list(tmp_path.iterdir())
    with pytest.raises(StudyError) as caught:
        open_ledger(f"sqlite:///{tmp_path}", "tiny", make_space([]))
    assert "the ledger must be a database" in str(caught.value)
