"""Targets that are shares of classes rather than one class: of smoothed labels, and of images that are mixed with one another."""

import functools
import math
from random import Random

import torch
from torch import Tensor

from trainables.data.randomness import seed_for


def shares_of_classes(targets: Tensor, num_classes: int, smoothing: float = 0.0) -> Tensor:
    """The share of every class, ``[B, K]``, float32: targets as they are if they are shares already.

    Of labels ``[B]``, (1 - ε) one_hot(label) + ε/K (Szegedy et al. 2016), as PyTorch's ``label_smoothing`` has it.
    """
    if targets.dim() > 1:
        return targets
    return _rows(num_classes, smoothing, targets.device).index_select(0, targets)


@functools.lru_cache(maxsize=8)
def _rows(num_classes: int, smoothing: float, device: torch.device) -> Tensor:
    """The shares for every label; choosing from these takes a fifth of the time of ``one_hot``."""
    return torch.eye(num_classes, device=device) * (1 - smoothing) + smoothing / num_classes


def likeliest(targets: Tensor) -> Tensor:
    """The class with the largest share, ``[B]``, of targets ``[B, K]``; labels ``[B]`` as they are."""
    return targets.argmax(dim=1) if targets.dim() > 1 else targets


def mix(
    images_BCHW: Tensor, shares_BK: Tensor, *, mixup: float, cutmix: float, names: tuple[int | str, ...]
) -> tuple[Tensor, Tensor]:
    """Every image mixed with the one before it in the batch, and the shares of classes in the same way.

    ``mixup`` and ``cutmix`` are α of each one's λ ~ Beta(α, α), or 0; with both, one of the two is drawn, with equal probability.
    λ, the share that stays an image's own, is one number for the batch; ``names`` are those of the draws. Images may be changed
    in their place.
    """
    random = Random(seed_for(*names))  # noqa: S311  # nothing secret
    by_mixup = mixup > 0 and (cutmix == 0 or random.random() < 0.5)
    share = random.betavariate(mixup, mixup) if by_mixup else random.betavariate(cutmix, cutmix)
    if by_mixup:
        images_BCHW = mixed(images_BCHW, share)
    else:
        height, width = images_BCHW.shape[2:]
        share = paste_(images_BCHW, share, random.randrange(height), random.randrange(width))
    return images_BCHW, mixed(shares_BK, share)


def mixed(batch: Tensor, share: float) -> Tensor:
    """λ x_i + (1 - λ) x_(i-1) (Zhang et al. 2018), as torchvision's ``MixUp`` has it."""
    return batch.roll(1, 0).lerp_(batch, share)


def paste_(images_BCHW: Tensor, share: float, row: int, column: int) -> float:
    """Put a rectangle of the image before into every image (Yun et al. 2019), as torchvision's ``CutMix`` does; the share of
    pixels that stay.

    It has √(1 - λ) of the image's height and width, and its centre at a row and column; what lies outside is cut off.
    """
    height, width = images_BCHW.shape[2:]
    half = 0.5 * math.sqrt(1 - share)
    top, bottom = max(row - int(half * height), 0), min(row + int(half * height), height)
    left, right = max(column - int(half * width), 0), min(column + int(half * width), width)
    if images_BCHW.device.type == "cpu" and images_BCHW.is_contiguous():
        from trainables.kernels.cpu.compiled.training_images import paste  # Numba is slow to import

        paste(images_BCHW.numpy(), top, bottom, left, right)
    else:
        images_BCHW[..., top:bottom, left:right] = images_BCHW[..., top:bottom, left:right].roll(1, 0)
    return 1 - (bottom - top) * (right - left) / (height * width)
