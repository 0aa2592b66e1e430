"""Reads the arrays of a user's .npz file. What the file says of itself is checked before any memory is given to it, and no pickle
is ever loaded.
"""

import hashlib
import math
import os
import stat
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.networks.rules import RuleError

Array = NDArray[Any]

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
MOST_CLASSES = 100_000
"""More than any data set has; each class is an output of the network."""
LONGEST_HEADER = 1_000
"""Bytes of the header of an array; that of images has about 120."""
LARGEST_UNSUSPECTED, MOST_COMPRESSED = 2**28, 100
"""Bytes of an array that may be compressed as much as it can be; of a larger one, how many times at most."""
SECONDS_OF_DOUBT = 2.0
"""A file that changed less than this long ago may change again without another time stamp, whose clock may be coarse."""
LONGEST_REASON = 200

_digests: dict[tuple[int, ...], str] = {}
"""The digests of files that were read in this process, by the facts of their version."""


@dataclass(frozen=True)
class FileVersion:
    """A version of a data file: its path, and all that changes when it is replaced or written to."""

    file: str
    facts: tuple[int, ...]
    """Device, inode, size, and the times of the last writing and the last change; the last cannot be set by hand."""

    def is_current(self) -> bool:
        """Whether the file is still this one, as far as can be seen without reading it; one that is not here counts as such."""
        try:
            return _facts_of(Path(self.file).stat()) == self.facts
        except OSError:
            return True


def version_of(file: BufferedReader, source: Path) -> FileVersion:
    """The version of an open file."""
    return FileVersion(str(source), _facts_of(os.fstat(file.fileno())))


def _facts_of(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@contextmanager
def opened(source: Path) -> Iterator[BufferedReader]:
    """A data file, open for reading.

    Raises:
        RuleError: There is no such file, it is a folder or a device, or it cannot be read.
    """
    try:
        mode = source.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "neither a file nor a folder"
            raise RuleError("a data file must be a file", f"{source}, which is {kind}", "give the path of an .npz file")
        file = source.open("rb")
    except FileNotFoundError:
        raise RuleError("a data file must exist", str(source), "give the path of an .npz file that does") from None
    except OSError as error:
        raise RuleError("a data file must be readable", f"{source} ({error.strerror})", "check its path and rights") from None
    with file:
        yield file


def digest_of(file: BufferedReader) -> str:
    """The SHA-256 of a file's content; it is read once in a process, and again whenever it may have changed."""
    found, now = os.fstat(file.fileno()), time.time()
    facts = _facts_of(found)
    if facts in _digests:
        return _digests[facts]
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    if now - found.st_ctime > SECONDS_OF_DOUBT:
        _digests[facts] = digest
    return digest


def read_npz(file: BufferedReader, source: Path) -> dict[str, Array]:
    """The four arrays of a data file.

    Args:
        file: The open file.
        source: Its path, for messages.

    Raises:
        RuleError: It is no .npz file, holds less than it declares, or its arrays are not images and labels.
    """
    before = version_of(file, source)
    size = os.fstat(file.fileno()).st_size
    try:
        with zipfile.ZipFile(file) as archive:
            _check_members(archive, size, source)
            for name in ARRAYS:
                with archive.open(f"{name}.npy") as member:
                    _check_declared(name, member, archive.getinfo(f"{name}.npy"), source)
            arrays = {name: _read(archive, name) for name in ARRAYS}
    except RuleError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever zipfile, its decompressors and numpy raise of a damaged file
        reason, *_ = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_REASON].split(". ")
        raise RuleError("an .npz data file must be readable by numpy.load", f"{source} ({reason})", "save it again") from None
    _check_shapes(arrays, source)
    for name in ("train_labels", "test_labels"):
        _check_labels(name, arrays[name], source)
    if version_of(file, source) != before:
        rule, repair = "a data file must not change while it is read", "run the same command again"
        raise RuleError(rule, str(source), repair)
    return arrays


def _read(archive: zipfile.ZipFile, name: str) -> Array:
    with archive.open(f"{name}.npy") as member:
        array: Array = np.lib.format.read_array(member, allow_pickle=False, max_header_size=LONGEST_HEADER)
        if member.read(1):  # which reads to the end, where the checksum is compared
            raise ValueError(f"{name} has bytes behind its array")
    return array


def _check_members(archive: zipfile.ZipFile, size: int, source: Path) -> None:
    """Check that the file has the arrays, and that none of them is a bomb; ``size`` is the file's own."""
    names = set(archive.namelist())
    if missing := [name for name in ARRAYS if f"{name}.npy" not in names]:
        raise RuleError(
            f"an .npz data file must hold the arrays {', '.join(ARRAYS)}",
            f"{source} without {', '.join(missing)}",
            "save it with numpy.savez(path, train_images=…, train_labels=…, test_images=…, test_labels=…)",
        )
    for name in ARRAYS:
        info = archive.getinfo(f"{name}.npy")
        held = min(info.compress_size, size)
        if info.file_size > max(LARGEST_UNSUSPECTED, MOST_COMPRESSED * held):
            rule = f"an array of more than {LARGEST_UNSUSPECTED:,} bytes must not be compressed more than {MOST_COMPRESSED} times"
            value = f"{name} of {info.file_size:,} bytes, which are {held:,} bytes of {source}"
            raise RuleError(rule, value, "save it with numpy.savez, which does not compress")


def _check_declared(name: str, member: Any, info: zipfile.ZipInfo, source: Path) -> None:
    """Check the type and shape in the header of an array, and that the file has as many bytes as they take."""
    version = np.lib.format.read_magic(member)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, _, dtype = read_header(member, max_header_size=LONGEST_HEADER)
    what = f"{name} of {dtype}, {list(shape)} in {source}"
    if name.endswith("images"):
        if dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or min(shape) < 1:
            rule = "images must be uint8, channels last, [N, height, width, 1 or 3], N at least 1"
            raise RuleError(rule, what, _repair_of_images(dtype, shape))
    elif dtype.kind not in "iu" or len(shape) != 1 or min(shape) < 1:
        raise RuleError("labels must be whole numbers from 0, one an image", what, _repair_of_labels(dtype, shape))
    if math.prod(shape) * dtype.itemsize > info.file_size - member.tell():
        rule = "an array must have all the bytes that its shape takes"
        raise RuleError(rule, f"{what}, which has {info.file_size - member.tell():,} bytes of it", "save the file again")


def _repair_of_images(dtype: Any, shape: Sequence[int]) -> str:
    if dtype != np.uint8:
        return "convert them before saving: pixels from 0 to 255, then images.astype(numpy.uint8)"
    if len(shape) == 3:
        return "add the channel before saving: images[..., None]"
    if len(shape) == 4 and shape[1] in (1, 3):
        return "put the channels last before saving: images.transpose(0, 2, 3, 1)"
    return "save grey images with one channel, colour images with three"


def _repair_of_labels(dtype: Any, shape: Sequence[int]) -> str:
    if len(shape) == 2 and shape[1] > 1:
        return "save class numbers instead of one row for each image: labels.argmax(axis=1)"
    if len(shape) == 2:
        return "save them without the second dimension: labels[:, 0].astype(numpy.int64)"
    if dtype.kind in "bf" and len(shape) == 1:
        return "save them as whole numbers: labels.astype(numpy.int64)"
    return "save one class number for each image"


def _check_shapes(arrays: dict[str, Array], source: Path) -> None:
    for split in ("train", "test"):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        if len(images) != len(labels):
            value = f"{len(labels):,} {split}_labels for {len(images):,} {split}_images in {source}"
            raise RuleError("labels must be whole numbers from 0, one an image", value, "save one class number for each image")
    if arrays["train_images"].shape[1:] != arrays["test_images"].shape[1:]:
        shapes = [list(arrays[f"{split}_images"].shape[1:]) for split in ("train", "test")]
        raise RuleError("train and test images must have one shape", f"{shapes} in {source}", "make them alike")


def _check_labels(name: str, labels: Array, source: Path) -> None:
    lowest, highest = int(labels.min()), int(labels.max())  # Python's numbers: 2**63 is no negative label
    if lowest >= 0 and highest < MOST_CLASSES:
        return
    wrong = lowest if lowest < 0 else highest
    num = int(((labels < 0) | (labels >= MOST_CLASSES)).sum())
    rule = f"labels must be whole numbers from 0, and less than {MOST_CLASSES:,}"
    value = f"{name} in {source}, of which {num:,} of {len(labels):,} are not, e.g. {wrong}"
    raise RuleError(rule, value, "number the classes from 0, and leave images without a class out")
