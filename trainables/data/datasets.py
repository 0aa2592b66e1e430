"""Image data sets as uint8 arrays: prepared once, cached, memory-mapped, with a digest.

``prepare`` turns a named data set, or a user's own ``.npz`` file, into four ``.npy`` arrays in the data folder, from where
every process of a machine maps the same pages. ``split`` sets the validation images aside.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainables.data.normalisation import Normalisation, downscale
from trainables.data.npz_files import ARRAYS, Array, FileVersion, digest_of, opened, read_npz, version_of
from trainables.data.temporary_folders import temporary_folder_beside
from trainables.networks.layouts import ImageShape
from trainables.networks.rules import RuleError

NUM_DIGITS_TEST_IMAGES = 360
NO_IMAGES = "none"
"""The data set of what looks at no image."""
FACTS = "dataset.json"
"""The file of a folder of prepared arrays that is written last."""
EXACT_SQUARES = 256
"""The squares of this many levels of 0 to 255 add up to less than 2**24, so that float32 has their sum exactly, in any order."""
LONGEST_STEM = 40
"""Characters of a data file's name that the name of its folder has."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images ``[N, H, W, C]`` and labels ``[N]``, all uint8 (labels int64), in the data set's own order.

    The digest is the SHA-256 of the four arrays with their shapes: equal digests, equal data.
    """

    name: str
    digest: str
    num_classes: int
    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array
    file: FileVersion | None = None
    """The user's own file that it was prepared from, if there is one."""

    @property
    def image_shape(self) -> ImageShape:
        """Height, width, channels."""
        height, width, channels = self.train_images.shape[1:]
        return height, width, channels


def default_data_folder() -> Path:
    """``$SPIKESWEEP_DATA``, else ``spikesweep`` in the user's cache folder."""
    if folder := os.environ.get("SPIKESWEEP_DATA"):
        return Path(folder).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser().resolve() / "spikesweep"


def prepare(data: str, data_folder: Path) -> Dataset:
    """The data set called ``data`` (a name in ``NAMES``, or the path of an ``.npz`` file), mapped from ``data_folder``.

    The first call prepares it: a named one from ``<data_folder>/<name>.npz`` if the user put it there, else from
    scikit-learn or torchvision's download. What was prepared from a file is found again by the digest of the file's content.
    Processes may race to prepare the same one: each works in a folder of its own and the first to finish wins.

    Raises:
        RuleError: The name or file does not exist, the arrays are not what they must be, or the download failed.
    """
    source = _source(data, data_folder)
    if source is None:
        prepared = data_folder / "prepared" / data
        if not (prepared / FACTS).exists():
            _store(_SOURCES[data](data_folder), prepared)
        return _open(data, prepared)
    with opened(source) as file:
        version = version_of(file, source)
        prepared = data_folder / "prepared" / f"{source.stem[:LONGEST_STEM]}-{digest_of(file)[:16]}"
        if not (prepared / FACTS).exists():
            _store(read_npz(file, source), prepared)
    return _open(data, prepared, version)


def _source(data: str, data_folder: Path) -> Path | None:
    """The .npz file to prepare a data set from, if it is prepared from one."""
    if data in _SOURCES:
        source = data_folder / f"{data}.npz"
        return source if source.exists() else None
    if not data.endswith(".npz"):
        raise RuleError(
            f"data must be one of {', '.join(NAMES)}, or the path of an .npz file",
            repr(data),
            f"write one of the names, or a path that ends in .npz with the arrays {', '.join(ARRAYS)}",
        )
    try:
        return Path(data).expanduser().resolve()
    except (RuntimeError, ValueError, OSError) as error:  # ~nobody, a null byte, links in a circle
        raise RuleError("data must be a path", repr(data), f"change it ({error})") from None


def _store(arrays: dict[str, Array], prepared: Path) -> None:
    """Write the arrays beside their final folder, then move them into place in one step."""
    try:
        with temporary_folder_beside(prepared) as workplace:
            _write(arrays, workplace)
            try:
                workplace.rename(prepared)
            except OSError:
                if not (prepared / FACTS).exists():  # nobody else was first, so this is a real failure
                    raise
    except OSError as error:
        rule, repair = "the data folder must be one that can be written", "choose another with $SPIKESWEEP_DATA"
        raise RuleError(rule, f"{prepared.parent} ({error.strerror})", repair) from None


def _write(arrays: dict[str, Array], folder: Path) -> None:
    """The arrays, then their digest, each on the disk before the next: what has a digest is whole, whatever happens."""
    digest = hashlib.sha256()
    for name in ARRAYS:
        dtype = np.uint8 if name.endswith("images") else np.int64
        array = np.ascontiguousarray(arrays[name], dtype=dtype)
        digest.update(f"{name} {array.shape}".encode())
        digest.update(array.data)
        with (folder / f"{name}.npy").open("wb") as file:
            np.save(file, array)
            file.flush()
            os.fsync(file.fileno())
    num_classes = 1 + int(max(arrays["train_labels"].max(), arrays["test_labels"].max()))
    facts = {"digest": digest.hexdigest(), "num_classes": num_classes}
    (folder / FACTS).write_text(json.dumps(facts))


def _open(data: str, prepared: Path, file: FileVersion | None = None) -> Dataset:
    try:
        facts = json.loads((prepared / FACTS).read_text())
        # mapped copy-on-write: torch takes no read-only array, and nothing ever writes to these
        arrays = {name: np.load(prepared / f"{name}.npy", mmap_mode="c", allow_pickle=False) for name in ARRAYS}
        return Dataset(name=Path(data).stem if data.endswith(".npz") else data, **facts, **arrays, file=file)
    except (OSError, ValueError, TypeError, EOFError) as error:
        rule, repair = "prepared arrays must be readable", f"remove the folder, and they are prepared again: rm -r '{prepared}'"
        raise RuleError(rule, f"{prepared} ({error})", repair) from None


def _digits(_: Path) -> dict[str, Array]:
    """The 1,797 8x8 digits of scikit-learn, in a fixed order: the last 360 are the test images."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise RuleError("data: digits needs scikit-learn", "no such package", "pip install scikit-learn") from None
    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(images))
    train, test = order[:-NUM_DIGITS_TEST_IMAGES], order[-NUM_DIGITS_TEST_IMAGES:]
    labels = bunch.target
    return dict(zip(ARRAYS, (images[train], labels[train], images[test], labels[test]), strict=True))


def _no_images(_: Path) -> dict[str, Array]:
    """Twelve grey images of one pixel, of two classes: no data, but what the response surface is bound to."""
    labels = np.arange(12) % 2
    images = (255 * labels).astype(np.uint8).reshape(-1, 1, 1, 1)
    return dict(zip(ARRAYS, (images[:10], labels[:10], images[10:], labels[10:]), strict=True))


def _from_torchvision(name: str, class_name: str) -> Callable[[Path], dict[str, Array]]:
    def read(data_folder: Path) -> dict[str, Array]:
        from torchvision import datasets

        arrays: dict[str, Array] = {}
        for split in ("train", "test"):
            try:
                source = getattr(datasets, class_name)(data_folder / "downloads", train=split == "train", download=True)
            except (OSError, RuntimeError) as error:
                raise RuleError(
                    f"torchvision must be able to download {name}",
                    " ".join(f"{type(error).__name__}: {error}".split()),
                    f"try again when online, or put {name}.npz ({', '.join(ARRAYS)}) into {data_folder}",
                ) from None
            images = np.asarray(source.data)
            arrays[f"{split}_images"] = images[..., None] if images.ndim == 3 else images
            arrays[f"{split}_labels"] = np.asarray(source.targets)
        return arrays

    return read


_SOURCES: dict[str, Callable[[Path], dict[str, Array]]] = {
    "digits": _digits,
    "mnist": _from_torchvision("mnist", "MNIST"),
    "fashion_mnist": _from_torchvision("fashion_mnist", "FashionMNIST"),
    "cifar10": _from_torchvision("cifar10", "CIFAR10"),
    "cifar100": _from_torchvision("cifar100", "CIFAR100"),
    NO_IMAGES: _no_images,
}
NAMES = tuple(_SOURCES)


@dataclass(frozen=True)
class Split:
    """One part of a data set: which of the images ``[N, H, W, C]`` and labels ``[N]``, on the trial's device.

    On a CPU the images are the memory-mapped file itself; a batch is the only copy.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    image_downscale: int

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def input_shape(self) -> ImageShape:
        """Of the images as a batch has them: height, width, channels."""
        _, height, width, channels = self.images.shape
        return height // self.image_downscale, width // self.image_downscale, channels

    def batch(self, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """uint8 images ``[B, C, H, W]``, labels, and indices in the data set ``[B]``, at these positions of this part."""
        indices_B, labels_B = self.indices_and_labels(positions)
        return self.images_at(indices_B), labels_B, indices_B

    def indices_and_labels(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Indices in the data set, and labels, at these positions of this part."""
        indices_B = self.indices.index_select(0, positions)
        return indices_B, self.labels.index_select(0, indices_B)

    def images_at(self, indices_B: Tensor) -> Tensor:
        """uint8 images ``[B, C, H, W]`` with these indices in the data set."""
        return downscale(self.images.index_select(0, indices_B).permute(0, 3, 1, 2), self.image_downscale)

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """All of this part in its own order; see ``batch``."""
        for positions in torch.split(torch.arange(len(self), device=self.indices.device), batch_size):
            yield self.batch(positions)


@dataclass(frozen=True)
class Splits(Normalisation):
    """The three parts of a data set, and what normalises its images."""

    train: Split
    validation: Split
    test: Split
    num_classes: int

    @property
    def image_shape(self) -> ImageShape:
        """Of the images as they are stored, before any downscaling: height, width, channels."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels


def num_validation_images(num_images: int, validation_fraction: float) -> int:
    """How many of a data set's training images are set aside for validation."""
    return round(validation_fraction * num_images)


def split_indices(
    num_images: int, *, validation_fraction: float, split_seed: int, num_train_images: int | None
) -> tuple[Array, Array]:
    """Indices of the training and of the validation images, each in ascending order.

    The split depends on ``split_seed`` alone, never on a replicate's seed, so that replicates and cells stay comparable.

    Raises:
        RuleError: No image is left for validation or for training, or fewer than ``num_train_images``.
    """
    order = np.random.Generator(np.random.PCG64(split_seed)).permutation(num_images)
    num_validation = num_validation_images(num_images, validation_fraction)
    validation, train = order[:num_validation], order[num_validation:]
    num_needed = num_train_images or 1
    if num_validation == 0 or len(train) < num_needed:
        rule = f"the split of {num_images} images must leave at least {num_needed} for training and 1 for validation"
        field = "num_train_images" if num_train_images else "validation_fraction"
        value = f"{len(train)} for training, {num_validation} for validation, at validation_fraction {validation_fraction:g}"
        raise RuleError(rule, value, field=field)
    return np.sort(train[:num_train_images]), np.sort(validation)


def split(
    dataset: Dataset,
    *,
    validation_fraction: float,
    split_seed: int,
    num_train_images: int | None,
    image_downscale: int,
    mean_per_pixel: bool = False,
    device: torch.device,
) -> Splits:
    """Set a fixed part of the training images aside for validation (see ``split_indices``); keep the test images apart.

    ``num_train_images`` keeps that many of the images left for training; ``image_downscale`` averages blocks of that size;
    ``mean_per_pixel`` subtracts a mean image rather than a mean per channel.
    """
    train, validation = split_indices(
        len(dataset.train_labels),
        validation_fraction=validation_fraction,
        split_seed=split_seed,
        num_train_images=num_train_images,
    )

    def on_device(array: Array) -> Tensor:
        return torch.from_numpy(array).to(device)

    images, labels = on_device(dataset.train_images), on_device(dataset.train_labels)
    train_part = Split(images, labels, on_device(train), image_downscale)
    mean, std = _mean_and_std(train_part, mean_per_pixel=mean_per_pixel)
    test_indices = on_device(np.arange(len(dataset.test_labels)))
    return Splits(
        train=train_part,
        validation=Split(images, labels, on_device(validation), image_downscale),
        test=Split(on_device(dataset.test_images), on_device(dataset.test_labels), test_indices, image_downscale),
        num_classes=dataset.num_classes,
        mean=mean,
        std=std,
    )


def _mean_and_std(part: Split, *, mean_per_pixel: bool) -> tuple[Tensor, Tensor]:
    """Of pixels in [0, 1], ``[C, 1, 1]`` (the mean ``[C, H, W]`` per pixel); a constant channel counts as one grey level wide."""
    sums: Tensor | None = None
    for images_BCHW, _, _ in part.batches(EXACT_SQUARES):
        levels = images_BCHW.float()
        more = torch.stack([levels.sum(dim=0), levels.square_().sum(dim=0)]).double()
        sums = more if sums is None else sums + more
    assert sums is not None  # a split leaves images to train on
    mean_CHW, mean_square_CHW = sums[0] / (255 * len(part)), sums[1] / (255**2 * len(part))
    mean_C, mean_square_C = (moment.mean(dim=(1, 2), keepdim=True) for moment in (mean_CHW, mean_square_CHW))
    std_C = (mean_square_C - mean_C.square()).clamp(min=0).sqrt().clamp(min=1 / 255)
    return (mean_CHW if mean_per_pixel else mean_C).float(), std_C.float()
