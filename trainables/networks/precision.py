"""In which floating-point type a network's convolutions are computed."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor

from trainables.networks.collapsed import TimeGroups, forward_collapsed
from trainables.networks.network import Network, Observer

Precision = Literal["float32", "bfloat16"]
"""bfloat16 rounds every weight and drive to 8 significant bits; spikes are exact in it. Membrane potentials, losses, weights'
sums and optimisers stay float32."""

DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def rounding(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Where plain PyTorch computes in this precision: bfloat16 is its autocast, float32 leaves everything as it is."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


def forward_torch(
    network: Network,
    inputs_TBN: Tensor,
    time_steps: int,
    groups: TimeGroups | None = None,
    observers: Sequence[Observer] = (),
    *,
    precision: Precision = "float32",
    until: str | None = None,
) -> Tensor:
    """The outputs of a training step, ``[T, B, …]`` in float32, by plain PyTorch; bfloat16 is its autocast.

    Args:
        network: Any.
        inputs_TBN: ``[T, B, …]``, or ``[1, B, …]`` for an input that is the same at every step.
        time_steps: T.
        groups: Of the rate-collapsed gradient; None for the network's own.
        observers: See every layer's inputs and outputs.
        precision: float32 leaves everything as it is.
        until: Name of the operation whose result is asked for, instead of the last.
    """
    with rounding(precision, inputs_TBN.device):
        if groups is not None:
            return forward_collapsed(network, inputs_TBN, time_steps, groups, observers, until).float()
        outputs_TBK, _ = network(inputs_TBN, time_steps, observers=observers, until=until)
    result: Tensor = outputs_TBK.float()
    return result


def precision_fact(precision: Precision, device: torch.device) -> str:
    """What a report says of the arithmetic that a replicate was trained with."""
    if precision == "bfloat16":
        return "bfloat16 convolutions, float32 membrane potentials"
    rounded = device.type == "cuda" and torch.backends.cudnn.allow_tf32
    return "float32, convolutions of products in TF32" if rounded else "float32"
