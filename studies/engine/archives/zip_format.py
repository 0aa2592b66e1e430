"""The files of an archive and their digests. It is a plain zip file that people and other programs can read.

manifest.json           format, study, versions, experiment, counts
runs/00001.jsonl        one line for each run, the study run first; 100 lines in a file
artifacts/KEY/PATH      files of the run whose line has this key: "study", or the replicate's identity
models/KEY/NUMBER/PATH  files of its logged models
SHA256SUMS              of everything else; ``sha256sum -c`` checks an unpacked archive
"""

import bisect
import fcntl
import hashlib
import json
import os
import re
import stat
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from uuid import uuid4

from pydantic import Field, TypeAdapter, ValidationError

from studies.engine.archives.archived_run import Name, Title
from studies.engine.definition.file_model import NAME_PATTERN
from studies.engine.errors import Problem, StudyError, cut, rule_of, shown

FORMAT = 1
CONTENT = "study exported by spikesweep"
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
RUNS_A_FILE = 100
BLOCK_BYTES = 1 << 20
PARTIAL = ".spikesweep-partial"
"""The end of the name of an archive that is not complete."""
MOST_LINE_BYTES = 32 << 20
"""Of the line of a run; one with 500 metrics of 1,000 epochs has 22 MiB."""
MOST_MANIFEST_BYTES = 16 << 20
MOST_SUMS_BYTES = 1 << 20
"""To which a kibibyte is added for each file."""
MOST_COMPRESSED = 100
"""How many times as large as the archive its files may be, beyond the first gibibyte; runs are ten times as large."""
LARGEST_UNSUSPECTED = 1 << 30
"""Bytes of the files of an archive that may be compressed as much as they can be."""
LONGEST_PATH, LONGEST_NAME = 1000, 255
"""Bytes of a file's path and of each name in it, which every file system takes."""


@dataclass(frozen=True)
class ArchivedExperiment:
    """The experiment that the runs were in, in the store that they were exported from."""

    id: Annotated[str, Field(pattern=r"^[\w-]{1,64}$")]
    name: Annotated[str, Field(min_length=1, max_length=500)]
    tags: Mapping[Name, Annotated[str, Field(max_length=20_000)]]


@dataclass(frozen=True)
class Manifest:
    """What an archive says of itself."""

    study: Annotated[str, Field(pattern=NAME_PATTERN, max_length=LONGEST_NAME)]
    num_runs: Annotated[int, Field(ge=1, lt=2**31)]
    experiment: ArchivedExperiment
    exported_from: Title = ""


_MANIFEST = TypeAdapter(Manifest)


def artifacts_of(key: str) -> str:
    """The folder of a run's artifacts in an archive."""
    return f"artifacts/{key}/"


def model_of(key: str, number: int) -> str:
    """The folder of a run's model in an archive; models are numbered from 0."""
    return f"models/{key}/{number}/"


def is_safe(name: str) -> bool:
    """Whether a file of this name lies in the folder that an archive is unpacked into, on every system."""
    path = PurePosixPath(name)
    is_plain = str(path) == name and not re.search(r"[\\\x00-\x1f\x7f\ud800-\udfff]", name)
    if not is_plain or path.is_absolute() or not path.parts or ".." in path.parts or ":" in path.parts[0]:
        return False
    return len(name.encode()) <= LONGEST_PATH and all(len(part.encode()) <= LONGEST_NAME for part in path.parts)


class ArchiveWriter:
    """An archive that is being written; ``new_archive`` makes it."""

    def __init__(self, content: zipfile.ZipFile) -> None:
        self._zip = content
        self._digests: dict[str, str] = {}

    @property
    def num_files(self) -> int:
        """Files written so far."""
        return len(self._digests)

    def add_text(self, name: str, text: str) -> None:
        """Add a file with this text."""
        self._add(name, [text.encode()])

    def add_lines(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add a file with a line of JSON for each row."""
        self._add(name, (f"{json.dumps(row, allow_nan=False)}\n".encode() for row in rows))

    def add_folder(self, name: str, folder: Path) -> set[str]:
        """Add all files in a folder and below; their paths in the folder."""
        paths = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
        for path, file in paths.items():
            with file.open("rb") as content:
                self._add(name + path, iter(lambda: content.read(BLOCK_BYTES), b""))
        return set(paths)

    def add_sums(self) -> None:
        """Add the file with the digests of all files so far."""
        self.add_text(SUMS, "".join(f"{digest}  {name}\n" for name, digest in self._digests.items()))

    def _add(self, name: str, blocks: Iterable[bytes]) -> None:
        if not is_safe(name):
            raise StudyError([Problem("FILE", "names in an archive must be plain paths", shown(name), "rename the artifact")])
        digest, described = hashlib.sha256(), zipfile.ZipInfo(name, time.localtime()[:6])
        described.compress_type = zipfile.ZIP_DEFLATED
        with self._zip.open(described, "w", force_zip64=True) as entry:
            for block in blocks:
                digest.update(block)
                entry.write(block)
        self._digests[name] = digest.hexdigest()


@contextmanager
def new_archive(file: Path, *, replace: bool) -> Iterator[ArchiveWriter]:
    """An archive to write into. The file gets its name when it is complete; if anything goes wrong, there is no file.

    Only a zip file is ever replaced: what has another content is of somebody else.

    Raises:
        StudyError: The file exists and is not to be replaced, or it cannot be written.
    """
    _check_free(file, replace=replace)
    partial = file.parent / f".{uuid4().hex}{PARTIAL}"
    try:
        with partial.open("xb") as raw:
            with suppress(OSError):  # there may be no locks
                fcntl.flock(raw, fcntl.LOCK_EX)
            _remove_partial_ones(file.parent)
            with zipfile.ZipFile(raw, "w") as content:
                yield ArchiveWriter(content)
            raw.flush()
            os.fsync(raw.fileno())
            _check_free(file, replace=replace)  # again: it may have been made meanwhile
            partial.replace(file)
    except OSError as error:
        raise StudyError(
            [Problem("FILE", "FILE must be one that can be written", f"{file} ({error})", "free some space, or name another")]
        ) from None
    finally:
        with suppress(OSError):  # there is no such folder
            partial.unlink(missing_ok=True)


def _remove_partial_ones(folder: Path) -> None:
    """Remove what exports left that were killed: nobody has their lock any more."""
    for partial in folder.glob(f".*{PARTIAL}"):
        with suppress(OSError), partial.open("rb") as raw:
            fcntl.flock(raw, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()


def _check_free(file: Path, *, replace: bool) -> None:
    """Raises a StudyError if a file is there that may not be replaced."""
    if not os.path.lexists(file):
        return
    if not replace:
        raise StudyError([Problem("FILE", "FILE must not exist yet", str(file), "name another one, or --force to replace it")])
    if not file.is_file() or (file.stat().st_size and not zipfile.is_zipfile(file)):
        rule, repair = "--force replaces a zip file, and nothing else", "name another one, or move it away"
        raise StudyError([Problem("FILE", rule, str(file), repair)])


class Archive:
    """An archive that has been checked; ``open_archive`` opens it."""

    def __init__(self, file: Path, content: zipfile.ZipFile, manifest: Manifest) -> None:
        self._file, self._zip = file, content
        self.study, self.num_runs, self.experiment = manifest.study, manifest.num_runs, manifest.experiment
        self._names = sorted(content.namelist())

    def groups(self) -> Iterator[list[bytes]]:
        """The lines of runs, in groups that have at most ``RUNS_A_FILE`` lines and few mebibytes.

        Raises:
            StudyError: A line is longer than that of any run.
        """
        group: list[bytes] = []
        for name in self._names:
            if name.startswith("runs/"):
                with self._zip.open(name) as lines:
                    while line := lines.readline(MOST_LINE_BYTES + 1):
                        if len(line) > MOST_LINE_BYTES:
                            raise damaged(self._file, f"{name} has a line of more than {MOST_LINE_BYTES >> 20} MiB")
                        if group and (len(group) == RUNS_A_FILE or sum(map(len, group)) + len(line) > MOST_LINE_BYTES):
                            yield group
                            group = []
                        group.append(line)
        if group:
            yield group

    def files(self, folder: str) -> dict[str, int]:
        """The sizes of the files in a folder and below, by their path in the folder."""
        first, end = (bisect.bisect_left(self._names, edge) for edge in (folder, f"{folder}\U0010ffff"))
        return {name.removeprefix(folder): self._zip.getinfo(name).file_size for name in self._names[first:end]}

    def unpack(self, folder: str, paths: Iterable[str], into: Path) -> None:
        """Write these files of a folder of the archive into a folder on disk."""
        for path in paths:
            target = into / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._zip.open(folder + path) as source, target.open("wb") as copy:
                while block := source.read(BLOCK_BYTES):
                    copy.write(block)


@contextmanager
def open_archive(file: Path) -> Iterator[Archive]:
    """An archive to read; its files are checked first, in an order in which no time or memory is spent on what is none.

    Raises:
        StudyError: The file is no archive, has a newer format, or is damaged.
    """
    with _opened(file) as content:
        try:
            _check_entries(file, content)
            manifest = _manifest(file, content)
            _check_digests(file, content)
        except (StudyError, KeyboardInterrupt):
            raise
        except Exception as error:  # noqa: BLE001  # zipfile has many kinds for what is damaged, encrypted or made up
            raise damaged(file, f"{type(error).__name__}: {cut(str(error))}") from None
        yield Archive(file, content, manifest)


@contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    try:
        content = zipfile.ZipFile(file)
    except OSError as error:
        raise _no_archive(file, error.strerror or str(error)) from None
    except Exception:  # noqa: BLE001  # as above
        with file.open("rb") as raw:
            is_cut = raw.read(4) == b"PK\x03\x04"
        if is_cut:
            raise damaged(file, "it ends before its end") from None
        raise _no_archive(file, "it is no zip file") from None
    with content:
        yield content


def _check_entries(file: Path, content: zipfile.ZipFile) -> None:
    """Look at the names and the sizes that the archive declares; what is read later is no longer than declared."""
    entries = content.infolist()
    names = [entry.filename for entry in entries]
    for entry in entries:
        if not is_safe(entry.filename) or stat.S_ISLNK(entry.external_attr >> 16):
            rule, repair = "files in an archive must have plain paths, and be no links", "do not use it"
            raise StudyError([Problem("FILE", rule, f"{file} has {shown(entry.filename)}", repair)])
    if len(set(names)) < len(names):
        raise damaged(file, "it has two files of one name")
    if files := set(names) & {str(parent) for name in names for parent in PurePosixPath(name).parents}:
        raise damaged(file, f"it has {shown(min(files))} as a file and as a folder")
    size, unpacked = file.stat().st_size, sum(entry.file_size for entry in entries)
    if unpacked > LARGEST_UNSUSPECTED + MOST_COMPRESSED * size:
        raise damaged(file, f"unpacked it would have {unpacked / 2**30:,.1f} GiB, which is {unpacked / size:,.0f} times its size")


def _small(file: Path, content: zipfile.ZipFile, name: str, most_bytes: int) -> bytes:
    """A file that is held in memory; empty if there is none.

    Raises:
        StudyError: It is too large.
    """
    if name not in content.namelist():
        return b""
    if content.getinfo(name).file_size > most_bytes:
        raise damaged(file, f"its {name} has more than {most_bytes / 2**20:g} MiB")
    return content.read(name)


def _manifest(file: Path, content: zipfile.ZipFile) -> Manifest:
    text = _small(file, content, MANIFEST, MOST_MANIFEST_BYTES)
    try:
        plain = json.loads(text)
        version = plain["format"] if plain["content"] == CONTENT else None
    except (KeyError, TypeError, ValueError, RecursionError):
        version = None
    if not isinstance(version, int):
        raise _no_archive(file, f"it has no {MANIFEST} of such an archive")
    if version > FORMAT:
        rule = f"an archive's format must be {FORMAT} or older"
        value = f"{file} has format {shown(version)}, of spikesweep {shown(plain.get('spikesweep'))}"
        raise StudyError([Problem("FILE", rule, value, "install that spikesweep, or a newer one")])
    try:
        return _MANIFEST.validate_json(text, strict=True)
    except ValidationError as error:
        raise damaged(file, in_words(MANIFEST, error)) from None


def in_words(where: str, error: ValidationError) -> str:
    """What is wrong with a part of an archive: the first field, its rule and its value."""
    first = error.errors(include_url=False)[0]
    path = ".".join(map(str, first["loc"])) or "all of it"
    return cut(f"{where}: {shown(path)} {rule_of(first)}, not {shown(first['input'])}")


def _check_digests(file: Path, content: zipfile.ZipFile) -> None:
    """Every file must be listed, and every listed file must be there with its digest."""
    names = content.namelist()
    rows = [
        line.split("  ", 1) for line in _small(file, content, SUMS, MOST_SUMS_BYTES + 1024 * len(names)).decode().splitlines()
    ]
    sums = {name: digest for digest, name in rows}
    odd = set(names) ^ {*sums, SUMS}
    if odd:
        raise damaged(file, f"{shown(min(odd))} is not both in it and in {SUMS}")
    for name, digest in sums.items():
        if _digest(content, name) != digest:
            raise damaged(file, f"{shown(name)} has another digest than {SUMS} says")


def _digest(content: zipfile.ZipFile, name: str) -> str:
    digest = hashlib.sha256()
    with content.open(name) as entry:
        while block := entry.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _no_archive(file: Path, reason: str) -> StudyError:
    return StudyError(
        [Problem("FILE", "FILE must be an archive that spikesweep exported", f"{file} ({reason})", "name another file")]
    )


def damaged(file: Path, reason: str) -> StudyError:
    """The error of an archive that is not as it was written."""
    return StudyError([Problem("FILE", "an archive must be as it was written", f"{file} ({reason})", "copy or export it again")])
