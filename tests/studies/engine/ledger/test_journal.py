"""The journal: what is a whole record, to its reader and its writer, in files that are damaged, cut off, or somebody else's."""

import json
import os
import random
import re
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search_spaces.language.space import make_space
from studies.engine.definition.loading import load_study
from studies.engine.errors import StudyError
from studies.engine.ledger.journal import DamagedJournalError, Journal, NoJournalError
from studies.engine.ledger.ledger import LedgerError, open_ledger, read_ledger
from studies.engine.ledger.storage import check_ledger
from studies.run_record import ACCURACY, IDENTITY, SPARSITY
from tests.conftest import run
from tests.studies.simulated_driver import assert_consistent, ledger_of, simulate, surface_study
from tests.studies.stage import list_ledger

NUM_FLIPS = 300
Harm = Callable[[list[bytes]], bytes]


@pytest.fixture(name="journal")
def whole_journal(tiny_study: Path) -> Path:
    """Of a study with one complete replicate, one that failed and one in training."""
    study = load_study(str(tiny_study))
    ledger = open_ledger(study.stores.ledger, "tiny", study.space)
    for replicate in study.replicates[:3]:
        ledger.begin(replicate)
    ledger.complete(study.replicates[0].identity, {ACCURACY: 0.5, SPARSITY: 0.9})
    ledger.fail(study.replicates[1].identity, 'a "reason", of two\nlines')
    return Path(study.stores.ledger)


def as_earlier_versions_wrote_it(journal: Path) -> None:
    journal.write_bytes(re.sub(rb',"spikesweep\.check":"[0-9a-f]{8}"', b"", journal.read_bytes()))


def read(journal: Path) -> list[dict[str, Any]]:
    return list(Journal(journal).read_logs(0))


def test_optuna_reads_the_journal(journal: Path) -> None:
    """Optuna's own backend finds the same trials; what it writes is read, and covered by the next record that has a check."""
    theirs = JournalStorage(JournalFileBackend(str(journal)))
    (study,) = theirs.get_all_studies()
    assert [trial.state.name for trial in theirs.get_all_trials(study._study_id)] == ["COMPLETE", "FAIL", "RUNNING"]
    theirs.set_study_user_attr(study._study_id, "note", "read by a person")
    assert read(journal)[-1]["user_attr"] == {"note": "read by a person"}
    Journal(journal).append_logs([{"op_code": 1, "worker_id": "w", "study_id": 7}])
    assert read(journal)[-1]["study_id"] == 7
    journal.write_bytes(journal.read_bytes().replace(b"by a person", b"by a parson"))
    with pytest.raises(DamagedJournalError, match="lines before it are missing or were changed"):
        read(journal)


def test_every_bit_counts(journal: Path) -> None:
    """A journal with one wrong bit, anywhere, is neither read nor written to, and what is told is one problem."""
    whole = journal.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(whole)), NUM_FLIPS):
        place, damaged = bit // 8, bytearray(whole)
        damaged[place] ^= 1 << bit % 8
        journal.write_bytes(damaged)
        with pytest.raises((DamagedJournalError, NoJournalError), match=f"{journal}, line|does not begin with"):
            read(journal)
        with pytest.raises((DamagedJournalError, NoJournalError)):
            Journal(journal).append_logs([{"op_code": 1, "worker_id": "w", "study_id": 7}])
        assert journal.read_bytes() == damaged


def test_a_journal_of_an_earlier_version(journal: Path) -> None:
    """Without checks it reads the same and goes on, with them; a wrong bit is then a problem or a wrong value, no traceback."""
    entries = read_all(journal)
    as_earlier_versions_wrote_it(journal)
    earlier = journal.read_bytes()
    assert read_all(journal) == entries
    for bit in random.Random(1).sample(range(8 * len(earlier)), NUM_FLIPS // 3):
        damaged = bytearray(earlier)
        damaged[bit // 8] ^= 1 << bit % 8
        journal.write_bytes(damaged)
        with suppress(StudyError):
            read_all(journal)
    journal.write_bytes(earlier)
    Journal(journal).append_logs([{"op_code": 1, "worker_id": "w", "study_id": 7}])
    assert read_all(journal) == entries
    assert journal.read_bytes().startswith(earlier)


def read_all(journal: Path) -> object:
    study = load_study(str(journal.parents[2] / "tiny.yaml"))
    return read_ledger(str(journal), "tiny", study.space), list_ledger(str(journal))


HARM: dict[str, tuple[Harm, str]] = {
    "a lost line": (lambda lines: b"".join([*lines[:3], *lines[4:]]), "line 4 is not as it was written, or lines before it"),
    "a line twice": (lambda lines: b"".join([*lines[:4], *lines[3:]]), "line 5 is not as it was written, or lines before it"),
    "two lines in another order": (lambda lines: b"".join([*lines[:3], lines[4], lines[3], *lines[5:]]), "line 4 is not as"),
    "a blank line": (lambda lines: b"".join([*lines[:4], b"\n", *lines[4:]]), "line 5 is empty"),
    "a blank line at the end": (lambda lines: b"".join([*lines, b"\n"]), "line {after} is empty"),
    "spaces at the end": (lambda lines: b"".join([*lines, b"  \n"]), "line {after} is empty"),
    "a line of words": (lambda lines: b"".join([*lines[:4], b"hello\n", *lines[4:]]), "line 5 is no record of a ledger"),
    "words at the end": (lambda lines: b"".join([*lines, b"hello"]), "line {after} is no record of a ledger"),
    "zeros for a line": (lambda lines: b"".join([*lines[:4], bytes(99) + b"\n", *lines[5:]]), "line 5 is no record of a ledger"),
    "two records in a line": (lambda lines: b"".join([*lines[:4], lines[4][:-1], *lines[5:]]), "line 5 is not as it was written"),
    "line ends of Windows": (lambda lines: b"".join(lines).replace(b"\n", b"\r\n"), "line 1 is not as it was written"),
    "nine thousand brackets": (lambda lines: b"".join([*lines[:4], b"[" * 9000 + b"\n", *lines[4:]]), "line 5 is no record"),
    "a number of many digits": (
        lambda lines: b"".join([*lines, b'{"op_code":1,"worker_id":"w","study_id":' + b"9" * 150_000 + b"}\n"]),
        "line {after} is no record of a ledger",
    ),
    "a wrong type": (
        lambda lines: b"".join([*lines, b'{"op_code":1,"worker_id":"w","study_id":"0"}\n']),
        "line {after} is no record of a ledger (study_id: Input should be a valid integer",
    ),
    "a wrong operation": (
        lambda lines: b"".join([*lines, b'{"op_code":77,"worker_id":"w"}\n']),
        "line {after} is no record of a",
    ),
    "a list": (lambda lines: b"".join([*lines, b"[1]\n"]), "line {after} is no record of a ledger"),
    "a trial of wrong content": (
        lambda lines: b"".join([*lines, b'{"op_code":4,"worker_id":"w","study_id":0,"datetime_start":"soon"}\n']),
        "line {after} is no record of a ledger (ValueError",
    ),
}


@pytest.mark.parametrize("kind", HARM)
def test_damage_is_one_sentence(kind: str, journal: Path) -> None:
    """It names the file, the line and what to type; nothing is written, and no reader takes the study for one not begun."""
    harm, told = HARM[kind]
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    damaged = harm(lines)
    journal.write_bytes(damaged)
    study = load_study(str(journal.parents[2] / "tiny.yaml"))
    for command in (
        lambda: check_ledger(str(journal)),
        lambda: list_ledger(str(journal)),
        lambda: read_ledger(str(journal), "tiny", study.space),
        lambda: open_ledger(str(journal), "tiny", study.space),
    ):
        with pytest.raises(StudyError) as caught:
            command()
        (problem,) = caught.value.problems
        assert f"{journal}, {told.format(after=len(lines) + 1)}" in problem.value
        (repair,) = re.findall(r"sed -i .*|mv .* && head [^;]*", problem.repair)
        assert len(str(problem)) < 1000
    assert journal.read_bytes() == damaged
    subprocess.run(repair, shell=True, check=True)
    assert whole.startswith(journal.read_bytes())
    check_ledger(str(journal))
    assert "sed" not in repair or journal.read_bytes() == whole


def test_a_record_without_an_identity(journal: Path) -> None:
    """A trial that somebody else has added to our study is a problem of the ledger, and no traceback."""
    theirs = JournalStorage(JournalFileBackend(str(journal)))
    theirs.create_new_trial(0)
    with pytest.raises(StudyError, match="must hold the records of replicates"):
        read_all(journal)


def test_a_last_line_without_its_end(journal: Path) -> None:
    """Cut off anywhere, or with zeros after the cut, it is not seen and is replaced by the next record; where its line end alone
    is missing, it is whole. Nothing of the lines before it is touched.
    """
    whole = journal.read_bytes()
    *before, last = whole.splitlines(keepends=True)
    start, records = len(whole) - len(last), read(journal)
    more = {"op_code": 1, "worker_id": "w", "study_id": 7}
    for cut in [*range(1, 20), *range(20, len(last), 7), len(last) - 1]:
        for zeros in (0, 5) if cut < len(last) - 1 else (0,):
            journal.write_bytes(whole[: start + cut] + bytes(zeros))
            is_whole = cut == len(last) - 1
            expected = records if is_whole else records[:-1]
            reader = Journal(journal)
            assert list(reader.read_logs(0)) == expected
            Journal(journal).append_logs([more])
            assert journal.read_bytes().startswith(whole[:-1] if is_whole else b"".join(before))
            assert [record["op_code"] for record in reader.read_logs(len(expected))] == [1]
            assert len(read(journal)) == len(expected) + 1


def test_a_search_goes_on_from_the_lines_before_the_damage(tmp_path: Path) -> None:
    """Of the lines that are left and the replicates' reports, the same ledger is made again; nothing is trained twice."""
    design = "{name: adaptive_search, sampler: tpe, num_trials: 6}"
    study = surface_study(tmp_path, f"baseline: {{a: 0}}\nfactors: {{a: {{low: -1, high: 1}}}}\ndesign: {design}\nseeds: 1\n")
    _, shelf = simulate(study)
    journal, entries = Path(study.stores.ledger), ledger_of(study)
    lines, reports = journal.read_bytes().splitlines(keepends=True), {key: list(found) for key, found in shelf.reports.items()}
    for num_kept in range(0, len(lines), 5):
        journal.write_bytes(b"".join(lines[:num_kept]))
        proposals, _ = simulate(study, shelf=shelf)
        assert_consistent(study, proposals, shelf)
        assert {identity: entry.values for identity, entry in ledger_of(study).items()} == {
            identity: entry.values for identity, entry in entries.items()
        }
    assert shelf.reports == reports


TEXTS = {
    "a token": b"ghp_0123456789abcdef",
    "minified JSON": b'{"data":[1,2,3]}',
    "nearly a journal": b'{"op_code":5,"worker_id":"w"}',
    "one bracket": b"{",
    "a study file": b"question: What?\nseeds: 3\n",
    "zeros": bytes(100),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_file_of_the_user_is_left_alone(kind: str, tiny_study: Path, tmp_path: Path) -> None:
    """A ledger that names a file which is none is a problem for every command; the file keeps every byte."""
    file = tmp_path / "notes"
    file.write_bytes(TEXTS[kind])
    assert_refused(tiny_study, str(file), "a ledger must be a file or database that does not exist yet")
    assert file.read_bytes() == TEXTS[kind]
    with pytest.raises(NoJournalError):
        Journal(file).append_logs([{"op_code": 0}])
    assert file.read_bytes() == TEXTS[kind]


def assert_refused(study: Path, ledger: str, rule: str) -> None:
    loaded = load_study(str(study))
    for command in (
        lambda: check_ledger(ledger),
        lambda: list_ledger(ledger),
        lambda: read_ledger(ledger, "tiny", make_space([])),
        lambda: open_ledger(ledger, "tiny", loaded.space),
    ):
        with pytest.raises(StudyError, match=re.escape(rule)):
            command()


def test_what_is_no_file(tiny_study: Path, tmp_path: Path) -> None:
    """A folder, a device and a pipe, which nobody waits for, are no ledgers; an empty file is a new one."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull), tmp_path):
        assert_refused(tiny_study, str(path), "a ledger must be a file or database that does not exist yet")
    (tmp_path / "new").touch()
    check_ledger(str(tmp_path / "new"))
    assert list_ledger(str(tmp_path / "new")) == {}
    study = load_study(str(tiny_study))
    open_ledger(str(tmp_path / "new"), "tiny", study.space).begin(study.replicates[0])
    assert list_ledger(str(tmp_path / "new")) == {"tiny": {"RUNNING": 1}}


def test_reading_makes_nothing(tmp_path: Path) -> None:
    """Of a journal that is not there, readers make neither file nor folder."""
    assert read(tmp_path / "there" / "x.journal") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", ["removed", "replaced", "shorter"])
def test_a_journal_that_changes_while_it_is_in_use(change: str, tiny_study: Path) -> None:
    """A driver whose journal is removed, replaced or cut stops with a reason; it writes no record without those before it."""
    study = load_study(str(tiny_study))
    ledger = open_ledger(study.stores.ledger, "tiny", study.space)
    ledger.begin(study.replicates[0])
    journal = Path(study.stores.ledger)
    content = journal.read_bytes()
    if change == "removed":
        journal.unlink()
    elif change == "replaced":
        other = open_ledger(f"{journal}2", "tiny", study.space)
        for replicate in study.replicates:
            other.begin(replicate)
        Path(f"{journal}2").replace(journal)
    else:
        journal.write_bytes(content[:-40])
    left = journal.read_bytes() if journal.exists() else None
    with pytest.raises(LedgerError, match="No such file" if change == "removed" else "replaced or made shorter"):
        ledger.begin(study.replicates[1])
    assert (journal.read_bytes() if journal.exists() else None) == left


def test_a_journal_that_is_restored_while_it_is_in_use(tiny_study: Path) -> None:
    """A copy with the same records in its place, as from a backup, is gone on with."""
    study = load_study(str(tiny_study))
    ledger, journal = open_ledger(study.stores.ledger, "tiny", study.space), Path(study.stores.ledger)
    copy = journal.with_suffix(".copy")
    copy.write_bytes(journal.read_bytes())
    copy.replace(journal)
    ledger.begin(study.replicates[0])
    assert list_ledger(str(journal)) == {"tiny": {"RUNNING": 1}}


def test_two_that_write(tmp_path: Path) -> None:
    """Each writer continues behind the other's records, and every line is checked against all before it."""
    journals = [Journal(tmp_path / "x.journal") for _ in range(2)]
    journals[0].append_logs([{"op_code": 0, "worker_id": "w", "study_name": "a", "directions": [1]}])
    for i in range(6):
        journals[i % 2].append_logs([{"op_code": 1, "worker_id": "w", "study_id": i}])
    assert [record.get("study_id") for record in journals[1].read_logs(0)] == [None, *range(6)]
    assert all(json.loads(line)["spikesweep.check"] for line in (tmp_path / "x.journal").read_text().splitlines())


@pytest.mark.slow
def test_a_ledger_that_is_moved_away(tmp_path: Path) -> None:
    """The next run makes it again of what MLflow has: it trains nothing, and MLflow keeps its runs as they are."""
    file = tmp_path / "surface.yaml"
    file.write_text(
        "question: What?\ntrainable: response_surface\nbaseline: {a: 0}\nfactors: {a: [0, 1]}\nseeds: 2\nconfig: {epochs: 3}\n"
        f"storage: {tmp_path / 'results'}\n"
    )
    assert run(file).returncode == 0
    (journal,) = (tmp_path / "results" / "ledgers").glob("*.journal")
    reports = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").glob("checkpoints/*/reports.json")}
    runs = runs_of(tmp_path)
    damaged = journal.read_bytes().replace(b"\n", b"\n\n", 1)
    journal.write_bytes(damaged)
    refused = run(file)
    assert (refused.returncode, "line 2 is empty" in refused.stderr) == (2, True), refused.stderr
    assert journal.read_bytes() == damaged
    journal.replace(journal.with_suffix(".damaged"))
    assert run(file).returncode == 0
    assert len(reports) == 4
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "results").glob("checkpoints/*/reports.json")} == reports
    assert runs_of(tmp_path) == runs
    assert list_ledger(str(journal)) == {"surface": {"COMPLETE": 4}}


def runs_of(folder: Path) -> dict[str, tuple[str, str, dict[str, float]]]:
    """Status, id and metrics, but for costs, of a study's runs in MLflow, by identity."""
    client = MlflowClient(f"sqlite:///{folder / 'results' / 'mlflow.db'}")
    (experiment,) = [found.experiment_id for found in client.search_experiments() if found.name == "surface"]
    return {
        run.data.tags.get(IDENTITY, "study"): (
            run.info.status,
            run.info.run_id,
            {name: value for name, value in run.data.metrics.items() if not name.startswith("cost/")},
        )
        for run in client.search_runs([experiment])
    }
