"""Where a ledger is kept, a file or a database, and the names under which it keeps what a replicate is."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from studies.credentials import hide_secrets, mask_uri
from studies.engine.errors import Problem, StudyError
from studies.engine.ledger.journal import DamagedJournalError, Journal, NoJournalError
from studies.plain_text import first_line
from studies.stores.sqlite_files import OPTUNA, OtherFileError, check_tables, has_tables, is_new
from studies.stores.store_uris import sqlite_file

# User attributes of a study's Optuna study:
STUDY_NAME = "spikesweep.study"
LEDGER_ID = "ledger_id"
FILE_DIGEST = "file_digest"
NUM_REPLICATES = "num_replicates"
OF_EARLIER_VERSIONS = "of_earlier_versions"
DATA_DIGESTS = "data_digests"
"""By the names of the data sets in the study file."""
DATA_FILES = "data_files"
"""The versions of the user's own data files; see ``npz_files.FileVersion``."""

# User attributes of a replicate's trial:
IDENTITY = "identity"
TITLE = "title"
LEVELS = "levels"
TUNED = "tuned"
REASON = "reason"
DATA = "data"
DATA_DIGEST = "data_digest"

UNREACHABLE = (SQLAlchemyError, optuna.exceptions.StorageInternalError, OSError, ImportError)
"""How a ledger can be out of reach, by a missing database driver among others."""
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, AssertionError, IndexError)
"""How a record fails that has another content than those of a ledger."""

_SQLITE_TIMEOUT_S = 60


def file_of(ledger: str) -> Path | None:
    """The file of a ledger; None if a database server keeps it."""
    return sqlite_file(ledger) if "://" in ledger else Path(ledger)


def is_absent(ledger: str) -> bool:
    """Whether a ledger is a file that does not exist yet, or is empty.

    Raises:
        OSError: Nobody may look.
    """
    file = file_of(ledger)
    return file is not None and is_new(file)


def open_storage(ledger: str) -> BaseStorage:
    """The Optuna storage of a ledger: a journal for a path, a relational database for a URL.

    A file that is neither new nor a ledger is left as it is. Use it within ``ledger_problems``.

    Raises:
        Exception: One of those in ``UNREACHABLE`` and ``MALFORMED``: the ledger cannot be read.
    """
    if "://" not in ledger:
        return _journal_storage(Path(ledger))
    file = sqlite_file(ledger)
    if file is None:
        engine = sqlalchemy.create_engine(ledger, poolclass=sqlalchemy.NullPool)
        check_tables(sqlalchemy.inspect(engine).get_table_names(), OPTUNA)
    elif not is_new(file):
        has_tables(file, OPTUNA)
    timeout = {"connect_args": {"timeout": _SQLITE_TIMEOUT_S}} if file else {}
    return RDBStorage(ledger, engine_kwargs={"pool_pre_ping": True, **timeout})


def _journal_storage(file: Path) -> JournalStorage:
    journal = Journal(file)
    try:
        return JournalStorage(journal)
    except MALFORMED as error:  # an earlier version's record, which has no check
        raise journal.damage(f"is no record of a ledger ({type(error).__name__}: {error})") from None


@contextmanager
def ledger_problems(ledger: str) -> Iterator[None]:
    """A context that reads a ledger, or writes to it; whatever is in the way is told as a problem of the ledger.

    Raises:
        StudyError: The ledger cannot be reached, is none, or is damaged; the message says which, without passwords.
    """
    try:
        yield
    except (NoJournalError, OtherFileError) as error:
        rule = "a ledger must be a file or database that does not exist yet, is empty, or was written by spikesweep or Optuna"
        repair = "name another in the study file, e.g. ledger: other.journal; nothing was written to this one"
        raise _problem(rule, ledger, error, repair) from None
    except DamagedJournalError as error:
        rule, repair = "every line of a ledger must be as it was written", _repair_of(ledger, error)
        raise StudyError([Problem("ledger", rule, str(error), repair)]) from None
    except UNREACHABLE as error:
        rule = "the ledger must be a journal file or a database that can be read and written"
        repair = "check the path or URL, the database server and your rights (ledger in the study file, or --set ledger=…)"
        raise _problem(rule, ledger, error, repair) from None
    except MALFORMED as error:
        rule = "a ledger must hold the records of replicates that spikesweep has written"
        repair = "restore it from a backup, or name another with ledger: …"
        raise _problem(rule, ledger, error, repair) from None


def _problem(rule: str, ledger: str, error: Exception, repair: str) -> StudyError:
    reason = hide_secrets(first_line(error.__cause__ or error), ledger)
    return StudyError([Problem("ledger", rule, f"{mask_uri(ledger)} ({reason})", repair)])


def _repair_of(ledger: str, error: DamagedJournalError) -> str:
    """What to type. The lines before the damaged one are a ledger, from which a study goes on as after a driver's death."""
    file, damaged = shlex.quote(ledger), shlex.quote(f"{ledger}.damaged")
    if error.is_empty:
        return f"delete this line: sed -i {error.line}d {file}"
    if not error.line:
        return "run the command again; if it was not you who changed the file, restore it from a backup"
    keep = f"mv {file} {damaged} && head -n {error.line - 1} {damaged} > {file}"
    return (
        f"restore the file from a backup, or keep the lines before this one: {keep}; then run the study again, "
        "which trains nothing again that has finished"
    )


def check_ledger(ledger: str) -> None:
    """Check that the ledger can be read; a file that does not exist yet is no problem.

    Raises:
        StudyError: The ledger cannot be reached, is none, or is damaged.
    """
    with ledger_problems(ledger):
        if not is_absent(ledger):
            open_storage(ledger)
