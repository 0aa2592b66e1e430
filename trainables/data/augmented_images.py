"""Training images as they were drawn: cropped, mirrored, turned, changed, normalised and erased.

Twice, to the same bits: compiled, where calls of PyTorch's operations would take most of the time of a small batch, and in
PyTorch's operations, which run on every device and are the definition.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainables.data.datasets import Splits
from trainables.data.encodings import Encoding, normalised
from trainables.data.erasing import erase_
from trainables.data.rotation import cosines_and_sines, rotate
from trainables.data.trivial_augment import VARIANTS, tables_of_changes, trivial_augment_

PaddingMode = Literal["zeros", "reflect"]
NO_RECTANGLES = np.zeros((0, 4, 0), np.int64)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What was drawn for a batch of images, by image, on the CPU; None where nothing of the kind is done.

    Attributes:
        is_mirrored_B: Whether it is mirrored left to right, behind the crop.
        starts_2B: The row and column of the image that its crop begins at, which may lie outside; where one of these two is
            None, both are.
        padding_mode: What is outside.
        angles_B: By how many degrees it is turned counter-clockwise.
        changes_B: Operation and strength of TrivialAugment, see ``trivial_augment.draw``.
        rectangles_R4B: What is erased, see ``erasing.rectangles``.
    """

    is_mirrored_B: Tensor | None = None
    starts_2B: Tensor | None = None
    padding_mode: PaddingMode = "zeros"
    angles_B: Tensor | None = None
    changes_B: Tensor | None = None
    rectangles_R4B: Tensor | None = None


def augmented_images(splits: Splits, indices_B: Tensor, drawn: Drawn, encoding: Encoding) -> Tensor:
    """The training images with these indices in the data set, normalised for their encoding: float32, ``[B, C, H, W]``."""
    made = made_compiled if indices_B.device.type == "cpu" else made_by_torch
    return made(splits, indices_B, drawn, encoding)


def made_by_torch(splits: Splits, indices_B: Tensor, drawn: Drawn, encoding: Encoding) -> Tensor:
    """In PyTorch's operations, on any device."""
    images_BCHW = splits.train.images_at(indices_B)
    if drawn.starts_2B is not None and drawn.is_mirrored_B is not None:
        images_BCHW = _mirrored(_cropped(images_BCHW, drawn.starts_2B, drawn.padding_mode), drawn.is_mirrored_B)
    if drawn.angles_B is not None:
        images_BCHW = rotate(images_BCHW, drawn.angles_B)
    if drawn.changes_B is not None:
        trivial_augment_(images_BCHW, drawn.changes_B)
    images_BCHW = normalised(encoding, splits, images_BCHW)
    return images_BCHW if drawn.rectangles_R4B is None else erase_(images_BCHW, drawn.rectangles_R4B)


def made_compiled(splits: Splits, indices_B: Tensor, drawn: Drawn, encoding: Encoding) -> Tensor:
    """The same on a CPU."""
    from trainables.kernels.cpu.compiled.training_images import Changes, Moves, training_images  # Numba is slow to import

    train = splits.train
    height, width, channels = train.input_shape
    starts_2B = torch.empty(2, 0, dtype=torch.int64) if drawn.starts_2B is None else drawn.starts_2B
    is_mirrored_B = torch.empty(0, dtype=torch.bool) if drawn.is_mirrored_B is None else drawn.is_mirrored_B
    cos_B, sin_B = (torch.empty(0),) * 2 if drawn.angles_B is None else cosines_and_sines(drawn.angles_B)
    changes_B = torch.empty(0, dtype=torch.int64) if drawn.changes_B is None else drawn.changes_B
    std = splits.std if encoding == "constant" else torch.ones_like(splits.std)
    results_BCHW = torch.empty(len(indices_B), channels, height, width)
    training_images(
        train.images.numpy(),
        indices_B.numpy(),
        train.image_downscale,
        Moves(starts_2B.numpy(), drawn.padding_mode == "reflect", is_mirrored_B.numpy(), cos_B.numpy(), sin_B.numpy()),
        Changes(changes_B.numpy(), VARIANTS, *tables_of_changes(height, width, is_used=drawn.changes_B is not None)),
        splits.mean.numpy(),
        std.numpy(),
        NO_RECTANGLES if drawn.rectangles_R4B is None else drawn.rectangles_R4B.numpy(),
        results_BCHW.numpy(),
    )
    return results_BCHW


def _mirrored(images_BCHW: Tensor, is_mirrored_B: Tensor) -> Tensor:
    """Some of the images mirrored left to right; a copy of all, mirrored, from which they are chosen, takes least time."""
    images_BHWC = images_BCHW.permute(0, 2, 3, 1)
    both_BHWC = torch.cat([images_BHWC, images_BHWC.flip(2)])
    chosen_B = torch.arange(len(images_BHWC)) + len(images_BHWC) * is_mirrored_B
    return both_BHWC.index_select(0, chosen_B.to(images_BCHW.device)).permute(0, 3, 1, 2)


def _cropped(images_BCHW: Tensor, starts_2B: Tensor, mode: PaddingMode) -> Tensor:
    """Every padded image from its row and column on, channels last in memory.

    A row of a crop is one piece of memory there, so that all rows of a batch are copied by their places alone: seven times as
    fast as a gather of pixels.
    """
    num_images, channels, height, width = images_BCHW.shape
    padding = int(starts_2B.abs().max())
    padded_BHWC = _padded(images_BCHW.permute(0, 2, 3, 1), padding, mode)
    offsets_2B = starts_2B + padding
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
