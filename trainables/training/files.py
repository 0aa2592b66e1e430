"""Where a replicate's files lie: a folder of a file system, or a prefix of an object store.

A location is a path, or a URI that pyarrow knows, such as ``s3://bucket/prefix``, ``gs://bucket/prefix`` or
``s3://bucket/prefix?endpoint_override=http%3A%2F%2F127.0.0.1:9000``; ``file:///folder`` is the folder. Keys are best left to the
environment, but a URI may carry them (``s3://key:secret@bucket``): no error names them.
"""

import errno
import fcntl
import io
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import unquote
from uuid import uuid4

SECONDS_BETWEEN_TRIES = 0.1
FILE = "file://"
LOCK = "lock"
TEMPORARY = re.compile(r".+\.[0-9a-f]{32}\.tmp")
"""The names of files that are being written."""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a shared file system without locks answers."""

Location = Path | str
Write = Callable[[IO[bytes]], object]


class Files(Protocol):
    """The files of one location; each is there whole or not at all."""

    def read(self, name: str) -> bytes | None:
        """A file's content; None if there is none.

        Raises:
            OSError: The store cannot be reached, or refuses.
        """

    def put(self, name: str, write: Write) -> None:
        """Replace a file by what ``write`` writes; as it was if that raises, or the process dies."""

    def keep(self, name: str, kept_name: str) -> None:
        """Let a file take another's place, if there is one; the first name may go on to exist until its next ``put``."""

    def delete(self, *names: str) -> None:
        """Remove files, those that exist."""

    def lock(self, *, wait: bool = True) -> AbstractContextManager[None]:
        """A context that one process can be in at a time, where the location has locks.

        Raises:
            BlockingIOError: Another process is in it, or there are no locks, and ``wait`` is False.
        """

    def may_have_leftovers(self) -> bool:
        """Whether a process may have died in the context of the lock, or is in it now."""

    def describe(self, name: str) -> str:
        """Where a file is, to be read by people: without keys."""


def files_at(location: Location) -> Files:
    """The files of a location, which need not exist yet.

    Raises:
        ValueError: It is a URI that pyarrow cannot make sense of.
    """
    if not _is_uri(location):
        return _Folder(Path(location))
    uri = str(location)
    if not uri.startswith(FILE):
        return _Objects(uri)
    if not uri.startswith(f"{FILE}/"):
        raise ValueError(f"a file URI must name no host, as in file:///folder; got {without_keys(uri)}")
    return _Folder(Path(unquote(uri.removeprefix(FILE))))


def inside(location: Location, *names: str) -> Location:
    """A location within another: of a path a path, of a URI a URI with the same query."""
    if not _is_uri(location):
        return Path(location, *names)
    address, mark, query = str(location).partition("?")
    return "/".join([address.rstrip("/"), *names]) + mark + query


def beside(location: Location, name: str) -> Location:
    """The location of that name next to another."""
    if not _is_uri(location):
        return Path(location).parent / name
    address, mark, query = str(location).partition("?")
    return inside(address.rstrip("/").rpartition("/")[0] + mark + query, name)


def without_keys(location: Location) -> str:
    """A location to be read by people: what a URI says before ``@`` and after ``?`` is left out."""
    if not _is_uri(location):
        return str(location)
    scheme, _, rest = str(location).partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"  # the last @: a key may hold another


def _is_uri(location: Location) -> bool:
    return isinstance(location, str) and "://" in location


class _Folder:
    """Of a file system, this machine's or a shared one.

    Where the system has no locks, no process waits: see ``_Objects``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, name: str, write: Write) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f"{name}.{uuid4().hex}.tmp"
        try:
            with temporary.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._folder / name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def keep(self, name: str, kept_name: str) -> None:
        with suppress(FileNotFoundError):
            (self._folder / name).replace(self._folder / kept_name)

    def delete(self, *names: str) -> None:
        for name in names:
            (self._folder / name).unlink(missing_ok=True)

    @contextmanager
    def lock(self, *, wait: bool = True) -> Iterator[None]:
        """The system frees a dead holder's lock; what that one left half written is removed here."""
        path = self._folder / LOCK
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            with path.open("ab") as file:
                if not _is_free(file, if_there_are_none=wait):
                    if not wait:
                        raise BlockingIOError(errno.EAGAIN, "it is in use", str(path))
                    time.sleep(SECONDS_BETWEEN_TRIES)
                    continue
                if not _is_at(path, file.fileno()):  # the last holder removed it after we had opened it
                    continue
                try:
                    self._remove_leftovers()
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return

    def may_have_leftovers(self) -> bool:
        """A process that dies does not remove the lock's file."""
        return (self._folder / LOCK).exists()

    def _remove_leftovers(self) -> None:
        for leftover in self._folder.iterdir():
            if TEMPORARY.fullmatch(leftover.name):
                leftover.unlink(missing_ok=True)

    def describe(self, name: str) -> str:
        return str(self._folder / name)


def _is_free(file: IO[bytes], *, if_there_are_none: bool) -> bool:
    """Take a file's lock, and say whether no other process held it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return if_there_are_none
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is (still) the one at a path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


class _Objects:
    """Of an object store, where a put is whole or not at all, and where there are no locks.

    So two may train the same replicate here. The driver sees to it that one does; if two do, both end with the same bytes.
    """

    def __init__(self, uri: str) -> None:
        from pyarrow import fs  # half a second, which whoever keeps files in a folder need not wait

        self._described = without_keys(uri)
        try:
            self._store, self._prefix = fs.FileSystem.from_uri(uri)
        except (ValueError, NotImplementedError):  # whose text is the whole URI
            self._prefix = ""
        if not self._prefix:
            raise ValueError(
                f"a location must be a path or a URI that pyarrow knows, such as s3://bucket/prefix; got {self._described}"
            )

    def read(self, name: str) -> bytes | None:
        try:
            with self._store.open_input_file(self._path(name)) as file:
                content: bytes = file.read()
                return content
        except FileNotFoundError:
            return None

    def put(self, name: str, write: Write) -> None:
        content = io.BytesIO()
        write(content)  # first: closing a stream completes the object, however little was written
        with self._store.open_output_stream(self._path(name)) as stream:
            stream.write(content.getbuffer())

    def keep(self, name: str, kept_name: str) -> None:
        if self._store.get_file_info(self._path(name)).is_file:
            self._store.copy_file(self._path(name), self._path(kept_name))

    def delete(self, *names: str) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                self._store.delete_file(self._path(name))

    @contextmanager
    def lock(self, *, wait: bool = True) -> Iterator[None]:
        """There is none."""
        yield

    def may_have_leftovers(self) -> bool:
        """There is no lock that would tell."""
        return True

    def describe(self, name: str) -> str:
        return f"{self._described.rstrip('/')}/{name}"

    def _path(self, name: str) -> str:
        return f"{self._prefix.rstrip('/')}/{name}"
