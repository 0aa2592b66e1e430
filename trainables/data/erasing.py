"""Rectangles of training images that are erased: Cutout and random erasing, drawn for every image."""

import math

import torch
from torch import Tensor

SMALLEST, LARGEST = 0.02, 0.33
"""Which share of an image random erasing takes, at least and at most."""
FLATTEST, STEEPEST = 0.3, 3.3
"""Height over width of its rectangle, at least and at most."""
NUM_TRIES = 10
"""How many rectangles are drawn for an image; where none is smaller than it, nothing is erased."""


def squares(num_images: int, side: int, map_size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Of Cutout (DeVries & Taylor 2017): top, bottom, left and right ``[4, B]`` of one square for every image.

    Its centre is any pixel, with equal probability, so that a part of it may lie outside.
    """
    tops, lefts = (torch.randint(0, length, (num_images,), generator=generator) - side // 2 for length in map_size)
    return torch.stack([tops, tops + side, lefts, lefts + side])


def rectangles(num_images: int, probability: float, map_size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Of random erasing (Zhong et al. 2020), as torchvision's ``RandomErasing`` draws them: the same ``[4, B]``, empty for images
    that keep all their pixels.

    Up to ten times an area, uniform from 2 to 33 % of the image, and the logarithm of height over width, uniform from log 0.3
    to log 3.3, until the rectangle is smaller than the image; its place is uniform among those inside.
    """
    height, width = map_size
    is_erased_B = torch.rand(num_images, generator=generator) < probability
    areas, shapes, places = torch.rand(3, NUM_TRIES, num_images, dtype=torch.float64, generator=generator)
    areas = height * width * (SMALLEST + (LARGEST - SMALLEST) * areas)
    shapes = (math.log(FLATTEST) + (math.log(STEEPEST) - math.log(FLATTEST)) * shapes).exp()
    heights, widths = (areas * shapes).sqrt().round().long(), (areas / shapes).sqrt().round().long()
    fits = (heights < height) & (widths < width)
    first_1B = fits.to(torch.uint8).argmax(dim=0, keepdim=True)
    heights_B, widths_B = (lengths.gather(0, first_1B)[0] for lengths in (heights, widths))
    tops_B, lefts_B = ((places[0] * (height - heights_B + 1)).long(), (places[1] * (width - widths_B + 1)).long())
    heights_B = torch.where(is_erased_B & fits.any(dim=0), heights_B, 0)
    return torch.stack([tops_B, tops_B + heights_B, lefts_B, lefts_B + widths_B])


def erase(images_BCHW: Tensor, rectangles_4B: Tensor) -> Tensor:
    """The normalised images with 0, their mean, in these rectangles, which may reach over the border."""
    height, width = images_BCHW.shape[2:]
    top, bottom, left, right = rectangles_4B.to(images_BCHW.device)[..., None]
    rows, columns = torch.arange(height, device=images_BCHW.device), torch.arange(width, device=images_BCHW.device)
    keeps_row_BH = (rows < top) | (rows >= bottom)
    keeps_column_BW = (columns < left) | (columns >= right)
    keeps_B1HW: Tensor = keeps_row_BH[:, None, :, None] | keeps_column_BW[:, None, None, :]
    return images_BCHW * keeps_B1HW
