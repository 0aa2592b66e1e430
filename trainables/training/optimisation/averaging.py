"""The exponential moving average of a network's weights, by PyTorch's own ``AveragedModel``."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trainables.networks.network import Network


def average_of(network: Network, decay: float) -> AveragedModel:
    """A copy of the network that ``update_parameters`` makes the average over the steps of the optimiser, buffers included.

    The first update copies the weights; the n-th after it has decay min(decay, (1 + n) / (10 + n)), so that the weights of
    the first steps are soon forgotten.
    """
    average = AveragedModel(network, multi_avg_fn=partial(_update, decay), use_buffers=True)
    average.requires_grad_(False)
    return average


@torch.no_grad()
def _update(decay: float, averages: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Tensor) -> None:
    """Of tensors of one type: those of whole numbers, such as counts, are no mean of anything."""
    if not averages[0].is_floating_point():
        for average, tensor in zip(averages, current, strict=True):
            average.copy_(tensor)
        return
    n = int(num_averaged)
    get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averages, current, num_averaged)  # type: ignore[no-untyped-call]
