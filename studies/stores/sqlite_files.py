"""SQLite files that a user has named: whose are they? Only new ones, and databases of the expected program, are written to."""

import sqlite3
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path


class OtherFileError(Exception):
    """A file is there, and it is not the expected program's database. The message says what it is."""


@dataclass(frozen=True)
class Owner:
    """A program that keeps databases, and how they are known.

    Attributes:
        name: The program's name, for messages.
        tables: Some that each of its databases has.
        first_tables: Those that it makes in a new file; where it was killed meanwhile, some of them are there.
        column: One of the first of ``tables``, made with it.
    """

    name: str
    tables: tuple[str, ...]
    first_tables: frozenset[str]
    column: str


ALEMBIC = "alembic_version"
"""The table in which both programs keep the number of their schema; so they cannot share a database."""
_OF_MLFLOW = ("experiments", "runs", "metrics", "params", "tags")
MLFLOW = Owner("MLflow", _OF_MLFLOW, frozenset(_OF_MLFLOW), "artifact_location")
_OF_TRIALS = "params values intermediate_values user_attributes system_attributes heartbeats"
_OF_STUDIES = "directions user_attributes system_attributes"
OPTUNA = Owner(
    "Optuna",
    ("studies", "trials", "version_info"),
    frozenset(
        ["studies", "trials", "version_info"]
        + [f"trial_{part}" for part in _OF_TRIALS.split()]
        + [f"study_{part}" for part in _OF_STUDIES.split()]
    ),
    "study_name",
)


def is_new(file: Path) -> bool:
    """Whether there is no such file, or an empty one."""
    return not file.exists() or (file.is_file() and not file.stat().st_size)


def connect_to_read(file: Path) -> sqlite3.Connection:
    """A connection to a database that writes nothing, not even where a writer has died within a transaction: then the file is
    read as it lies there, since SQLite would first take the transaction back.

    Raises:
        sqlite3.DatabaseError: It is no SQLite database.
    """
    address = f"{file.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(address, uri=True)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_READONLY_ROLLBACK:
            raise
        return sqlite3.connect(f"{address}&immutable=1", uri=True)
    return connection


def has_tables(file: Path, owner: Owner) -> bool:
    """Whether a database has the tables of a program; False if it has none at all and may be used. Nothing is written.

    Raises:
        OtherFileError: It is no SQLite database, or another program's.
    """
    if not file.is_file():
        raise OtherFileError("it is no regular file")
    try:
        with closing(connect_to_read(file)) as connection:
            tables = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall())
    except sqlite3.DatabaseError as error:
        raise OtherFileError(f"the file is no SQLite database ({error})") from None
    is_begun = tables.keys() <= owner.first_tables and owner.column in (tables.get(owner.tables[0]) or "")
    if tables and not is_begun and not tables.keys() >= set(owner.tables):
        raise OtherFileError(f"the file is a database, but not one of {owner.name}'s: it has the table {min(tables)}")
    return bool(tables)


def check_tables(tables: Collection[str], owner: Owner) -> None:
    """See that a program may use a server's database: that nobody else keeps the number of its schema there, as Alembic does.

    Raises:
        OtherFileError: Somebody does, and would be broken.
    """
    if ALEMBIC in tables and not set(owner.tables) <= set(tables):
        reason = f"it has the table {ALEMBIC}, but not {owner.tables[0]}"
        raise OtherFileError(f"the database is another program's than {owner.name}'s: {reason}")
