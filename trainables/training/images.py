"""From a data set's uint8 images to what a network is shown."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Normalisation:
    """The training images' mean (per channel, or per pixel) and standard deviation (per channel), in [0, 1]; both broadcast
    with ``[C, H, W]``.
    """

    mean: Tensor
    std: Tensor

    def centre(self, images_BCHW: Tensor) -> Tensor:
        """uint8 images as float32 of mean 0, contiguous; values in [-1, 1]."""
        return images_BCHW.to(torch.float32, memory_format=torch.contiguous_format) / 255 - self.mean

    def normalise(self, images_BCHW: Tensor) -> Tensor:
        """uint8 images as float32 of mean 0 and standard deviation 1."""
        return self.centre(images_BCHW) / self.std


def downscale(images_BCHW: Tensor, block: int) -> Tensor:
    """uint8 images whose pixels are the rounded means of blocks of ``block`` pixels a side."""
    if block == 1:
        return images_BCHW
    return functional.avg_pool2d(images_BCHW.float(), block).round().to(torch.uint8)
