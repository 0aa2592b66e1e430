"""Images made as they were drawn, compiled and in PyTorch's operations, which must agree to the bit."""

from typing import Any

import torch
from torch import Tensor

from trainables.data.augmentation import drawn_for
from trainables.data.augmented_images import Drawn, made_by_torch, made_compiled
from trainables.data.datasets import Split, Splits
from trainables.data.encodings import Encoding
from trainables.training.recipe_parts.augmentation_fields import AugmentationFields


def splits_of_images(images_BCHW: Tensor, *, downscale: int = 1, mean: Tensor | None = None) -> Splits:
    """Splits of which every part is these uint8 images, of mean 0 and deviation 1 unless a mean is given."""
    images_NHWC, channels = images_BCHW.permute(0, 2, 3, 1).contiguous(), images_BCHW.shape[1]
    indices = torch.arange(len(images_NHWC))
    part = Split(images_NHWC, indices % 2, indices, downscale)
    mean, std = (torch.zeros(channels, 1, 1), torch.ones(channels, 1, 1)) if mean is None else (mean, mean.mean((1, 2), True))
    return Splits(mean=mean, std=std, train=part, validation=part, test=part, num_classes=2)


def made(splits: Splits, indices_B: Tensor, drawn: Drawn, encoding: Encoding = "constant") -> Tensor:
    """The images as float32, in both ways."""
    compiled = made_compiled(splits, indices_B, drawn, encoding)
    assert compiled.is_contiguous()
    assert torch.equal(compiled, made_by_torch(splits, indices_B, drawn, encoding))
    return compiled


def levels_of(images_BCHW: Tensor, drawn: Drawn) -> Tensor:
    """The uint8 images as they were drawn, as levels of uint8 again."""
    results = made(splits_of_images(images_BCHW), torch.arange(len(images_BCHW)), drawn)
    return (results * 255).round().to(torch.uint8)


def augmented(images_BCHW: Tensor, *, seed: int = 1, epoch: int = 2, batch: int = 3, **parts: Any) -> Tensor:
    """The uint8 images with parts of augmentation that change no level beyond 255."""
    return augmented_of(images_BCHW, torch.arange(len(images_BCHW)), seed=seed, epoch=epoch, batch=batch, **parts)


def augmented_of(images_BCHW: Tensor, indices_B: Tensor, *, seed: int, epoch: int, batch: int, **parts: Any) -> Tensor:
    """The same of images that have other numbers in their data set."""
    augmentation, map_size = AugmentationFields(**parts).augmentation(), (images_BCHW.shape[2], images_BCHW.shape[3])
    drawn = drawn_for(indices_B, augmentation, map_size, seed=seed, epoch=epoch, batch=batch)
    return images_BCHW if drawn is None else levels_of(images_BCHW, drawn)
