"""The ledger in real files: states, taking up after a death, changed levels, torn and full files."""

import dataclasses
import json
import resource
import signal
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search_spaces.language.space import make_space
from studies.engine.definition.loading import load_study
from studies.engine.errors import StudyError
from studies.engine.ledger.ledger import LONGEST_TRACEBACK, LedgerError, ReplicateEnd, open_ledger, read_ledger
from studies.run_record import ACCURACY, SPARSITY
from tests.studies.stage import list_ledger


def test_a_replicate_from_running_to_its_end(tiny_study: Path) -> None:
    """Values and reasons are kept, with what each replicate is for; another opening of the file sees the same."""
    study = load_study(str(tiny_study))
    ledger = open_ledger(study.stores.ledger, "tiny", study.space)
    tuned = dataclasses.replace(study.replicates[2], role="tuning", tuned={"lr": 0.01}, notes={"sampler:generation": 3})
    for replicate in (study.replicates[3], study.replicates[0], tuned, study.replicates[1]):
        ledger.begin(replicate)
    first, second, third, fourth = (study.replicates[i].identity for i in (0, 3, 2, 1))
    ledger.complete(first, {ACCURACY: 0.5, SPARSITY: 0.9, "train/loss": 1.0})
    ledger.fail(second, "epoch 2: broken")
    ledger.prune(third, "stopped after epoch 1")

    again = open_ledger(study.stores.ledger, "tiny", study.space).entries()
    assert again == ledger.entries()
    assert list(again) == [second, first, third, fourth]
    assert (again[first].state, dict(again[first].values)) == (TrialState.COMPLETE, {ACCURACY: 0.5, SPARSITY: 0.9})
    assert (again[second].state, again[second].reason) == (TrialState.FAIL, "epoch 2: broken")
    assert (again[first].cell, again[first].seed, again[first].role) == (study.replicates[0].cell, 0, "cell")
    assert (again[third].state, again[third].reason) == (TrialState.PRUNED, "stopped after epoch 1")
    assert (again[third].role, again[third].tuned, again[third].notes) == ("tuning", {"lr": 0.01}, {"sampler:generation": 3})
    assert again[fourth].state == TrialState.RUNNING
    assert list_ledger(study.stores.ledger) == {"tiny": {"FAIL": 1, "COMPLETE": 1, "PRUNED": 1, "RUNNING": 1}}


def test_what_only_the_driver_knows_of_an_end(tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time, cost and traceback of an end are kept, the traceback within bounds; until the state is written, nothing has ended,
    and the reason that was written before it does not stay with another end.
    """
    study = load_study(str(tiny_study))
    failed, interrupted = study.replicates[:2]
    ledger = open_ledger(study.stores.ledger, "tiny", study.space)
    for replicate in (failed, interrupted):
        ledger.begin(replicate)
    traceback = f"Traceback:{'x' * LONGEST_TRACEBACK}Error: broken"
    ledger.fail(failed.identity, "broken", ReplicateEnd(5, {"cost/seconds": 1.5}, traceback))
    monkeypatch.setattr(ledger, "_set_state", _refuse)
    with pytest.raises(LedgerError):
        ledger.prune(interrupted.identity, "stopped early", ReplicateEnd(6))
    successor = open_ledger(study.stores.ledger, "tiny", study.space)
    kept = successor.entries()[failed.identity].end
    assert kept
    assert (kept.at_ms, kept.cost) == (5, {"cost/seconds": 1.5})
    assert kept.traceback.startswith("Traceback:x")
    assert kept.traceback.endswith("xError: broken")
    assert "\n[23 characters left out]\n" in kept.traceback
    left = successor.entries()[interrupted.identity]
    assert (left.state, left.reason, left.end) == (TrialState.RUNNING, "", None)
    successor.complete(interrupted.identity, {ACCURACY: 0.5, SPARSITY: 0.9}, ReplicateEnd(7))
    left = open_ledger(study.stores.ledger, "tiny", study.space).entries()[interrupted.identity]
    assert (left.state, left.reason, left.end) == (TrialState.COMPLETE, "", ReplicateEnd(7))
    assert left.begun_at_ms > 1_700_000_000_000


def _refuse(*_: object) -> None:
    raise OSError("no space left on device")


def test_another_process_can_end_what_a_dead_one_began(tiny_study: Path) -> None:
    """A RUNNING replicate of a dead driver stays the same trial for the next one; a failed one, tried again, is another."""
    study = load_study(str(tiny_study))
    replicate = study.replicates[0]
    open_ledger(study.stores.ledger, "tiny", study.space).begin(replicate)
    successor = open_ledger(study.stores.ledger, "tiny", study.space)
    left = successor.entries()[replicate.identity]
    successor.begin(replicate)
    successor.fail(replicate.identity, "gone")
    assert successor.entries()[replicate.identity] == dataclasses.replace(left, state=TrialState.FAIL, reason="gone")
    successor.begin(replicate)
    assert successor.entries()[replicate.identity].trial_id != left.trial_id
    assert list_ledger(study.stores.ledger) == {"tiny": {"RUNNING": 1}}


def test_levels_may_change(tiny_study: Path) -> None:
    """A study with another level goes on in a space of its own; one with more seeds in the same."""
    study, wider = load_study(str(tiny_study)), load_study(str(tiny_study), ["factors.time_steps=[2,4,8]"])
    longer = load_study(str(tiny_study), ["seeds=3"])
    for each in (study, wider, longer):
        ledger = open_ledger(each.stores.ledger, "tiny", each.space)
        for replicate in each.replicates:
            if replicate.identity not in ledger.entries():
                ledger.begin(replicate)
    sizes = [len(read_ledger(each.stores.ledger, "tiny", each.space)) for each in (study, wider, longer)]
    assert sizes == [9, 8, 9]


def test_no_ledger(tmp_path: Path) -> None:
    """Looking makes no file; a database out of reach is a problem that does not show the password."""
    url = f"sqlite:///{tmp_path / 'absent.db'}"
    assert list_ledger(url) == {}
    assert read_ledger(url, "tiny", make_space([])) == {}
    assert not list(tmp_path.iterdir())
    with pytest.raises(StudyError) as caught:
        open_ledger(f"sqlite:///{tmp_path}", "tiny", make_space([]))
    assert "a ledger must be a file or database that does not exist yet" in str(caught.value)


def test_a_journal_with_a_torn_end(tiny_study: Path) -> None:
    """Half a record, as a dead writer or a full disk leaves it, is not seen, and is gone with the next record."""
    study = load_study(str(tiny_study))
    stores, journal = study.stores, Path(study.stores.ledger)
    open_ledger(stores.ledger, "tiny", study.space).begin(study.replicates[0])
    with journal.open("a") as file:
        file.write('{"op_code":4,"worker_id":"' + "x" * 100_000)
    assert len(read_ledger(stores.ledger, "tiny", study.space)) == 1
    open_ledger(stores.ledger, "tiny", study.space).begin(study.replicates[1])
    assert len(read_ledger(stores.ledger, "tiny", study.space)) == 2
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_a_full_disk_takes_nothing_from_a_journal(tiny_study: Path) -> None:
    """A record that could not be written whole is not there at all; once there is room again the ledger goes on."""
    study = load_study(str(tiny_study))
    ledger = open_ledger(study.stores.ledger, "tiny", study.space)
    ledger.begin(study.replicates[0])
    whole = Path(study.stores.ledger).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 100, hard))  # the system refuses to let files grow beyond it
    try:
        with pytest.raises(LedgerError, match="File too large"):
            ledger.begin(study.replicates[1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert Path(study.stores.ledger).read_bytes() == whole
    again = open_ledger(study.stores.ledger, "tiny", study.space)
    again.begin(study.replicates[1])
    assert list(again.entries()) == [replicate.identity for replicate in study.replicates[:2]]


def test_a_database_holds_the_same(tiny_study: Path, tmp_path: Path) -> None:
    """A ledger in a database that SQLAlchemy knows says the same as one in a file."""
    study = load_study(str(tiny_study), [f"ledger=sqlite:///{tmp_path / 'ledger.db'}"])
    ledger = open_ledger(study.stores.ledger, "tiny", study.space)
    for replicate in study.replicates[:2]:
        ledger.begin(replicate)
    ledger.complete(study.replicates[0].identity, {ACCURACY: 0.5, SPARSITY: 0.9})
    assert open_ledger(study.stores.ledger, "tiny", study.space).entries() == ledger.entries()
    assert list_ledger(study.stores.ledger) == {"tiny": {"COMPLETE": 1, "RUNNING": 1}}
