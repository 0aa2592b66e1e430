"""Where a ledger is kept, a file or a database, and the names under which it keeps what a replicate is."""

from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from studies.credentials import mask_credentials
from studies.engine.errors import Problem, StudyError
from studies.engine.ledger.journal import Journal
from studies.store_uris import sqlite_file

# User attributes of a study's Optuna study:
STUDY_NAME = "spikesweep.study"
LEDGER_ID = "ledger_id"
FILE_DIGEST = "file_digest"
NUM_REPLICATES = "num_replicates"
OF_EARLIER_VERSIONS = "of_earlier_versions"

# User attributes of a replicate's trial:
IDENTITY = "identity"
TITLE = "title"
LEVELS = "levels"
TUNED = "tuned"
REASON = "reason"

UNREACHABLE = (SQLAlchemyError, optuna.exceptions.StorageInternalError, OSError, ImportError, ValueError)
"""How a ledger can be out of reach, by a missing database driver or a file that is no journal among others."""


def file_of(ledger: str) -> Path | None:
    """The file of a ledger; None if a database server keeps it."""
    return sqlite_file(ledger) if "://" in ledger else Path(ledger)


def is_absent(ledger: str) -> bool:
    """Whether a ledger is a file that does not exist yet."""
    file = file_of(ledger)
    return file is not None and not file.exists()


def open_storage(ledger: str) -> BaseStorage:
    """The Optuna storage of a ledger: a journal for a path, a relational database for a URL.

    Raises:
        OSError: And the other exceptions in ``UNREACHABLE``: the ledger cannot be reached.
    """
    if "://" not in ledger:
        return JournalStorage(Journal(Path(ledger)))
    timeout = {"connect_args": {"timeout": 60}} if sqlite_file(ledger) else {}
    return RDBStorage(ledger, engine_kwargs={"pool_pre_ping": True, **timeout})


def check_ledger(ledger: str) -> None:
    """Check that the ledger can be read; a file that does not exist yet is no problem.

    Raises:
        StudyError: The ledger cannot be reached.
    """
    try:
        if not is_absent(ledger):
            open_storage(ledger)
    except UNREACHABLE as error:
        raise unreachable(ledger, error) from None


def unreachable(ledger: str, error: Exception) -> StudyError:
    """The error that tells a person that a ledger cannot be reached, with the reason and without passwords."""
    reason = mask_credentials(str(error.__cause__ or error).strip().split("\n")[0])
    rule = "the ledger must be a journal file or a database that can be read and written"
    repair = "check the path or URL, the database server and your rights (ledger in the study file, or --set ledger=…)"
    return StudyError([Problem("ledger", rule, f"{mask_credentials(ledger)} ({reason})", repair)])
