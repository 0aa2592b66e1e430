"""The ledger on a real SQLite file: states, taking up after a death, changed levels."""

from pathlib import Path

import pytest
from optuna.trial import TrialState

from studies.engine.ledger import list_ledger, open_ledger, read_ledger
from studies.engine.problems import StudyError
from studies.engine.study import load_study
from studies.run_record import ACCURACY, SPARSITY


def test_a_replicate_from_waiting_to_complete_or_failed(tiny_study: Path) -> None:
    """Replicates are claimed in any order; values and reasons are kept; another opening of the file sees the same."""
    study = load_study(str(tiny_study))
    ledger = open_ledger(study.stores.ledger_url, "tiny", study.factors)
    ledger.add(study.replicates, study.factors)
    first, second = study.replicates[0].identity, study.replicates[3].identity
    ledger.claim(second)
    ledger.claim(first)
    assert [i for i, entry in ledger.entries().items() if entry.state == TrialState.RUNNING] == [first, second]
    ledger.complete(first, {ACCURACY: 0.5, SPARSITY: 0.9, "train/loss": 1.0})
    ledger.fail(second, "epoch 2: broken")

    again = open_ledger(study.stores.ledger_url, "tiny", study.factors).entries()
    assert (again[first].state, dict(again[first].values)) == (TrialState.COMPLETE, {ACCURACY: 0.5, SPARSITY: 0.9})
    assert (again[second].state, again[second].reason) == (TrialState.FAIL, "epoch 2: broken")
    assert again[first].levels == {**study.replicates[0].cell, "seed": 0}
    assert list_ledger(study.stores.ledger_url) == {"tiny": {"COMPLETE": 1, "FAIL": 1, "WAITING": 4}}


def test_another_process_can_end_what_a_dead_one_began(tiny_study: Path) -> None:
    """A RUNNING replicate of a dead driver is completed or failed by the next one, under its old number."""
    study = load_study(str(tiny_study))
    ledger = open_ledger(study.stores.ledger_url, "tiny", study.factors)
    ledger.add(study.replicates, study.factors)
    identity = study.replicates[0].identity
    ledger.claim(identity)
    successor = open_ledger(study.stores.ledger_url, "tiny", study.factors)
    assert successor.entries()[identity].state == TrialState.RUNNING
    successor.fail(identity, "gone")
    assert successor.entries()[identity].number == 0
    assert ledger.entries()[identity].reason == "gone"


def test_levels_may_change(tiny_study: Path) -> None:
    """A study with another level goes on in a space of its own; one with more seeds in the same."""
    study, wider = load_study(str(tiny_study)), load_study(str(tiny_study), ["factors.time_steps=[2,4,8]"])
    longer = load_study(str(tiny_study), ["seeds=3"])
    ledger = open_ledger(study.stores.ledger_url, "tiny", study.factors)
    ledger.add(study.replicates, study.factors)
    other = open_ledger(study.stores.ledger_url, "tiny", wider.factors)
    other.add(wider.replicates, wider.factors)
    same = open_ledger(study.stores.ledger_url, "tiny", longer.factors)
    same.add([r for r in longer.replicates if r.identity not in same.entries()], longer.factors)
    assert (len(ledger.entries()), len(other.entries()), len(same.entries())) == (9, 8, 9)


def test_no_ledger(tmp_path: Path) -> None:
    """Looking makes no file; a database out of reach is a problem that does not show the password."""
    url = f"sqlite:///{tmp_path / 'absent.db'}"
    assert list_ledger(url) == {}
    assert read_ledger(url, "tiny", {"time_steps": [1, 2]}) == {}
    assert not list(tmp_path.iterdir())
    with pytest.raises(StudyError) as caught:
        open_ledger(f"sqlite:///{tmp_path}", "tiny", {"time_steps": [1, 2]})
    assert "the ledger must be a database" in str(caught.value)
