"""Targets that are shares of classes rather than one class: smoothed labels."""

import torch
from torch import Tensor
from torch.nn import functional


def shares_of_classes(targets: Tensor, num_classes: int) -> Tensor:
    """The share of every class, ``[B, K]``, float32: targets as they are if they are shares already, 1 for a label ``[B]``."""
    return targets if targets.dim() > 1 else functional.one_hot(targets, num_classes).to(torch.float32)


def smoothed(targets: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """(1 - ε) y + ε/K for targets y of K classes, ``[B, K]`` (Szegedy et al. 2016), as PyTorch's ``label_smoothing`` has it."""
    return shares_of_classes(targets, num_classes) * (1 - smoothing) + smoothing / num_classes


def likeliest(targets: Tensor) -> Tensor:
    """The class with the largest share, ``[B]``, of targets ``[B, K]``; labels ``[B]`` as they are."""
    return targets.argmax(dim=1) if targets.dim() > 1 else targets
