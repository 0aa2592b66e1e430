"""What a batch of training images becomes before a network sees it: other views of the images, drawn anew in every epoch.

Every draw comes from ``generator_for``, named by the replicate's seed, the purpose, the epoch and the batch: the same on
every device and after a resume, and those of one part do not change when another is switched on or off.
"""

import functools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from trainables.data.augmented_images import Drawn, PaddingMode, augmented_images
from trainables.data.datasets import Splits
from trainables.data.encodings import Encoding, normalised
from trainables.data.erasing import NUM_DRAWN, rectangles
from trainables.data.label_mixing import mix, shares_of_classes
from trainables.data.randomness import generator_for
from trainables.data.trivial_augment import draw

Flip = bool | Literal["alternating"]

NUM_SIDES = 2**16
"""How many images have their sides drawn at once."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to training images and their targets, in this order; see the fields of the same names in a config."""

    crop_padding: int
    crop_padding_mode: PaddingMode
    flip: Flip
    rotation: float
    trivial_augment: bool
    cutout: int
    random_erasing: float
    mixup: float
    cutmix: float
    label_smoothing: float


def training_batch(
    splits: Splits, positions: Tensor, augmentation: Augmentation, encoding: Encoding, *, seed: int, epoch: int, batch: int
) -> tuple[Tensor, Tensor, Tensor]:
    """A batch as it is trained on: augmented images ``[B, C, H, W]``, targets, and indices in the data set ``[B]``.

    The images are normalised for their encoding. The targets are labels ``[B]``, or the share of every class ``[B, classes]``
    where these are not all 0 and 1.
    """
    indices_B, targets = splits.train.indices_and_labels(positions)
    drawn = drawn_for(indices_B, augmentation, splits.train.input_shape[:2], seed=seed, epoch=epoch, batch=batch)
    if drawn is None:
        images_BCHW = normalised(encoding, splits, splits.train.images_at(indices_B))
    else:
        images_BCHW = augmented_images(splits, indices_B, drawn, encoding)
    mixup, cutmix, smoothing = augmentation.mixup, augmentation.cutmix, augmentation.label_smoothing
    if mixup or cutmix or smoothing:
        targets = shares_of_classes(targets, splits.num_classes, smoothing)
    if mixup or cutmix:
        images_BCHW, targets = mix(images_BCHW, targets, mixup=mixup, cutmix=cutmix, names=(seed, "mix", epoch, batch))
    return images_BCHW, targets, indices_B


def drawn_for(
    indices_B: Tensor, augmentation: Augmentation, map_size: tuple[int, int], *, seed: int, epoch: int, batch: int
) -> Drawn | None:
    """What is drawn for the images with these indices in the data set, if anything is; on the CPU whatever the device."""
    num_images = len(indices_B)
    parts: dict[str, Any] = {}
    if augmentation.flip or augmentation.crop_padding:
        parts |= _views(indices_B, augmentation, seed=seed, epoch=epoch, batch=batch)
    if augmentation.rotation:
        sides_B = 2 * torch.rand(num_images, generator=generator_for(seed, "rotation", epoch, batch)).numpy() - 1
        parts["angles_B"] = torch.from_numpy(np.float32(augmentation.rotation) * sides_B)  # faster than by PyTorch's operations
    cutout, random_erasing = augmentation.cutout, augmentation.random_erasing
    if augmentation.trivial_augment or cutout or random_erasing:
        generator = generator_for(seed, "changes", epoch, batch)
        changes_B = draw(num_images, generator)  # in any case, so that no part changes the draws of another
        if augmentation.trivial_augment:
            parts["changes_B"] = changes_B
        if cutout or random_erasing:
            uniform_UB = torch.rand(NUM_DRAWN, num_images, dtype=torch.float64, generator=generator)
            parts["rectangles_R4B"] = rectangles(uniform_UB.numpy(), map_size, cutout=cutout, random_erasing=random_erasing)
    return Drawn(**parts) if parts else None


def _views(indices_B: Tensor, augmentation: Augmentation, *, seed: int, epoch: int, batch: int) -> dict[str, Any]:
    """Crops and mirror images."""
    flip, padding, num_images = augmentation.flip, augmentation.crop_padding, len(indices_B)
    generator = generator_for(seed, "augment", epoch, batch)
    if flip == "alternating":
        is_mirrored_B = _other_sides(indices_B.cpu(), seed, epoch)
    else:
        is_mirrored_B = torch.rand(num_images, generator=generator) < 0.5 if flip else torch.zeros(num_images, dtype=torch.bool)
    if padding:
        starts_2B = torch.randint(0, 2 * padding + 1, (2, num_images), generator=generator).sub_(padding)
    else:
        starts_2B = torch.zeros(2, num_images, dtype=torch.int64)
    return {"is_mirrored_B": is_mirrored_B, "starts_2B": starts_2B, "padding_mode": augmentation.crop_padding_mode}


def _other_sides(indices_B: Tensor, seed: int, epoch: int) -> Tensor:
    """Which images are mirrored in an epoch: a random half in the first, in every other one those that were not before."""
    return _sides(seed, int(indices_B.max()) // NUM_SIDES + 1, epoch % 2 == 0).index_select(0, indices_B)


@functools.lru_cache(maxsize=4)
def _sides(seed: int, num_blocks: int, are_changed: bool) -> Tensor:
    """Those of the first blocks of images."""
    first = torch.cat([_first_sides(seed, block) for block in range(num_blocks)])
    return ~first if are_changed else first


@functools.lru_cache(maxsize=64)
def _first_sides(seed: int, block: int) -> Tensor:
    """Whether the images from number ``block · NUM_SIDES`` of the data set on are mirrored in the first epoch."""
    return torch.rand(NUM_SIDES, generator=generator_for(seed, "first side", block)) < 0.5
