"""Data sets: prepared once, digested, split, augmented; and every way in which a file can be wrong."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.data import datasets
from trainables.data.datasets import EXACT_SQUARES, prepare, split
from trainables.data.normalisation import downscale
from trainables.data.npz_files import ARRAYS
from trainables.networks.rules import RuleError


def splits_of(dataset: datasets.Dataset, **changes: object) -> datasets.Splits:
    options: dict[str, object] = {
        "validation_fraction": 0.25,
        "split_seed": 0,
        "num_train_images": None,
        "image_downscale": 1,
        "device": torch.device("cpu"),
    }
    return split(dataset, **{**options, **changes})  # type: ignore[arg-type]


def test_digits(data_folder: Path) -> None:
    """The digits are 1,797 real images whose digest never changes, mapped from one file by whoever opens them."""
    digits = prepare("digits", data_folder)
    assert digits.train_images.shape == (1437, 8, 8, 1)
    assert digits.test_images.shape == (360, 8, 8, 1)
    assert digits.num_classes == 10
    assert digits.digest == "2204df8039ea5db44a3980bfb51ed8a9b82b77d97f656f297183ebf9e425f7df"
    assert isinstance(prepare("digits", data_folder).train_images, np.memmap)


def test_own_arrays(tiny_npz: Path, data_folder: Path) -> None:
    """A user's .npz comes back as it was saved; other contents have another digest."""
    dataset = prepare(str(tiny_npz), data_folder)
    with np.load(tiny_npz) as saved:
        assert np.array_equal(dataset.train_images, saved["train_images"])
        assert np.array_equal(dataset.test_labels, saved["test_labels"])
        changed = {**saved, "test_labels": 1 - saved["test_labels"]}
    other = tiny_npz.with_name("other.npz")
    np.savez(other, **changed)
    assert prepare(str(other), data_folder).digest != dataset.digest


def test_named_data_from_a_file_in_the_data_folder(tiny_npz: Path, tmp_path: Path) -> None:
    """<data folder>/<name>.npz stands in for a download, for machines without one."""
    (tmp_path / "cifar10.npz").write_bytes(tiny_npz.read_bytes())
    assert prepare("cifar10", tmp_path).train_images.shape == (96, 8, 8, 1)


def test_torchvision_is_read_as_it_is(tmp_path: Path) -> None:
    """What torchvision finds in its own folder comes through pixel by pixel: real IDX files, written here."""
    raw = tmp_path / "downloads/FashionMNIST/raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for prefix, num in (("train", 20), ("t10k", 10)):
        images = generator.integers(0, 256, (num, 28, 28), dtype=np.uint8)
        header = b"\0\0\x08\x03" + b"".join(size.to_bytes(4, "big") for size in images.shape)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = np.arange(num, dtype=np.uint8) % 10
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + num.to_bytes(4, "big") + labels.tobytes())
    dataset = prepare("fashion_mnist", tmp_path)
    assert np.array_equal(dataset.test_images[..., 0], images)
    assert dataset.test_labels.tolist() == labels.tolist()
    assert (dataset.train_images.shape, dataset.num_classes) == ((20, 28, 28, 1), 10)


def _prepare_digits(folder: Path) -> str:
    return prepare("digits", folder).digest


def test_processes_may_race(tmp_path: Path) -> None:
    """Four processes that prepare one data set at once all get it, and leave nothing else behind."""
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        digests = pool.map(_prepare_digits, [tmp_path] * 4)
    assert len(set(digests)) == 1
    assert [path.name for path in (tmp_path / "prepared").iterdir()] == ["digits"]


@pytest.mark.parametrize(
    ("change", "rule", "value"),
    [
        ({"train_images": None}, "must hold the arrays", "without train_images"),
        ({"train_images": np.zeros((4, 8, 8, 1), np.float32)}, "images must be uint8", "float32, [4, 8, 8, 1]"),
        ({"train_images": np.zeros((96, 8, 8), np.uint8)}, "images must be uint8, channels last", "[96, 8, 8]"),
        ({"train_images": np.zeros((96, 1, 8, 8), np.uint8)}, "channels last", "[96, 1, 8, 8]"),
        ({"test_labels": np.zeros(5, np.int64)}, "one an image", "5 test_labels for 32 test_images"),
        ({"test_labels": np.full(32, -1)}, "whole numbers from 0", "test_labels"),
        ({"test_images": np.zeros((32, 9, 9, 1), np.uint8)}, "must have one shape", "[[8, 8, 1], [9, 9, 1]]"),
    ],
)
def test_bad_arrays(change: dict[str, np.ndarray | None], rule: str, value: str, tiny_npz: Path, tmp_path: Path) -> None:
    """Wrong arrays are refused with the rule, what was found, and a repair."""
    with np.load(tiny_npz) as saved:
        arrays = {name: array for name, array in {**saved, **change}.items() if array is not None}
    np.savez(tmp_path / "bad.npz", allow_pickle=False, **arrays)
    with pytest.raises(RuleError) as caught:
        prepare(str(tmp_path / "bad.npz"), tmp_path)
    assert rule in caught.value.rule
    assert value in caught.value.value
    assert caught.value.repair


def test_bad_files(tmp_path: Path) -> None:
    """No file, no npz, an unknown name: each is refused, and no pickle is ever loaded."""
    (tmp_path / "text.npz").write_text("not an archive")
    pickled = np.array([{}], dtype=object)
    np.savez(tmp_path / "objects.npz", allow_pickle=True, **dict.fromkeys(ARRAYS, pickled))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "objects.npz").read_bytes()[:200])
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    for name, rule in [
        (str(tmp_path / "absent.npz"), "a data file must exist"),
        (str(tmp_path / "cut.npz"), "readable by numpy.load"),
        (str(tmp_path / "one.npz"), "readable by numpy.load"),
        (str(tmp_path / "text.npz"), "readable by numpy.load"),
        (str(tmp_path / "objects.npz"), "images must be uint8"),
        ("cifar11", "data must be one of digits, mnist"),
    ]:
        with pytest.raises(RuleError) as caught:
            prepare(name, tmp_path)
        assert rule in caught.value.rule
    with pytest.raises(RuleError, match="the data folder must be one that can be written"):
        prepare("digits", tmp_path / "cut.npz")


def test_split_is_fixed(data_folder: Path) -> None:
    """The parts are disjoint, the same at every call, changed by split_seed alone; a subset keeps the validation images."""
    digits = prepare("digits", data_folder)
    first, again, subset = splits_of(digits), splits_of(digits), splits_of(digits, num_train_images=100)
    assert torch.equal(first.validation.indices, again.validation.indices)
    assert not set(first.train.indices.tolist()) & set(first.validation.indices.tolist())
    assert (len(first.train), len(first.validation), len(first.test)) == (1078, 359, 360)
    assert torch.equal(subset.validation.indices, first.validation.indices)
    assert set(subset.train.indices.tolist()) < set(first.train.indices.tolist())
    assert not torch.equal(splits_of(digits, split_seed=1).validation.indices, first.validation.indices)
    with pytest.raises(RuleError, match="least 2000 for training and 1 for validation; got 1078 for training, 359 for"):
        splits_of(digits, num_train_images=2000)


def test_normalise(data_folder: Path) -> None:
    """Training images have mean 0 and standard deviation 1 per channel after normalisation."""
    splits = splits_of(prepare("digits", data_folder))
    images, *_ = splits.train.batch(torch.arange(len(splits.train)))
    normalised = splits.normalise(images)
    assert normalised.mean().item() == pytest.approx(0, abs=1e-5)
    assert normalised.std(correction=0).item() == pytest.approx(1, abs=1e-4)


def test_downscale(data_folder: Path) -> None:
    """image_downscale averages blocks of pixels."""
    digits = prepare("digits", data_folder)
    images, *_ = splits_of(digits, image_downscale=2).test.batch(torch.tensor([0]))
    expected = digits.test_images[0, :, :, 0].reshape(4, 2, 4, 2).mean(axis=(1, 3)).round()
    assert images[0, 0].tolist() == expected.tolist()


@pytest.mark.parametrize("per_pixel", [False, True])
def test_mean_and_deviation_are_rounded_once(per_pixel: bool, data_folder: Path) -> None:
    """They are those of float64 over all training images, also of a set that is taken in several parts."""
    splits = splits_of(prepare("digits", data_folder), mean_per_pixel=per_pixel)
    images, *_ = splits.train.batch(torch.arange(len(splits.train)))
    assert len(images) > 2 * EXACT_SQUARES
    pixels = images.double() / 255
    dims = (0,) if per_pixel else (0, 2, 3)
    assert torch.equal(splits.mean, pixels.mean(dim=dims).float().view(splits.mean.shape))
    assert torch.equal(splits.std.flatten(), pixels.std(dim=(0, 2, 3), correction=0).float())


@given(st.integers(2, 5), st.integers(5, 12), st.integers(5, 12), st.sampled_from([1, 3]))
def test_downscaled_pixels_are_rounded_means(block: int, height: int, width: int, channels: int) -> None:
    """Downscaling is an average pool whose means are rounded, to the last bit; what fills no block is left out."""
    generator = torch.Generator().manual_seed(block + 100 * height + 10_000 * width)
    images = torch.randint(0, 256, (3, channels, height, width), dtype=torch.uint8, generator=generator)
    expected = torch.nn.functional.avg_pool2d(images.float(), block).round()
    assert torch.equal(downscale(images, block).float(), expected)
