"""Augmentation: every part by its draws, and as PyTorch's own parts have it."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from trainables.data.augmentation import Augmentation, PaddingMode, augment
from trainables.data.randomness import generator_for


def images_of(num_images: int, channels: int, height: int, width: int, *, lowest: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(height + 10 * width)
    return torch.randint(lowest, 256, (num_images, channels, height, width), dtype=torch.uint8, generator=generator)


def augmented(images: Tensor, *, seed: int = 1, epoch: int = 2, batch: int = 3, **parts: object) -> Tensor:
    indices = torch.arange(len(images))
    return augment(images, indices, Augmentation(**parts), seed=seed, epoch=epoch, batch=batch)  # type: ignore[arg-type]


@given(
    st.booleans(),
    st.integers(0, 3),
    st.sampled_from(["zeros", "reflect"]),
    st.integers(4, 9),
    st.integers(4, 9),
    st.sampled_from([1, 3]),
)
def test_augment_by_its_draws(flip: bool, padding: int, mode: PaddingMode, height: int, width: int, channels: int) -> None:
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
        results = augment(images[which], indices[which], Augmentation(flip="alternating"), seed=seed, epoch=epoch, batch=batch)
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
