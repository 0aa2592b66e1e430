"""How well spike rates of a converted network agree with the analogue activations, and corrections that improve it."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainables.conversion.calibration_set import CalibrationSet, spike_counts
from trainables.networks.network import Network
from trainables.networks.rewriting import driving_operation
from trainables.spiking.neurons import SpikingNeuron


@dataclass(frozen=True)
class LayerAgreement:
    """How well one layer agrees, on the calibration set.

    Attributes:
        mean_activation: Of the analogue network.
        mean_rate: Of the spiking network, in the units of the activation: spikes per time step times the layer's scale.
        error: Σ|rate - activation| / Σ|activation|; where all activations are 0, 1 if any rate is not, else 0.
        correlation: Pearson's, over images and neurons.
    """

    layer: str
    mean_activation: float
    mean_rate: float
    error: float
    correlation: float


def agreement(
    network: Network, activations: dict[str, Tensor], scales: dict[str, Tensor], calibration: CalibrationSet, time_steps: int
) -> list[LayerAgreement]:
    """The agreement of every layer that both networks have, in order."""
    counts = spike_counts(network, calibration, time_steps)
    return [
        _layer_agreement(layer, activations[layer], counts[layer] / time_steps * scales[layer].cpu())
        for layer in counts
        if layer in activations
    ]


def _layer_agreement(layer: str, activations: Tensor, rates: Tensor) -> LayerAgreement:
    a, r = activations.double().flatten(), rates.double().flatten()
    spread_a, spread_r = a - a.mean(), r - r.mean()
    norm = float(spread_a.norm() * spread_r.norm())
    size = float(a.abs().sum()) or float(r.abs().sum()) or 1.0
    return LayerAgreement(
        layer=layer,
        mean_activation=float(a.mean()),
        mean_rate=float(r.mean()),
        error=float((r - a).abs().sum()) / size,
        correlation=float(spread_a @ spread_r) / norm if norm else 0.0,
    )


@torch.no_grad()
def shift_biases(network: Network, time_steps: int) -> None:
    """Add θ/(2T) to the drive of every spiking layer: half a spike over all steps, as its rate is a floor (Deng & Gu 2021).

    Filters whose weights are all 0 are left alone: they were pruned.
    """
    for layer, neuron in network.neurons():
        part = _driving_part(network, layer)
        alive_C = part.weight.flatten(1).any(dim=1)
        _bias(network, layer).add_(alive_C * neuron.firing_threshold.flatten() / (2 * time_steps))


@torch.no_grad()
def correct_biases(
    network: Network, activations: dict[str, Tensor], scales: dict[str, Tensor], calibration: CalibrationSet, time_steps: int
) -> None:
    """b_c -= mean(rate_c - activation_c), layer after layer, each with all before it corrected (Li et al. 2021, section 3.3)."""
    for operation in network.operations_of(SpikingNeuron):
        layer = network.layers[operation.name]
        if layer not in activations:
            continue
        counts = spike_counts(network, calibration, time_steps, layer, until=operation.name)[layer]
        excess = counts / time_steps * scales[layer].cpu() - activations[layer]
        excess_C = excess.transpose(0, 1).flatten(1).mean(dim=1)
        bias = _bias(network, layer)
        bias.sub_(excess_C.to(bias.device))


def _driving_part(network: Network, layer: str) -> nn.Conv2d | nn.Linear:
    part = network.parts[driving_operation(network, layer).name]
    assert isinstance(part, nn.Conv2d | nn.Linear)
    return part


def _bias(network: Network, layer: str) -> Tensor:
    part = _driving_part(network, layer)
    assert part.bias is not None, "spiking_structure gives biases where corrections need them"
    return part.bias
