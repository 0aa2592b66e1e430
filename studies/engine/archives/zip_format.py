"""The files of an archive and their digests. It is a plain zip file that people and other programs can read.

manifest.json           format, study, versions, experiment, counts
runs/00001.jsonl        one line for each run, the study run first; 100 lines in a file
artifacts/KEY/PATH      files of the run whose line has this key: "study", or the replicate's identity
models/KEY/NUMBER/PATH  files of its logged models
SHA256SUMS              of everything else; ``sha256sum -c`` checks an unpacked archive
"""

import bisect
import hashlib
import json
import os
import re
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from studies.engine.errors import Problem, StudyError, shown

FORMAT = 1
CONTENT = "study exported by spikesweep"
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
RUNS_A_FILE = 100
BLOCK_BYTES = 1 << 20
_BAD_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError)
"""What zipfile raises for files that are damaged, encrypted or no zip files."""


def artifacts_of(key: str) -> str:
    """The folder of a run's artifacts in an archive."""
    return f"artifacts/{key}/"


def model_of(key: str, number: int) -> str:
    """The folder of a run's model in an archive; models are numbered from 0."""
    return f"models/{key}/{number}/"


def is_safe(name: str) -> bool:
    """Whether a file of this name lies in the folder that an archive is unpacked into, on every system."""
    path = PurePosixPath(name)
    is_plain = str(path) == name and not re.search(r"[\\\x00-\x1f\x7f]", name)
    return is_plain and not path.is_absolute() and bool(path.parts) and ".." not in path.parts and ":" not in path.parts[0]


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

    def add_folder(self, name: str, folder: Path) -> None:
        """Add all files in a folder and below."""
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                with file.open("rb") as content:
                    blocks = iter(lambda: content.read(BLOCK_BYTES), b"")
                    self._add(name + file.relative_to(folder).as_posix(), blocks)

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

    Raises:
        StudyError: The file exists and is not to be replaced, or it cannot be written.
    """
    if file.exists() and not replace:
        raise StudyError([Problem("FILE", "FILE must not exist yet", str(file), "name another one, or --force to replace it")])
    partial = file.with_name(f"{file.name}.partial")
    try:
        with partial.open("wb") as raw:
            with zipfile.ZipFile(raw, "w") as content:
                yield ArchiveWriter(content)
            raw.flush()
            os.fsync(raw.fileno())
        partial.replace(file)
    except OSError as error:
        raise StudyError(
            [Problem("FILE", "FILE must be one that can be written", f"{file} ({error})", "free some space, or name another")]
        ) from None
    finally:
        with suppress(OSError):  # there is no such folder
            partial.unlink(missing_ok=True)


class Archive:
    """An archive that has been checked; ``open_archive`` opens it."""

    def __init__(self, content: zipfile.ZipFile, manifest: Mapping[str, Any]) -> None:
        self._zip = content
        self.manifest = manifest
        self.study = str(manifest["study"])
        self.num_runs = int(manifest["num_runs"])
        self._names = sorted(content.namelist())

    def groups(self) -> Iterator[list[dict[str, Any]]]:
        """The runs of the archive, as the lines of one file after the other."""
        for name in self._names:
            if name.startswith("runs/"):
                with self._zip.open(name) as lines:
                    yield [json.loads(line) for line in lines]

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
    """An archive to read; all of it is checked first.

    Raises:
        StudyError: The file is no archive, has a newer format, or is damaged.
    """
    with _opened(file) as content:
        _check_names(file, content.namelist())
        manifest = _manifest(file, content)
        _check_digests(file, content)
        yield Archive(content, manifest)


@contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    try:
        content = zipfile.ZipFile(file)
    except zipfile.BadZipFile:
        with file.open("rb") as raw:
            is_cut = raw.read(4) == b"PK\x03\x04"
        if is_cut:
            raise _damaged(file, "it ends before its end") from None
        raise _no_archive(file, "it is no zip file") from None
    except OSError as error:
        raise _no_archive(file, error.strerror or str(error)) from None
    with content:
        yield content


def _check_names(file: Path, names: Sequence[str]) -> None:
    if unsafe := [name for name in names if not is_safe(name)]:
        raise StudyError(
            [Problem("FILE", "names in an archive must be plain paths", f"{file} has {shown(unsafe[0])}", "do not use it")]
        )
    if len(set(names)) < len(names):
        raise _damaged(file, "it has two files of one name")


def _manifest(file: Path, content: zipfile.ZipFile) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(content.read(MANIFEST))
        version = manifest["format"] if manifest["content"] == CONTENT else None
    except (KeyError, TypeError, ValueError):
        version = None
    except _BAD_ZIP as error:
        raise _damaged(file, f"{MANIFEST}: {error}") from None
    if not isinstance(version, int):
        raise _no_archive(file, f"it has no {MANIFEST} of such an archive")
    if version > FORMAT:
        rule = f"an archive's format must be {FORMAT} or older"
        value = f"{file} has format {version}, of spikesweep {manifest.get('spikesweep')}"
        raise StudyError([Problem("FILE", rule, value, "install that spikesweep, or a newer one")])
    if lacking := {"study", "num_runs", "experiment"} - manifest.keys():
        raise _damaged(file, f"{MANIFEST} has no {min(lacking)}")
    return manifest


def _check_digests(file: Path, content: zipfile.ZipFile) -> None:
    """Every file must be listed, and every listed file must be there with its digest."""
    name = SUMS
    try:
        rows = [line.split("  ", 1) for line in content.read(SUMS).decode().splitlines()]
        sums = {name: digest for digest, name in rows}
        odd = set(content.namelist()) ^ {*sums, SUMS}
        if odd:
            raise _damaged(file, f"{shown(min(odd))} is not both in it and in {SUMS}")
        for name, digest in sums.items():
            if _digest(content, name) != digest:
                raise _damaged(file, f"{shown(name)} has another digest than {SUMS} says")
    except (KeyError, ValueError, *_BAD_ZIP) as error:
        raise _damaged(file, f"{name}: {error}") from None


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


def _damaged(file: Path, reason: str) -> StudyError:
    return StudyError([Problem("FILE", "an archive must be as it was written", f"{file} ({reason})", "copy or export it again")])
