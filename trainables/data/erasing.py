"""Rectangles of training images that are erased: Cutout and random erasing, drawn for every image."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

BOUNDS = (0.02, 0.33, 0.3, 3.3)
"""Of random erasing: the smallest and the largest share of an image, the least and the most height over width."""
NUM_TRIES = 10
"""How many rectangles are drawn for an image; where none is smaller than it, nothing is erased."""
NUM_DRAWN = 5 + 2 * NUM_TRIES
"""How many uniform numbers every image needs: two for Cutout, the rest for random erasing."""


def rectangles(uniform_UB: np.ndarray[Any, Any], map_size: tuple[int, int], *, cutout: int, random_erasing: float) -> Tensor:
    """What is erased of every image: top, bottom, left and right of two rectangles, ``[2, 4, B]``; empty where there is none.

    Cutout (DeVries & Taylor 2017): a square with this side, whose centre is any pixel, so that a part of it may lie outside.
    Random erasing (Zhong et al. 2020), as torchvision's ``RandomErasing`` draws it: with this probability a rectangle. Up to
    ten times an area, uniform from 2 to 33 % of the image, and the logarithm of height over width, uniform from log 0.3 to log
    3.3, until it is smaller than the image; its place is uniform among those inside.

    ``uniform_UB`` are ``NUM_DRAWN`` numbers in [0, 1) for every image.
    """
    from trainables.kernels.cpu.compiled.image_operations import draw_rectangle, draw_square  # Numba is slow to import

    drawn = np.zeros((2, 4, uniform_UB.shape[1]), np.int64)
    if cutout:
        draw_square(uniform_UB[:2], cutout, *map_size, drawn[0])
    if random_erasing:
        draw_rectangle(uniform_UB[2:], random_erasing, BOUNDS, *map_size, drawn[1])
    return torch.from_numpy(drawn)


def erase_(images_BCHW: Tensor, rectangles_R4B: Tensor) -> Tensor:
    """Set normalised images to 0, their mean, in these rectangles, which may reach over the border.

    ``kernels.cpu.compiled.training_images`` has the same.
    """
    return images_BCHW.masked_fill_(~_keeps(images_BCHW, rectangles_R4B), 0)


def _keeps(images_BCHW: Tensor, rectangles_R4B: Tensor) -> Tensor:
    """Which pixels lie in no rectangle, ``[B, 1, H, W]``."""
    height, width = images_BCHW.shape[2:]
    top, bottom, left, right = rectangles_R4B.to(images_BCHW.device).unbind(1)
    rows, columns = torch.arange(height, device=images_BCHW.device), torch.arange(width, device=images_BCHW.device)
    keeps_row_RBH = (rows < top[..., None]) | (rows >= bottom[..., None])
    keeps_column_RBW = (columns < left[..., None]) | (columns >= right[..., None])
    return (keeps_row_RBH[..., :, None] | keeps_column_RBW[..., None, :]).all(dim=0)[:, None]
