"""What a batch of training images becomes before a network sees it: other views of the images, drawn anew in every epoch.

Every draw comes from ``generator_for``, named by the replicate's seed, the purpose, the epoch and the batch: the same on
every device and after a resume, and those of one part do not change when another is switched on or off.
"""

import functools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from trainables.data.datasets import Splits
from trainables.data.encodings import Encoding, normalised
from trainables.data.erasing import NUM_DRAWN, erase_, rectangles
from trainables.data.label_mixing import mix, shares_of_classes
from trainables.data.randomness import generator_for
from trainables.data.rotation import rotate
from trainables.data.trivial_augment import draw, trivial_augment_

Flip = bool | Literal["alternating"]
PaddingMode = Literal["zeros", "reflect"]

NUM_SIDES = 2**16
"""How many images have their sides drawn at once."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to training images and their targets, in this order; see the fields of the same names in a config."""

    crop_padding: int = 0
    crop_padding_mode: PaddingMode = "zeros"
    flip: Flip = False
    rotation: float = 0.0
    trivial_augment: bool = False
    cutout: int = 0
    random_erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    label_smoothing: float = 0.0


def training_batch(
    splits: Splits, positions: Tensor, augmentation: Augmentation, encoding: Encoding, *, seed: int, epoch: int, batch: int
) -> tuple[Tensor, Tensor, Tensor]:
    """A batch as it is trained on: augmented images ``[B, C, H, W]``, targets, and indices in the data set ``[B]``.

    The images are normalised for their encoding. The targets are labels ``[B]``, or the share of every class ``[B, classes]``
    where these are not all 0 and 1.
    """
    images_BCHW, targets, indices_B = splits.train.batch(positions)
    changes, erases = augmentation.trivial_augment, augmentation.cutout or augmentation.random_erasing
    if changes or erases:  # all is drawn in any case, so that no part changes the draws of another
        generator = generator_for(seed, "changes", epoch, batch)
        drawn_B = draw(len(positions), generator)
        uniform_UB = torch.rand(NUM_DRAWN, len(positions), dtype=torch.float64, generator=generator)
    images_BCHW = augment(images_BCHW, indices_B, augmentation, seed=seed, epoch=epoch, batch=batch)
    if augmentation.rotation:
        sides_B = 2 * torch.rand(len(positions), generator=generator_for(seed, "rotation", epoch, batch)) - 1
        images_BCHW = rotate(images_BCHW, augmentation.rotation * sides_B)
    if changes:
        trivial_augment_(images_BCHW, drawn_B)
    images_BCHW = normalised(encoding, splits, images_BCHW)
    if erases:
        map_size = (images_BCHW.shape[2], images_BCHW.shape[3])
        drawn_24B = rectangles(
            uniform_UB.numpy(), map_size, cutout=augmentation.cutout, random_erasing=augmentation.random_erasing
        )
        erase_(images_BCHW, drawn_24B)
    mixup, cutmix, smoothing = augmentation.mixup, augmentation.cutmix, augmentation.label_smoothing
    if mixup or cutmix or smoothing:
        targets = shares_of_classes(targets, splits.num_classes, smoothing)
    if mixup or cutmix:
        images_BCHW, targets = mix(images_BCHW, targets, mixup=mixup, cutmix=cutmix, names=(seed, "mix", epoch, batch))
    return images_BCHW, targets, indices_B


def augment(images_BCHW: Tensor, indices_B: Tensor, augmentation: Augmentation, *, seed: int, epoch: int, batch: int) -> Tensor:
    """The uint8 images cropped and mirrored, channels last in memory.

    ``indices_B`` says which images of the data set they are. The draws come from the CPU whatever the device.
    """
    flip, padding, num_images = augmentation.flip, augmentation.crop_padding, len(images_BCHW)
    if not (flip or padding):
        return images_BCHW
    generator = generator_for(seed, "augment", epoch, batch)
    if flip == "alternating":
        flipped_B = _other_sides(indices_B.cpu(), seed, epoch)
    else:
        flipped_B = torch.rand(num_images, generator=generator) < 0.5 if flip else torch.zeros(num_images, dtype=torch.bool)
    offsets_2B = torch.full((2, num_images), padding)
    if padding:
        offsets_2B = torch.randint(0, 2 * padding + 1, (2, num_images, 1), generator=generator)[..., 0]
    if images_BCHW.device.type == "cpu":
        return _seen_compiled(images_BCHW, flipped_B, offsets_2B, padding, augmentation.crop_padding_mode)
    return _seen(images_BCHW, flipped_B, offsets_2B, padding, augmentation.crop_padding_mode)


def _seen_compiled(images_BCHW: Tensor, flipped_B: Tensor, offsets_2B: Tensor, padding: int, mode: PaddingMode) -> Tensor:
    """The same as ``_seen``, to the bit, where calls of PyTorch's operations would take most of the time."""
    from trainables.kernels.cpu.compiled.image_operations import view  # Numba is slow to import

    images_BHWC = images_BCHW.permute(0, 2, 3, 1).contiguous()
    views_BHWC = torch.empty_like(images_BHWC)
    starts_2B = offsets_2B.numpy() - padding
    view(images_BHWC.numpy(), starts_2B, mode == "reflect", flipped_B.numpy(), views_BHWC.numpy())
    return views_BHWC.permute(0, 3, 1, 2)


def _seen(images_BCHW: Tensor, flipped_B: Tensor, offsets_2B: Tensor, padding: int, mode: PaddingMode) -> Tensor:
    """Crops of the padded images, of which some are mirrored."""
    if padding:
        images_BCHW = _crop(images_BCHW, padding, offsets_2B, mode)
    return _flip(images_BCHW, flipped_B) if bool(flipped_B.any()) else images_BCHW


def _flip(images_BCHW: Tensor, flipped_B: Tensor) -> Tensor:
    """Some of the images mirrored left to right; a copy of all, mirrored, from which they are chosen, takes least time."""
    images_BHWC = images_BCHW.permute(0, 2, 3, 1)
    both_BHWC = torch.cat([images_BHWC, images_BHWC.flip(2)])
    chosen_B = torch.arange(len(images_BHWC)) + len(images_BHWC) * flipped_B
    return both_BHWC.index_select(0, chosen_B.to(images_BCHW.device)).permute(0, 3, 1, 2)


def _other_sides(indices_B: Tensor, seed: int, epoch: int) -> Tensor:
    """Which images are mirrored in an epoch: a random half in the first, in every other one those that were not before."""
    blocks = [_first_sides(seed, block) for block in range(int(indices_B.max()) // NUM_SIDES + 1)]
    first_B = (blocks[0] if len(blocks) == 1 else torch.cat(blocks)).index_select(0, indices_B)
    return first_B if epoch % 2 else ~first_B


@functools.lru_cache(maxsize=64)
def _first_sides(seed: int, block: int) -> Tensor:
    """Whether the images from number ``block · NUM_SIDES`` of the data set on are mirrored in the first epoch."""
    return torch.rand(NUM_SIDES, generator=generator_for(seed, "first side", block)) < 0.5


def _crop(images_BCHW: Tensor, padding: int, offsets_2B: Tensor, mode: PaddingMode) -> Tensor:
    """Every padded image from its row and column on, channels last in memory.

    A row of a crop is one piece of memory there, so that all rows of a batch are copied by their places alone: seven times as
    fast as a gather of pixels.
    """
    num_images, channels, height, width = images_BCHW.shape
    padded_BHWC = _padded(images_BCHW.permute(0, 2, 3, 1), padding, mode)
    rows_BH = offsets_2B[0, :, None] + torch.arange(height) + torch.arange(num_images)[:, None] * (height + 2 * padding)
    places_BH = rows_BH * (width + 2 * padding) + offsets_2B[1, :, None]
    pieces = padded_BHWC.flatten().unfold(0, width * channels, channels)
    cropped = pieces.index_select(0, places_BH.flatten().to(images_BCHW.device))
    return cropped.view(num_images, height, width, channels).permute(0, 3, 1, 2)


def _padded(images_BHWC: Tensor, padding: int, mode: PaddingMode) -> Tensor:
    """Contiguous, with zeros or the image's own mirror image around it, in which the border is not repeated."""
    if mode == "zeros":
        return functional.pad(images_BHWC, (0, 0, *(padding,) * 4)).contiguous()
    for dim in (1, 2):  # PyTorch pads no uint8 images so
        last = images_BHWC.shape[dim] - 1
        places = last - (last - torch.arange(-padding, last + padding + 1).abs()).abs()
        images_BHWC = images_BHWC.index_select(dim, places.to(images_BHWC.device))
    return images_BHWC
