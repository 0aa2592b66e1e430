"""Training images that are turned about their centre, each by its own angle; as torchvision's ``rotate`` with nearest pixels."""

import torch
from torch import Tensor


def cosines_and_sines(angles_B: Tensor) -> tuple[Tensor, Tensor]:
    """Of angles in degrees, float32."""
    radians_B = torch.deg2rad(angles_B)
    return radians_B.cos(), radians_B.sin()


def rotate(images_BCHW: Tensor, angles_B: Tensor) -> Tensor:
    """The uint8 images turned counter-clockwise, each by its number of degrees, black where nothing was; channels last in memory.

    Every pixel is the nearest one of the place that it comes from. ``kernels.cpu.compiled.training_images`` has the same.
    """
    _, _, height, width = images_BCHW.shape
    cos_B1, sin_B1 = (values_B[:, None] for values_B in cosines_and_sines(angles_B))
    ys, xs = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
    ys_P, xs_P = ys.flatten(), xs.flatten()
    columns_BP = (xs_P * cos_B1 - ys_P * sin_B1 + (width - 1) / 2).round()
    rows_BP = (xs_P * sin_B1 + ys_P * cos_B1 + (height - 1) / 2).round()
    inside_BP = (columns_BP >= 0) & (columns_BP < width) & (rows_BP >= 0) & (rows_BP < height)
    places_BP = torch.where(inside_BP, rows_BP * width + columns_BP + 1, 0).to(torch.int32).to(images_BCHW.device)
    return pixels_from(images_BCHW.permute(0, 2, 3, 1), places_BP).permute(0, 3, 1, 2)


def pixels_from(images_BHWC: Tensor, places_BP: Tensor) -> Tensor:
    """Images whose pixels are other ones of the same image, which are counted from 1 row by row; 0 is a black one."""
    num_images, height, width, channels = images_BHWC.shape
    firsts_B1 = torch.arange(0, num_images * height * width, height * width, device=images_BHWC.device)[:, None]
    places_BP = torch.where(places_BP > 0, places_BP + firsts_B1, 0)
    pixels = torch.cat([images_BHWC.new_zeros(1, channels), images_BHWC.reshape(-1, channels)])
    return pixels.index_select(0, places_BP.flatten()).view(images_BHWC.shape)
