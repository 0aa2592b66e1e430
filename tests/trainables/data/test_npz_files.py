"""Data files from anywhere: each that is wrong is one sentence, within a bound of memory; a changed file is another data set."""

import io
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables.data import npz_files
from trainables.data.datasets import prepare
from trainables.data.npz_files import ARRAYS, digest_of
from trainables.networks.rules import RuleError

MOST_MEMORY = 20 * 2**20
IMAGES, LABELS = np.zeros((6, 4, 4, 1), np.uint8), np.arange(6) % 2


def npy(array: Any) -> bytes:
    """An array as the bytes of a .npy file."""
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def declared(header: str, content: bytes = b"\0" * 96) -> bytes:
    """A .npy file with this header, whatever follows it."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def header_of(dtype: str, shape: str) -> str:
    return f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}"


def write(path: Path, **changes: bytes | None) -> Path:
    return write_compressed(path, zipfile.ZIP_STORED, changes)


def write_compressed(path: Path, compression: int, changes: Mapping[str, bytes | None]) -> Path:
    members = {name: npy(IMAGES if name.endswith("images") else LABELS) for name in ARRAYS}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in {**members, **changes}.items():
            if content is not None:
                archive.writestr(f"{name}.npy", content)
    return path


def refused(path: Path, folder: Path) -> RuleError:
    """The one rule that a file breaks, found within the bound of memory."""
    tracemalloc.start()
    try:
        with pytest.raises(RuleError) as caught:
            prepare(str(path), folder)
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
    assert caught.value.repair
    assert str(path) in caught.value.value
    assert not list(folder.glob("prepared/*"))
    return caught.value


WRONG: dict[str, tuple[dict[str, bytes | None], str, str]] = {
    "36 TiB": ({"train_images": declared(header_of("'|u1'", "(1000000000000, 6, 6, 1)"))}, "all the bytes", "[1000000000000, 6"),
    "more than 2**64": ({"test_images": declared(header_of("'|u1'", f"({10**40}, 6, 6, 1)"))}, "all the bytes", "test_images"),
    "brackets": ({"train_labels": declared("(" * 9000)}, "readable by numpy.load", "Header info length"),
    "fewer brackets": ({"train_labels": declared("(" * 900)}, "readable by numpy.load", "Error"),
    "no header": ({"train_labels": b"some text that is no array"}, "readable by numpy.load", "magic"),
    "nothing": ({"train_labels": b""}, "readable by numpy.load", "Error"),
    "a later version": ({"train_labels": b"\x93NUMPY\x09\x00" + b"\0" * 90}, "readable by numpy.load", "KeyError"),
    "cut off": ({"train_images": npy(IMAGES)[:-9]}, "all the bytes", "train_images"),
    "negative": ({"train_images": declared(header_of("'|u1'", "(-6, 4, 4, 1)"))}, "images must be uint8", "[-6, 4, 4, 1]"),
    "no images": ({"train_images": npy(IMAGES[:0])}, "images must be uint8", "[0, 4, 4, 1]"),
    "objects": ({"train_images": npy(np.array([{}], object))}, "images must be uint8", "train_images of object"),
    "records": ({"train_images": declared(header_of("[('a', '|u1', (1000000000,))]", "(1000000000,)"))}, "must be uint8", "1000"),
    "not finite": ({"train_images": npy(np.full(IMAGES.shape, np.nan))}, "images must be uint8", "float64"),
    "no channel": ({"train_images": npy(IMAGES[..., 0])}, "channels last", "[6, 4, 4]"),
    "channels first": ({"train_images": npy(IMAGES.transpose(0, 3, 1, 2))}, "channels last", "[6, 1, 4, 4]"),
    "2**62": ({"test_labels": npy(np.array([0, 1, 0, 1, 0, 2**62]))}, "less than 100,000", "test_labels"),
    "2**63": ({"test_labels": npy(np.array([0, 1, 0, 1, 0, 2**63 + 5], np.uint64))}, "less than 100,000", "1 of 6"),
    "below 0": ({"train_labels": npy(LABELS - 1)}, "from 0", "e.g. -1"),
    "floats": ({"train_labels": npy(LABELS.astype(np.float32))}, "whole numbers", "train_labels of float32"),
    "booleans": ({"train_labels": npy(LABELS == 1)}, "whole numbers", "train_labels of bool"),
    "dates": ({"train_labels": npy(LABELS.astype("m8[s]"))}, "whole numbers", "timedelta64[s]"),
    "texts": ({"train_labels": npy(np.array(list("abcabc")))}, "whole numbers", "<U1"),
    "one-hot": ({"train_labels": npy(np.eye(2, dtype=np.int64)[LABELS])}, "whole numbers", "[6, 2]"),
    "a column": ({"train_labels": npy(LABELS[:, None])}, "whole numbers", "[6, 1]"),
    "one number": ({"train_labels": npy(np.int64(3))}, "whole numbers", "[]"),
    "more labels": ({"train_labels": npy(np.arange(9) % 2)}, "one an image", "9 train_labels for 6 train_images"),
    "missing": ({"test_labels": None}, "must hold the arrays", "without test_labels"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arrays(name: str, tmp_path: Path) -> None:
    """Whatever an array declares, the file says no more than it holds; rule, array, value and file are told."""
    changes, rule, value = WRONG[name]
    found = refused(write(tmp_path / "wrong.npz", **changes), tmp_path / "data")
    assert rule in found.rule
    assert value in found.value


REPAIRS = {
    "not finite": "astype(numpy.uint8)",
    "no channel": "images[..., None]",
    "channels first": "images.transpose(0, 2, 3, 1)",
    "one-hot": "labels.argmax(axis=1)",
    "a column": "labels[:, 0]",
    "floats": "labels.astype(numpy.int64)",
    "booleans": "labels.astype(numpy.int64)",
}


@pytest.mark.parametrize("name", REPAIRS)
def test_repairs_can_be_typed(name: str, tmp_path: Path) -> None:
    """What is usually wrong with arrays has its line of numpy."""
    assert REPAIRS[name] in refused(write(tmp_path / "wrong.npz", **WRONG[name][0]), tmp_path / "data").repair


def test_a_compressed_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array that is far smaller in the file is not unpacked; what is compressed as images are is."""
    monkeypatch.setattr(npz_files, "LARGEST_UNSUSPECTED", 2**16)
    content = npy(np.zeros((2**20, 4, 4, 1), np.uint8))
    found = refused(write_compressed(tmp_path / "bomb.npz", zipfile.ZIP_DEFLATED, {"train_images": content}), tmp_path / "data")
    assert "must not be compressed more than 100 times" in found.rule
    assert "train_images of 16,777,344 bytes" in found.value
    noise = np.random.default_rng(0).integers(0, 3, (6, 200, 200, 1)).astype(np.uint8)
    arrays = {name: npy(noise) for name in ARRAYS if name.endswith("images")}
    assert (
        prepare(str(write_compressed(tmp_path / "good.npz", zipfile.ZIP_DEFLATED, arrays)), tmp_path / "data").train_images.max()
        == 2
    )


def test_a_directory_that_lies(tmp_path: Path) -> None:
    """Neither the size nor the checksum that the archive's directory names is believed."""
    path = write(tmp_path / "lies.npz")
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02")
    content[place + 24 : place + 28] = struct.pack("<I", 2**32 - 2)  # the uncompressed size of the first member
    path.write_bytes(content)
    assert "compressed more than" in refused(path, tmp_path / "data").rule
    flipped = bytearray(write(path).read_bytes())
    flipped[flipped.index(b"\x93NUMPY") + 140] ^= 1
    path.write_bytes(flipped)
    assert "Bad CRC-32" in refused(path, tmp_path / "data").value


def make_folder(path: Path) -> None:
    path.mkdir()


def make_loop(path: Path) -> None:
    path.symlink_to(path)


def make_cut(path: Path) -> None:
    write(path).write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (make_folder, "a data file must be a file"),
        (os.mkfifo, "a data file must be a file"),
        (lambda path: path.symlink_to("/dev/zero"), "a data file must be a file"),
        (make_loop, "a data file must be readable|data must be a path"),
        (lambda path: path.symlink_to("/nowhere"), "a data file must exist"),
        (lambda path: path.write_bytes(b""), "readable by numpy.load"),
        (make_cut, "readable by numpy.load"),
    ],
)
def test_what_is_no_data_file(make: Callable[[Path], Any], rule: str, tmp_path: Path) -> None:
    """Folders, pipes, devices, links in a circle, halves of files: none is waited for."""
    make(tmp_path / "x.npz")
    with pytest.raises(RuleError, match=rule):
        prepare(str(tmp_path / "x.npz"), tmp_path / "data")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    """The reason is the system's."""
    write(tmp_path / "x.npz").chmod(0)
    with pytest.raises(RuleError, match="Permission denied"):
        prepare(str(tmp_path / "x.npz"), tmp_path / "data")


def test_other_orders_of_bytes_and_axes(tmp_path: Path) -> None:
    """Fortran's order, big-endian and small types are the same data: they have the same digest."""
    images = np.arange(96, dtype=np.uint8).reshape(IMAGES.shape)
    plain = write(tmp_path / "plain.npz", train_images=npy(images))
    fortran = npy(np.asfortranarray(images))
    other = write(tmp_path / "other.npz", train_images=fortran, train_labels=npy(LABELS.astype(">i4")))
    small = write(tmp_path / "small.npz", train_images=npy(images), train_labels=npy(LABELS.astype(np.uint8)))
    datasets = [prepare(str(path), tmp_path / "data") for path in (plain, other, small)]
    assert len({dataset.digest for dataset in datasets}) == 1
    assert all(np.array_equal(dataset.train_images, images) for dataset in datasets)


def replace_file(path: Path) -> None:
    """Other labels in a file of the same size, with the same time of writing."""
    found = path.stat()
    other = write(path.with_name("new"), test_labels=npy(1 - LABELS))
    assert other.stat().st_size == found.st_size
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    other.replace(path)


def overwrite_file(path: Path) -> None:
    """The same, written into the very file."""
    found = path.stat()
    path.write_bytes(write(path.with_name("new"), test_labels=npy(1 - LABELS)).read_bytes())
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


@pytest.mark.parametrize("doubt", [npz_files.SECONDS_OF_DOUBT, 0.0])
@pytest.mark.parametrize("change", [replace_file, overwrite_file])
def test_a_changed_file_is_another_data_set(
    change: Callable[[Path], None], doubt: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same size and time as it is, its new content is served; put back, the old one is."""
    monkeypatch.setattr(npz_files, "SECONDS_OF_DOUBT", doubt)
    path = write(tmp_path / "mine.npz")
    before = path.read_bytes()
    first = prepare(str(path), tmp_path / "data")
    assert first.file
    assert first.file.is_current()
    change(path)
    second = prepare(str(path), tmp_path / "data")
    assert not first.file.is_current()
    assert second.test_labels.tolist() == (1 - LABELS).tolist()
    assert first.digest != second.digest
    path.write_bytes(before)
    assert prepare(str(path), tmp_path / "data").digest == first.digest


def test_an_old_file_is_read_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its digest is known by its version; of a file that has just changed it is worked out again each time."""
    with write(tmp_path / "mine.npz").open("rb") as file:
        monkeypatch.setattr(npz_files, "SECONDS_OF_DOUBT", -1.0)
        digest = digest_of(file)
        monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("it was read again"))
        assert digest_of(file) == digest


def test_damaged_prepared_arrays_are_told(tmp_path: Path) -> None:
    """With the folder to remove; once that is done, they are prepared again."""
    path, folder = write(tmp_path / "mine.npz"), tmp_path / "data"
    digest = prepare(str(path), folder).digest
    (prepared,) = (folder / "prepared").iterdir()
    (prepared / "train_images.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(RuleError, match="prepared arrays must be readable") as caught:
        prepare(str(path), folder)
    assert caught.value.repair.endswith(f"rm -r '{prepared}'")
    for file in prepared.iterdir():
        file.unlink()
    prepared.rmdir()
    assert prepare(str(path), folder).digest == digest


def test_long_names(tmp_path: Path) -> None:
    """The name of a file may be as long as a system allows."""
    path = write(tmp_path / f"{'é' * 120}.npz")
    assert prepare(str(path), tmp_path / "data").num_classes == 2
