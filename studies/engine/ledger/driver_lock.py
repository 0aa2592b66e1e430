"""One driver per study: a lock beside the ledger, which the system frees when its holder dies, however it dies."""

import fcntl
import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

from studies.engine.definition.locations import Stores
from studies.engine.errors import Problem, StudyError
from studies.engine.ledger.storage import file_of

POSTGRESQL = "postgresql"
_LONGEST_NAME = 63
"""Bytes of an application's name; PostgreSQL cuts off the rest."""
_TAKE = sqlalchemy.text("SELECT pg_try_advisory_lock(:key)")
_WHO = sqlalchemy.text(
    "SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid) "
    "WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32) + objid::bigint = :key"
)

StillHeld = Callable[[], bool]
"""Whether this driver still has the lock. A database server loses it in a restart; then the lock is taken again."""


def only_driver(stores: Stores) -> AbstractContextManager[StillHeld]:
    """Hold the study's lock inside of ``with``.

    Raises:
        StudyError: Another driver has it; the message names its process and host.
    """
    file = file_of(stores.ledger)
    if file is None and stores.ledger.startswith(POSTGRESQL):
        return _lock_in_database(stores)
    return _lock_file((file.parent if file else stores.storage / "locks") / f"{stores.name}.lock", stores.name)


def _me() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _taken(name: str, holder: str) -> StudyError:
    rule, repair = "a study has one driver at a time", "wait until it ends, or stop it; then run the same command"
    return StudyError([Problem(name, rule, f"already run by {holder or 'another'}", repair)])


@contextmanager
def _lock_file(lock: Path, name: str) -> Iterator[StillHeld]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise _taken(name, file.read().strip()) from None
        file.truncate(0)
        file.write(f"{_me()}\n")
        file.flush()
        yield lambda: True


@contextmanager
def _lock_in_database(stores: Stores) -> Iterator[StillHeld]:
    engine = sqlalchemy.create_engine(stores.ledger, poolclass=sqlalchemy.NullPool)
    key = int.from_bytes(hashlib.sha256(f"spikesweep/{stores.name}".encode()).digest()[:8], "big") >> 1
    connections = [_take(engine, key, stores.name)]

    def still_held() -> bool:
        try:
            connections[-1].execute(sqlalchemy.text("SELECT 1"))
        except SQLAlchemyError:
            try:
                connections.append(_take(engine, key, stores.name))
            except SQLAlchemyError:
                return True  # the server does not answer anybody
            except StudyError:
                return False
        return True

    try:
        yield still_held
    finally:
        for connection in connections:
            connection.close()


def _take(engine: sqlalchemy.Engine, key: int, name: str) -> sqlalchemy.Connection:
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    if not connection.execute(_TAKE, {"key": key}).scalar():
        holder = connection.execute(_WHO, {"key": key}).scalar()
        connection.close()
        raise _taken(name, str(holder or ""))
    connection.execute(sqlalchemy.text("SELECT set_config('application_name', :me, false)"), {"me": _me()[:_LONGEST_NAME]})
    return connection
