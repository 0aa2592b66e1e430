"""Augmentation: every part by its draws, and as PyTorch's own parts have it."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from tests.trainables.data.made_images import augmented, augmented_of, levels_of, made, splits_of_images
from trainables.data.augmentation import drawn_for, training_batch
from trainables.data.augmented_images import Drawn, PaddingMode
from trainables.data.datasets import Splits, prepare, split
from trainables.data.encodings import Encoding, normalised
from trainables.data.randomness import generator_for
from trainables.data.rotation import rotate
from trainables.training.recipe_parts.augmentation_fields import AugmentationFields


def images_of(num_images: int, channels: int, height: int, width: int, *, lowest: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(height + 10 * width)
    return torch.randint(lowest, 256, (num_images, channels, height, width), dtype=torch.uint8, generator=generator)


@given(
    st.booleans(),
    st.integers(0, 3),
    st.sampled_from(["zeros", "reflect"]),
    st.integers(4, 9),
    st.integers(4, 9),
    st.sampled_from([1, 3]),
)
def test_images_are_seen_as_they_were_drawn(
    flip: bool, padding: int, mode: PaddingMode, height: int, width: int, channels: int
) -> None:
    """First it is drawn who is flipped, then every image's row and column: a crop of the padded image, which is then flipped."""
    images = images_of(4, channels, height, width)
    results = augmented(images, flip=flip, crop_padding=padding, crop_padding_mode=mode)
    draws = generator_for(1, "augment", 2, 3)
    flipped = torch.rand(4, generator=draws) < 0.5 if flip else torch.zeros(4)
    offsets = torch.randint(0, 2 * padding + 1, (2, 4, 1), generator=draws)
    padded = functional.pad(images.float(), (padding,) * 4, mode="constant" if mode == "zeros" else "reflect")
    for number, result in enumerate(results):
        y, x = offsets[:, number, 0].tolist()
        crop = padded[number, :, y : y + height, x : x + width]
        assert torch.equal(result.float(), crop.flip(2) if flipped[number] else crop)


@given(
    st.fixed_dictionaries({part: st.booleans() for part in ("views", "turns", "changes", "rectangles")}),
    st.integers(4, 12),
    st.integers(4, 12),
    st.sampled_from([1, 3]),
    st.integers(1, 3),
    st.sampled_from(["constant", "poisson"]),
    st.booleans(),
)
def test_compiled_images_are_those_of_torch(
    parts: dict[str, bool], height: int, width: int, channels: int, downscale: int, encoding: Encoding, per_pixel: bool
) -> None:
    """All parts together give the same bits in both ways, of any size, downscaled or not, with a mean per channel or pixel."""
    images = images_of(20, channels, height * downscale + downscale // 2, width * downscale)
    mean = torch.rand(channels, *((height, width) if per_pixel else (1, 1)), generator=generator_for(height, width)) + 0.1
    chosen = torch.randperm(20, generator=generator_for(width))[:9]
    names, padding = {"seed": height, "epoch": width, "batch": channels}, min(height, width) - 1
    asked: dict[str, dict[str, Any]] = {
        "views": {"flip": True, "crop_padding": padding, "crop_padding_mode": "reflect" if width % 2 else "zeros"},
        "turns": {"rotation": 180.0},
        "changes": {"trivial_augment": True},
        "rectangles": {"cutout": 2, "random_erasing": 0.5},
    }
    fields = AugmentationFields(**{name: value for part, on in parts.items() if on for name, value in asked[part].items()})
    drawn = drawn_for(chosen, fields.augmentation(), (height, width), **names) or Drawn()
    results = made(splits_of_images(images, downscale=downscale, mean=mean), chosen, drawn, encoding)
    assert results.shape == (9, channels, height, width)
    assert results.isfinite().all()


def test_augment_makes_the_views_it_promises() -> None:
    """Every augmented image is one of the flips and crops of its own original, both flips and all offsets occur, and
    the draws depend on seed, epoch and batch alone."""
    images = images_of(200, 3, 5, 6, lowest=1)
    results = augmented(images, flip=True, crop_padding=1)
    used = set()
    for image, result in zip(images, results, strict=True):
        views = {}
        for flipped in (False, True):
            padded = functional.pad(image, (1, 1, 1, 1))
            for y, x in itertools.product(range(3), repeat=2):
                window = padded[:, y : y + 5, x : x + 6]
                views[flipped, y, x] = window.flip(2) if flipped else window
        used |= {view for view, pixels in views.items() if torch.equal(pixels, result)}
    assert len(used) == 18
    assert torch.equal(results, augmented(images, flip=True, crop_padding=1))
    assert not torch.equal(results, augmented(images, flip=True, crop_padding=1, batch=4))
    assert augmented(images) is images


def test_sides_alternate() -> None:
    """An image's side depends on its index and the epoch alone: about half of them begin mirrored, and all change every time."""
    images, indices = images_of(1000, 1, 4, 4), torch.arange(1000) * 131

    def is_mirrored(which: Tensor, epoch: int, batch: int, seed: int = 1) -> Tensor:
        names = {"seed": seed, "epoch": epoch, "batch": batch}
        results = augmented_of(images[which], indices[which], flip="alternating", **names)
        mirrored = (results == images[which].flip(3)).flatten(1).all(dim=1)
        assert torch.equal(mirrored, ~(results == images[which]).flatten(1).all(dim=1))
        return mirrored

    whole = torch.arange(1000)
    first = is_mirrored(whole, epoch=1, batch=0)
    assert 400 < int(first.sum()) < 600
    assert torch.equal(is_mirrored(whole, epoch=2, batch=0), ~first)
    some = torch.randperm(1000, generator=torch.Generator().manual_seed(0))[:64]
    assert torch.equal(is_mirrored(some, epoch=7, batch=5), first[some])
    assert 400 < int((is_mirrored(whole, epoch=1, batch=0, seed=2) == first).sum()) < 600


@pytest.mark.parametrize("flip", [True, "alternating"])
def test_only_the_padding_mode_differs(flip: bool | str) -> None:
    """Reflected and black borders have the same draws: what is inside of the image is equal."""
    images = images_of(50, 3, 8, 8, lowest=1)
    zeros, reflected = (augmented(images, flip=flip, crop_padding=2, crop_padding_mode=mode) for mode in ("zeros", "reflect"))
    inside = zeros > 0
    assert torch.equal(zeros[inside], reflected[inside])
    assert 0.5 < inside.float().mean() < 1
    assert (reflected > 0).all()


@pytest.mark.parametrize("shape", [(32, 32, 3), (9, 14, 1)])
def test_a_rotation_is_torchvisions(shape: tuple[int, int, int]) -> None:
    """Every image is turned by its own angle, as torchvision turns one image by it."""
    from torchvision.transforms.v2 import functional as torchvision

    height, width, channels = shape
    images, angles = images_of(40, channels, height, width, lowest=1), torch.linspace(-180, 180, 40)
    results = levels_of(images, Drawn(angles_B=angles))
    for image, result, angle in zip(images, results, angles.tolist(), strict=True):
        assert torch.equal(result, torchvision.rotate(image, angle))


EVERYTHING: dict[str, Any] = {
    "crop_padding": 2,
    "crop_padding_mode": "reflect",
    "flip": "alternating",
    "rotation": 15.0,
    "trivial_augment": True,
    "cutout": 3,
    "random_erasing": 0.5,
    "mixup": 0.4,
    "cutmix": 1.0,
    "label_smoothing": 0.1,
}


def splits_of(tiny_npz: Path, data_folder: Path) -> Splits:
    return split(
        prepare(str(tiny_npz), data_folder),
        validation_fraction=0.25,
        split_seed=0,
        num_train_images=None,
        image_downscale=1,
        device=torch.device("cpu"),
    )


def batch_of(splits: Splits, *, epoch: int = 1, batch: int = 0, **parts: Any) -> tuple[Tensor, Tensor, Tensor]:
    augmentation = AugmentationFields(**parts).augmentation()
    return training_batch(splits, torch.arange(20), augmentation, "constant", seed=3, epoch=epoch, batch=batch)


def test_a_batch_is_named_by_seed_epoch_and_batch(tiny_npz: Path, data_folder: Path) -> None:
    """With everything on, the same names give the same batch whatever PyTorch's own generator does, other names another one."""
    splits = splits_of(tiny_npz, data_folder)
    torch.manual_seed(0)
    first = batch_of(splits, **EVERYTHING)
    torch.manual_seed(1)
    torch.testing.assert_close(batch_of(splits, **EVERYTHING), first, rtol=0, atol=0)
    for names in ({"epoch": 2}, {"batch": 1}):
        assert not torch.equal(batch_of(splits, **names, **EVERYTHING)[0], first[0])
    images, targets, _ = first
    assert (images.dtype, images.is_contiguous()) == (torch.float32, True)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(20))


@pytest.mark.parametrize("part", ["rotation", "trivial_augment", "cutout", "random_erasing", "label_smoothing"])
def test_no_part_changes_the_draws_of_another(part: str, tiny_npz: Path, data_folder: Path) -> None:
    """Without a part, images are cropped, mirrored, changed and erased as with it: most pixels are equal."""
    splits = splits_of(tiny_npz, data_folder)
    parts = {**EVERYTHING, "mixup": 0.0, "cutmix": 0.0}
    with_it, _, _ = batch_of(splits, **parts)
    without, _, _ = batch_of(splits, **{**parts, part: type(EVERYTHING[part])(0)})
    assert float((with_it == without).float().mean()) > (0.1 if part == "trivial_augment" else 0.6)


def test_angles_are_uniform_to_either_side(tiny_npz: Path, data_folder: Path) -> None:
    """A batch is rotated by angles from -a to a, which its seed, epoch and number name, before it is normalised."""
    splits = splits_of(tiny_npz, data_folder)
    images, _, _ = splits.train.batch(torch.arange(20))
    angles = 40 * (2 * torch.rand(20, generator=generator_for(3, "rotation", 2, 4)) - 1)
    assert float(angles.min()) < -20 < 20 < float(angles.max())
    rotated, _, _ = batch_of(splits, epoch=2, batch=4, rotation=40.0)
    assert torch.equal(rotated, normalised("constant", splits, rotate(images, angles)))


def test_what_is_erased_is_the_mean(tiny_npz: Path, data_folder: Path) -> None:
    """Cutout and random erasing leave 0 behind, exactly, as images are normalised before."""
    splits = splits_of(tiny_npz, data_folder)
    plain, _, _ = batch_of(splits)
    for parts in ({"cutout": 3}, {"random_erasing": 1.0}):
        erased, _, _ = batch_of(splits, **parts)
        is_erased = erased != plain
        assert 0.02 < float(is_erased.float().mean()) < 0.4
        assert set(erased[is_erased].tolist()) == {0.0}
