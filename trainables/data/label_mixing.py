"""Targets that are shares of classes rather than one class: of smoothed labels, and of images that are mixed with one another."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainables.data.randomness import generator_for


def shares_of_classes(targets: Tensor, num_classes: int) -> Tensor:
    """The share of every class, ``[B, K]``, float32: targets as they are if they are shares already, 1 for a label ``[B]``."""
    return targets if targets.dim() > 1 else functional.one_hot(targets, num_classes).to(torch.float32)


def smoothed(targets: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """(1 - ε) y + ε/K for targets y of K classes, ``[B, K]`` (Szegedy et al. 2016), as PyTorch's ``label_smoothing`` has it."""
    return shares_of_classes(targets, num_classes) * (1 - smoothing) + smoothing / num_classes


def likeliest(targets: Tensor) -> Tensor:
    """The class with the largest share, ``[B]``, of targets ``[B, K]``; labels ``[B]`` as they are."""
    return targets.argmax(dim=1) if targets.dim() > 1 else targets


def mix(
    images_BCHW: Tensor, targets: Tensor, num_classes: int, *, mixup: float, cutmix: float, names: tuple[int | str, ...]
) -> tuple[Tensor, Tensor]:
    """Every image mixed with the one before it in the batch, and the targets in the same shares, ``[B, K]``.

    ``mixup`` and ``cutmix`` are α of each one's λ ~ Beta(α, α), or 0; with both, one of the two is drawn, with equal probability.
    λ, the share that stays an image's own, is one number for the batch; ``names`` are those of the draws.
    """
    random = np.random.default_rng(generator_for(*names).initial_seed())
    by_mixup = mixup > 0 and (cutmix == 0 or random.random() < 0.5)
    share = float(random.beta(mixup, mixup) if by_mixup else random.beta(cutmix, cutmix))
    if by_mixup:
        images_BCHW = mixed(images_BCHW, share)
    else:
        height, width = images_BCHW.shape[2:]
        images_BCHW, share = pasted(images_BCHW, share, int(random.integers(height)), int(random.integers(width)))
    return images_BCHW, mixed(shares_of_classes(targets, num_classes), share)


def mixed(batch: Tensor, share: float) -> Tensor:
    """λ x_i + (1 - λ) x_(i-1) (Zhang et al. 2018), as torchvision's ``MixUp`` has it."""
    return batch.roll(1, 0).mul_(1 - share).add_(batch, alpha=share)


def pasted(images_BCHW: Tensor, share: float, row: int, column: int) -> tuple[Tensor, float]:
    """A rectangle of the image before in the place of an image's own (Yun et al. 2019), as torchvision's ``CutMix`` has it; and
    the share of pixels that stay.

    It has √(1 - λ) of the image's height and width, and its centre at a row and column; what lies outside is cut off.
    """
    height, width = images_BCHW.shape[2:]
    half = 0.5 * math.sqrt(1 - share)
    top, bottom = max(row - int(half * height), 0), min(row + int(half * height), height)
    left, right = max(column - int(half * width), 0), min(column + int(half * width), width)
    images_BCHW = images_BCHW.clone()
    images_BCHW[..., top:bottom, left:right] = images_BCHW[..., top:bottom, left:right].roll(1, 0)
    return images_BCHW, 1 - (bottom - top) * (right - left) / (height * width)
