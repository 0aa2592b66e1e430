"""The file of a ledger: Optuna's journal, made safe against a full disk, an incomplete last line, a writer that dies, and damage.

The format is Optuna's own, so that ``optuna-dashboard`` and ``JournalFileBackend`` can read it; ``journal_records.py`` says what
a whole record is, to the reader and to the writer. A record is written whole or not at all, the system frees the lock when its
holder dies, and a file that does not begin as a journal does is never written to.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from optuna.storages.journal import BaseJournalBackend

from studies.engine.ledger.journal_records import BEGINNING, DamagedLineError, Place, decoded, encoded

CHANGED = "was replaced or made shorter while it was in use"


class NoJournalError(OSError):
    """The file is not a journal, and was never one as far as can be seen; nothing was written to it."""


class DamagedJournalError(OSError):
    """The file is a journal in which something is not as it was written; nothing was written to it.

    Attributes:
        line: The number of the line that is wrong, from 1; 0 if it is the file as a whole.
        is_empty: Whether nothing is wrong but an empty line.
    """

    def __init__(self, file: Path, reason: str, line: int = 0, *, is_empty: bool = False) -> None:
        super().__init__(f"{file}, line {line} {reason}" if line else f"{file} {reason}")
        self.line, self.is_empty = line, is_empty


class Journal(BaseJournalBackend):
    """A journal in a file, which is created with its folder when the first record is written.

    Args:
        path: The file. It need not exist, and may be empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = Place()
        """Behind the last record that was read."""

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The records from a number on.

        Raises:
            OSError: The file cannot be read, is no journal, or is damaged.
        """
        if log_number_from < self._place.number:
            self._place = Place()
        try:
            if self._check(self._path.stat()).st_size == self._place.offset:
                return
            with self._opened(os.O_RDONLY) as file:  # without its lock: no reader keeps a driver waiting
                content = self._rest(file)
        except FileNotFoundError:
            if self._place.number:
                raise
            return
        with self._damage_told():
            for record, place in decoded(content, self._place):
                self._place = place
                if place.number > log_number_from:
                    yield record

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records after the last whole one.

        Raises:
            OSError: They could not be written, and the file is as it was; or it is no journal, or damaged.
        """
        is_new = not self._place.number and not self._path.exists()
        if is_new:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._opened(os.O_RDWR | (os.O_CREAT if is_new else 0)) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            content = self._rest(file)
            with self._damage_told():
                place = [self._place, *(place for _, place in decoded(content, self._place))][-1]
            file.truncate(place.offset)  # remove what a writer that died, or a full disk, left incomplete
            try:
                file.seek(place.offset)
                _write_all(file, encoded(logs, place))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(place.offset)
                raise
        if is_new:
            _sync_folder(self._path.parent)

    def damage(self, reason: str) -> DamagedJournalError:
        """The error of the record that was read last."""
        return DamagedJournalError(self._path, reason, self._place.number)

    def _opened(self, flags: int) -> IO[bytes]:
        return os.fdopen(os.open(self._path, flags | os.O_NONBLOCK, 0o666), "r+b" if flags & os.O_RDWR else "rb", buffering=0)

    def _rest(self, file: IO[bytes]) -> bytes:
        """What follows the last record that was read."""
        status = self._check(os.fstat(file.fileno()))
        file.seek(0)
        if file.read(len(BEGINNING)) != BEGINNING and status.st_size:
            raise NoJournalError("the file does not begin with a record of a ledger")
        before = self._place.before
        file.seek(self._place.offset - len(before))
        if file.read(len(before)) != before:
            raise DamagedJournalError(self._path, CHANGED)
        return file.read()

    def _check(self, status: os.stat_result) -> os.stat_result:
        """See that a file is a regular one, and no shorter than when it was read."""
        if not stat.S_ISREG(status.st_mode):
            raise NoJournalError("it is no regular file")
        if status.st_size < self._place.offset:
            raise DamagedJournalError(self._path, CHANGED)
        return status

    @contextmanager
    def _damage_told(self) -> Iterator[None]:
        try:
            yield
        except DamagedLineError as error:
            raise DamagedJournalError(self._path, error.reason, error.number, is_empty=error.is_empty) from None


def _write_all(file: IO[bytes], content: bytes) -> None:
    while content:
        content = content[file.write(content) :]


def _sync_folder(folder: Path) -> None:
    """Let a new file's name outlive a power cut."""
    with suppress(OSError):  # some file systems cannot
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
