"""One driver per study: a lock beside the ledger, which the system frees when its holder dies, however it dies."""

import fcntl
import hashlib
import os
import re
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

from studies.engine.definition.locations import Stores
from studies.engine.errors import Problem, StudyError
from studies.engine.ledger.storage import file_of

POSTGRESQL = "postgresql"
_HOLDER = re.compile(r"process \d+ on .*\n")
"""What a lock holds, with which it is known to be ours."""
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
    return _lock_file(*_lock_files(stores, file), stores.name)


def _lock_files(stores: Stores, ledger: Path | None) -> tuple[Path, Path]:
    """The lock of a study in a ledger, under a name that no other program gives a file, and where earlier versions had it."""
    folder = ledger.parent if ledger else stores.storage
    digest = hashlib.sha256((ledger.name if ledger else stores.ledger).encode()).hexdigest()[:8]  # two ledgers, one folder
    earlier = (folder if ledger else folder / "locks") / f"{stores.name}.lock"
    return folder / f".{stores.name}-{digest}.spikesweep-lock", earlier


def _me() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _taken(name: str, holder: str) -> StudyError:
    rule, repair = "a study has one driver at a time", "wait until it ends, or stop it; then run the same command"
    return StudyError([Problem(name, rule, f"already run by {holder or 'another'}", repair)])


@contextmanager
def _lock_file(lock: Path, of_earlier_version: Path, name: str) -> Iterator[StillHeld]:
    with ExitStack() as stack:
        try:
            if (earlier := _opened(of_earlier_version, os.O_RDONLY, stack)) is not None and _holder(earlier):
                _lock(earlier, name)  # a driver of an earlier version has it, or is to find it taken
            lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = _our_own(_opened(lock, os.O_RDWR | os.O_CREAT, stack))
            _lock(descriptor, name)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{_me()}\n".encode(), 0)
        except OSError as error:
            rule = "a study's lock must be a file that spikesweep can make and lock"
            repair = "move it away if it is yours, or choose another folder, on a file system that has locks"
            raise StudyError([Problem("ledger", rule, f"{lock} ({error.strerror or error})", repair)]) from None
        yield lambda: True


def _opened(file: Path, flags: int, stack: ExitStack) -> int | None:
    """The descriptor of a regular file, closed with the stack, or None; a link is not followed, a pipe not waited for."""
    try:
        descriptor = os.open(file, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError:
        if flags & os.O_CREAT:
            raise
        return None
    stack.callback(os.close, descriptor)
    return descriptor if stat.S_ISREG(os.fstat(descriptor).st_mode) else None


def _our_own(descriptor: int | None) -> int:
    if descriptor is None or (os.fstat(descriptor).st_size and not _holder(descriptor)):
        raise OSError("it is not a file that spikesweep has made")
    return descriptor


def _holder(descriptor: int) -> str:
    """Who has or had a lock, from its file; empty if that says nothing of the kind."""
    said = os.pread(descriptor, 1000, 0).decode(errors="replace")
    return said.strip() if _HOLDER.fullmatch(said) else ""


def _lock(descriptor: int, name: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _taken(name, _holder(descriptor)) from None


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
