"""Storages that were moved, were copied, or share a store: what is written lies in the study's own, and nowhere else."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from mlflow import MlflowClient
from optuna.trial import TrialState
from typer.testing import CliRunner, Result

from analysis.records.loading import load_recorded_study
from studies import run_record
from studies.cli import app
from studies.engine.errors import StudyError
from studies.engine.ledger.ledger import open_ledger
from studies.engine.ledger.reading import ledger_id
from studies.engine.recording.earlier_records import read_earlier_records
from studies.engine.recording.mlflow_store import connect
from studies.engine.recording.tracker import Tracker
from studies.stores.artifact_locations import artifacts_at, check_location
from studies.stores.mlflow_access import StoreError, search_runs
from studies.stores.store_uris import sqlite_file, sqlite_uri
from tests.new_stores import new_store, store_of
from tests.studies.engine.recording.finished_study import client_runs, digests, record, study_at

PLACE = "a b%41ü&+='x"


@pytest.mark.parametrize("name", ["plain", "100%", "a%41", "it's", "ü b", "%25"])
def test_a_file_has_one_uri(name: str, tmp_path: Path) -> None:
    """SQLAlchemy opens the file of a path with any sign, and the URI leads back to it."""
    file = tmp_path / f"{name}.db"
    sqlalchemy.create_engine(sqlite_uri(file)).connect().exec_driver_sql("CREATE TABLE x (y)").close()
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert sqlite_file(sqlite_uri(file)) == file


def locations(storage: Path) -> list[str]:
    with closing(sqlite3.connect(storage / "mlflow.db")) as database:
        queries = (
            "SELECT artifact_uri FROM runs UNION SELECT artifact_location FROM experiments WHERE experiment_id <> 0 "
            "UNION SELECT source FROM model_versions"
        )
        return [location for (location,) in database.execute(queries)]


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def words(result: Result | pytest.ExceptionInfo[StudyError]) -> str:
    return " ".join((result.output if isinstance(result, Result) else str(result.value)).split())


def test_a_copy_leaves_the_original_as_it_is(original: Path, tmp_path: Path) -> None:
    """Going on in a copy changes no file of the original: runs, models' sources and commands lead to the copy."""
    client = MlflowClient(sqlite_uri(original / "mlflow.db"))
    run = next(iter(search_runs(client, client.get_experiment_by_name("moved").experiment_id)))
    client.create_registered_model("net")
    client.create_model_version("net", f"{run.info.artifact_uri}/model", run.info.run_id)
    copy = tmp_path / PLACE
    shutil.copytree(original, copy)
    before = digests(original)
    study = study_at(copy)
    record(study, name="found in the copy")
    assert digests(original) == before
    assert {path.name for path in tmp_path.iterdir()} == {"original", "moved.yaml", PLACE}
    assert len(locations(copy)) == 1 + 5 + 1
    assert all(location.startswith(copy.as_uri()) for location in locations(copy))
    recorded = load_recorded_study("moved", study.stores.tracking_uri)
    assert [run.status for run in recorded.runs] == ["FINISHED"] * 4
    study_run, *_ = (each for each in client_runs(study) if each.data.tags[run_record.KIND] == "study")
    page = artifacts_at(MlflowClient(study.stores.tracking_uri), study_run.info.artifact_uri).download_artifacts(
        "report/summary.html"
    )
    assert Path(page).read_text() == "found in the copy"
    (replicate, *_) = (each for each in client_runs(study) if each.data.tags[run_record.KIND] == "replicate")
    assert study.stores.tracking_uri in replicate.data.tags["mlflow.note.content"]
    assert str(original) not in replicate.data.tags["mlflow.note.content"]


def test_readers_follow_a_moved_storage_and_write_nothing(original: Path, tmp_path: Path) -> None:
    """report's reader and export find the artifacts where they lie now; the store's file is the same byte for byte."""
    moved = tmp_path / PLACE
    original.rename(moved)
    before = digests(moved)
    recorded = load_recorded_study("moved", sqlite_uri(moved / "mlflow.db"))
    assert (recorded.study.question, list(recorded.warnings)) == ("Does it move?", [])
    result = command("export", "moved", str(tmp_path / "moved.zip"), "--storage", str(moved))
    assert result.exit_code == 0, result.output
    assert digests(moved) == before
    assert not original.exists()
    record(study_at(moved))
    assert not original.exists()
    assert all(location.startswith(moved.as_uri()) for location in locations(moved))


def test_an_export_names_the_artifacts_that_are_missing(original: Path, tmp_path: Path) -> None:
    """Without the folder of artifacts there is no archive, also where the original that the store is a copy of has it."""
    copy = tmp_path / "copy"
    shutil.copytree(original, copy)
    for folder in (copy / "artifacts").iterdir():
        shutil.rmtree(folder)
    result = command("export", "moved", str(tmp_path / "moved.zip"), "--storage", str(copy))
    assert result.exit_code == 2, result.output
    assert "lacks moved: study.json; moved: study.yaml; moved: report/summary.html" in words(result)
    assert "layers.json" in words(result)
    assert not (tmp_path / "moved.zip").exists()


def test_a_storage_of_another_study_is_not_written_to(original: Path, tmp_path: Path) -> None:
    """Where the store is elsewhere and the study's artifacts lie in a storage that is there, another storage is refused."""
    (tmp_path / "shared").mkdir()
    shared = tmp_path / "shared" / "mlflow.db"
    (original / "mlflow.db").rename(shared)
    study = study_at(tmp_path / "other", f"tracking_uri={sqlite_uri(shared)}")
    before = digests(tmp_path)
    with pytest.raises(StudyError) as caught:
        Tracker(store_of(study), study, study.replicates, [])
    assert f"keeps them in {original / 'artifacts'}, and the storage is {tmp_path / 'other'}" in words(caught)
    assert f"--storage '{original}'" in words(caught)
    assert digests(tmp_path) == before
    moved = tmp_path / "moved"
    original.rename(moved)
    record(study_at(moved, f"tracking_uri={sqlite_uri(shared)}"))
    assert not original.exists()


HOSTILE = ["http://evil.example/x", "file:///etc"]


@pytest.mark.parametrize("location", HOSTILE)
def test_a_store_does_not_say_where_to_read_and_write(location: str, original: Path, tmp_path: Path) -> None:
    """What a store in a file names beside folders of runs is not read, nor written to: MLflow would send a login there."""
    with closing(sqlite3.connect(original / "mlflow.db")) as database, database:
        database.execute("UPDATE runs SET artifact_uri = ?", (location,))
    shutil.rmtree(original / "artifacts")
    result = command("export", "moved", str(tmp_path / "moved.zip"), "--storage", str(original))
    assert result.exit_code == 2, result.output
    assert f"and not in {location}" in words(result)
    recorded = load_recorded_study("moved", sqlite_uri(original / "mlflow.db"))
    assert "a store in a file must keep artifacts in folders of its runs" in recorded.warnings[0]
    with closing(sqlite3.connect(original / "mlflow.db")) as database, database:
        database.execute("UPDATE experiments SET artifact_location = ?", (location,))
    with pytest.raises(StudyError, match="must keep"):
        record(study_at(original))


def test_two_storages_of_one_name(original: Path, tmp_path: Path) -> None:
    """On one store the second storage is refused with the first one's place; a copy of the first one too; a moved one is not."""
    (tmp_path / "shared").mkdir()
    shared = sqlite_uri((original / "mlflow.db").rename(tmp_path / "shared" / "mlflow.db"))

    def look_at(storage: Path) -> None:
        study = study_at(storage, f"tracking_uri={shared}")
        read_earlier_records(study, ledger_id(study.stores.ledger, "moved"), {})

    look_at(original)
    with pytest.raises(StudyError) as caught:
        look_at(tmp_path / "other")
    assert f"moved in {shared} is of the storage {original} on " in words(caught)
    assert "--set name=…" in words(caught)
    copy = tmp_path / "copy"
    shutil.copytree(original, copy)
    with pytest.raises(StudyError, match="is a copy of it"):
        look_at(copy)
    shutil.rmtree(original)
    look_at(copy)
    with pytest.raises(StudyError, match="is of the storage"):
        look_at(tmp_path / "other")


def test_what_was_imported_is_not_trained_again(original: Path, tmp_path: Path) -> None:
    """The ledger of a fresh storage takes what has ended over from MLflow, with its values, also after a driver that died while
    it did so; a search needs its own ledger.
    """
    archive, fresh = tmp_path / "moved.zip", tmp_path / "fresh"
    assert command("export", "moved", str(archive), "--storage", str(original)).exit_code == 0
    imported = command("import", str(archive), "--storage", str(fresh))
    assert imported.exit_code == 0, imported.output
    study = study_at(fresh)
    stores = study.stores
    assert ledger_id(stores.ledger, "moved") is None
    assert len(read_earlier_records(study, None, {}).ended) == len(study.replicates)
    ledger = open_ledger(stores.ledger, stores.name, study.space)
    ledger.begin(study.replicates[0])  # and then the driver dies
    read_earlier_records(study, ledger.id, ledger.entries()).take_over(ledger)
    assert list(ledger.entries()) == [replicate.identity for replicate in study.replicates]
    for entry in ledger.entries().values():
        assert (entry.state, entry.values) == (TrialState.COMPLETE, {"val/accuracy": 0.3, "sparsity/overall": 0.9})
    search = study_at(fresh, "factors.a={low: 0, high: 1}", "design={name: adaptive_search, num_trials: 4}", "baseline={}")
    with pytest.raises(StudyError) as caught:
        read_earlier_records(search, None, {})
    assert "MLflow has 4 finished replicates" in words(caught)
    assert f"copy the folders ledgers and checkpoints of its storage to {fresh}" in words(caught)


DIES_WITHIN_A_TRANSACTION = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")  # so that the file itself is written to before the commit
connection.execute("BEGIN")
connection.executemany("INSERT INTO experiments (name) VALUES (?)", ((f"{number} {'x' * 200}",) for number in range(500)))
os.kill(os.getpid(), 9)
"""


def test_a_store_whose_writer_died_within_a_transaction(tmp_path: Path) -> None:
    """It is a store like any other: MLflow takes the transaction back when it is opened."""
    file = tmp_path / "mlflow.db"
    new_store(file)
    died = subprocess.run(
        [sys.executable, "-c", DIES_WITHIN_A_TRANSACTION, str(file)], check=False, capture_output=True, text=True
    )
    assert (died.returncode, died.stderr) == (-9, "")
    assert (tmp_path / "mlflow.db-journal").exists()
    assert [experiment.name for experiment in connect(f"sqlite:///{file}").search_experiments()] == ["Default"]


def test_a_link_is_not_exported(original: Path, tmp_path: Path) -> None:
    """Artifacts are the study's own files: one that leads elsewhere is named, and no archive is written."""
    folder = next((original / "artifacts").glob("*/artifacts"))
    (folder / "link").symlink_to("/etc/hostname")
    result = command("export", "moved", str(tmp_path / "moved.zip"), "--storage", str(original))
    assert result.exit_code == 2, result.output
    assert f"{folder / 'link'}, which is a link" in words(result)
    assert not (tmp_path / "moved.zip").exists()


@pytest.mark.parametrize(
    ("location", "is_of_the_server"),
    [
        ("mlflow-artifacts:/1/x", True),
        ("mlflow-artifacts://host:5000/1/x", True),
        ("http://host:5000/api/2.0/x", True),
        ("s3://bucket/x", True),
        ("/shared/x", True),
        ("mlflow-artifacts://evil.example/1/x", False),
        ("https://host:5001/x", False),
        ("ftp://evil.example/x", False),
    ],
)
def test_a_login_is_sent_to_its_server_alone(location: str, is_of_the_server: bool) -> None:
    """A server may name itself, an object store or a folder, and no other server."""
    if is_of_the_server:
        check_location("http://me:secret@host:5000", location)
    else:
        with pytest.raises(StoreError, match="to which no login is sent"):
            check_location("http://me:secret@host:5000", location)


def test_a_store_that_is_not_made_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is ended while it makes a store leaves none; what an earlier version left says that it may be deleted."""
    file = tmp_path / "results" / "mlflow.db"

    def ended(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfile", ended)
    with pytest.raises(KeyboardInterrupt):
        connect(sqlite_uri(file))
    assert list(file.parent.iterdir()) == []
    with closing(sqlite3.connect(file)) as database:
        for table in ("experiments", "runs", "metrics", "params", "tags"):
            database.execute(f"CREATE TABLE {table} (artifact_location)")
    with pytest.raises(StudyError) as caught:
        connect(sqlite_uri(file))
    assert f"it holds no run: delete it (rm '{file}')" in words(caught)
