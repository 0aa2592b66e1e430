"""The file of a ledger: Optuna's journal, made safe against a full disk, an incomplete last line and a writer that dies.

The format is Optuna's own (one JSON object per line), so that ``optuna-dashboard`` and ``JournalFileBackend`` can read it. The
writing differs: a record is written whole or not at all, and the system frees the lock when its holder dies.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from optuna.storages.journal import JournalFileBackend

_TAIL = 2**16


class Journal(JournalFileBackend):
    """A journal in a file, which is created with its folder if it does not exist."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(str(path), lock_obj=None)
        self._path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records after the last complete one.

        Raises:
            OSError: They could not be written, and the file is as it was.
        """
        lines = "".join(f"{json.dumps(log, separators=(',', ':'))}\n" for log in logs)
        with self._path.open("r+b", buffering=0) as file, _alone(file):
            end = _end_of_last_line(file)
            file.truncate(end)  # remove what a writer that died, or a full disk, left incomplete
            try:
                file.seek(end)
                _write_all(file, lines.encode())
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise


@contextmanager
def _alone(file: IO[bytes]) -> Iterator[None]:
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _write_all(file: IO[bytes], content: bytes) -> None:
    while content:
        content = content[file.write(content) :]


def _end_of_last_line(file: IO[bytes]) -> int:
    """The position after the last complete line."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _TAIL)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
