"""Whose is a SQLite file? The ledger's and MLflow's are told from anybody else's, which are not written to."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from optuna.storages import RDBStorage

from studies.engine.definition.loading import load_study
from studies.engine.errors import StudyError
from studies.engine.execution.preflight import check_stores
from studies.engine.ledger.ledger import open_ledger
from studies.engine.recording.mlflow_store import connect, connect_to_existing
from studies.stores.sqlite_files import ALEMBIC, MLFLOW, OPTUNA, OtherFileError, Owner, check_tables, has_tables
from studies.stores.store_uris import sqlite_file
from tests.new_stores import new_store
from tests.studies.stage import list_ledger


def made_by(script: str) -> Callable[[Path], object]:
    def make(file: Path) -> None:
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript(script)

    return make


def text(file: Path) -> None:
    file.write_text("a token without a line end")


def of_optuna(file: Path) -> None:
    RDBStorage(f"sqlite:///{file}")


LAB = "CREATE TABLE experiments (id INTEGER, mouse TEXT); CREATE TABLE runs (id INTEGER); INSERT INTO runs VALUES (1);"
CLINIC = "CREATE TABLE studies (study_name TEXT); CREATE TABLE patients (name TEXT);"
OTHERS: dict[str, Callable[[Path], object]] = {
    "a text": text,
    "a lab's database": made_by(LAB),
    "a clinic's database": made_by(CLINIC),
}


@pytest.mark.parametrize("make", [*OTHERS.values(), new_store], ids=[*OTHERS, "MLflow's"])
def test_a_ledger_in_a_database_of_others(make: Callable[[Path], object], tiny_study: Path, tmp_path: Path) -> None:
    """Neither a check nor a driver nor a reader adds a table to a database that is not Optuna's."""
    file = tmp_path / "theirs.db"
    make(file)
    before = file.read_bytes()
    study = load_study(str(tiny_study), [f"ledger=sqlite:///{file}"])
    for command in (
        lambda: check_stores(study.stores),
        lambda: open_ledger(study.stores.ledger, "tiny", study.space),
        lambda: list_ledger(study.stores.ledger),
    ):
        with pytest.raises(StudyError, match="nothing was written to this one"):
            command()
    assert file.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == sorted([file, tiny_study])


@pytest.mark.parametrize("make", [*OTHERS.values(), of_optuna], ids=[*OTHERS, "Optuna's"])
def test_a_tracking_store_in_a_database_of_others(make: Callable[[Path], object], tiny_study: Path, tmp_path: Path) -> None:
    """Nor does anybody make a store of MLflow's of a file that is something else."""
    file = tmp_path / "theirs.db"
    make(file)
    before = file.read_bytes()
    study = load_study(str(tiny_study), [f"tracking_uri=sqlite:///{file}"])
    for command in (lambda: check_stores(study.stores), lambda: connect(study.stores.tracking_uri)):
        with pytest.raises(StudyError, match="nothing was written to this one"):
            command()
    with pytest.raises(StudyError, match="the tracking store must be there"):
        connect_to_existing(study.stores.tracking_uri)
    assert file.read_bytes() == before


def test_one_file_for_both(tiny_study: Path, tmp_path: Path) -> None:
    """The ledger and MLflow's store cannot be the same file, even one that is not there yet."""
    both = f"sqlite:///{tmp_path / 'new.db'}"
    study = load_study(str(tiny_study), [f"tracking_uri={both}", f"ledger={both}"])
    with pytest.raises(StudyError, match="ledger and tracking_uri must be different files or databases"):
        check_stores(study.stores)


@pytest.mark.parametrize("owner", [MLFLOW, OPTUNA], ids=["MLflow's", "Optuna's"])
def test_our_own_databases(owner: Owner, tmp_path: Path) -> None:
    """A whole database is known, and one that was begun; one without tables is as good as new."""
    file, make = tmp_path / "ours.db", new_store if owner is MLFLOW else of_optuna
    make(file)
    assert has_tables(file, owner)
    with closing(sqlite3.connect(file)) as connection:
        (first,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", owner.tables[:1]).fetchone()
    file.unlink()
    made_by(first)(file)
    assert has_tables(file, owner)
    file.unlink()
    made_by("VACUUM")(file)
    assert not file.exists() or not has_tables(file, owner)
    with pytest.raises(OtherFileError):
        has_tables(tmp_path, owner)


def test_one_database_for_both(tiny_study: Path) -> None:
    """Nor can they be one database of a server, whatever the driver and the login that names it; two of one server may be."""
    url = "postgresql+psycopg://me:secret@127.0.0.1:1/{}"
    rule = "ledger and tracking_uri must be different"
    for tracking_uri, is_told in (("postgresql://127.0.0.1:1/one", True), (url.format("two"), False)):
        study = load_study(str(tiny_study), [f"ledger={url.format('one')}", f"tracking_uri={tracking_uri}"])
        with pytest.raises(StudyError) as caught:  # nobody answers at port 1
            check_stores(study.stores)
        assert (rule in str(caught.value)) == is_told
        assert "secret" not in str(caught.value)


def test_who_may_use_a_database() -> None:
    """Optuna and MLflow keep the number of their schema in one table: where the one has it, the other is refused."""
    for mine, theirs in ((OPTUNA, MLFLOW), (MLFLOW, OPTUNA)):
        for tables in ([], ["my_own"], list(mine.tables), [*mine.tables, ALEMBIC, "my_own"]):
            check_tables(tables, mine)
        with pytest.raises(OtherFileError, match="has the table alembic_version, but not"):
            check_tables([*theirs.tables, ALEMBIC], mine)


def test_files_of_urls() -> None:
    """Every spelling of a SQLite URL has its file; memory and other databases have none."""
    assert sqlite_file("sqlite:////a/b.db") == sqlite_file("sqlite+pysqlite:////a/b.db?timeout=5") == Path("/a/b.db")
    assert sqlite_file("sqlite:///b.db") == Path("b.db")
    assert sqlite_file("sqlite://") is sqlite_file("sqlite:///:memory:") is sqlite_file("postgresql://h/b") is None
    assert sqlite_file("sqlite:no") is sqlite_file("results") is None
