"""Networks of known spike rates: everything event-driven depends on them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainables.networks.network import Network
from trainables.spiking.neurons import SpikingNeuron

RATES = (0.23, 0.12, 0.12, 0.08, 0.02, 0.04)
"""Of all layers of a BITnet6 after a short training on CIFAR-10."""
PUBLISHED_RATES = (0.0965, 0.0762, 0.0352, 0.0589, 0.0144, 0.0922)
"""What the BITnet README's sparsity on CIFAR-10 says of BITnet6 (feature scale 4): 90 to 98 % zeros."""
BISECTIONS = 14


@torch.no_grad()
def set_rates(
    network: Network, images_BCHW: Tensor, time_steps: int = 16, rates: Sequence[float] = RATES
) -> list[tuple[int, int, float]]:
    """Shift the biases of every layer until its spike rate is the one that is asked for.

    Returns:
        Of every layer its channels, the places of its map, and the share of drives within (0, 1).
    """
    values_TBN, wanted, bias = images_BCHW[None], iter(rates), Tensor()
    drives: list[tuple[int, int, float]] = []
    for operation in network.operations:
        part = network.parts[operation.name] if operation.kind == "module" else None
        if isinstance(part, SpikingNeuron):
            shift = _shift_for(next(wanted), part, values_TBN, time_steps)
            bias += shift
            drive_TBN = values_TBN + shift
            channels, num_places = drive_TBN.shape[2], drive_TBN[0, 0, 0].numel()
            drives.append((channels, num_places, float(((drive_TBN > 0) & (drive_TBN < 1)).double().mean())))
            values_TBN = part(drive_TBN, time_steps)[0]
            continue
        values_TBN = network.run_operation(operation, [values_TBN], time_steps, None)[0]
        if isinstance(part, nn.Conv2d | nn.Linear) and part.bias is not None:
            bias = part.bias
    return drives


def _shift_for(rate: float, neuron: SpikingNeuron, drive_TBN: Tensor, time_steps: int) -> float:
    """What all drives of a layer must be shifted by, by bisection."""
    low, high = -8.0, 8.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        spikes_TBN, _ = neuron(drive_TBN + middle, time_steps)
        low, high = (middle, high) if spikes_TBN.mean() < rate else (low, middle)
    return (low + high) / 2
