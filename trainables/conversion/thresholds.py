"""The scales and firing thresholds of a converted network, from the activations of the analogue one."""

from typing import Literal

import torch
from torch import Tensor

from trainables.conversion.calibration_set import CalibrationSet
from trainables.networks.activations import QCFS
from trainables.networks.network import Network
from trainables.spiking.neurons import SpikingNeuron

Balance = Literal["max", "percentile", "mse", "qcfs", "spike_norm"]
NUM_CANDIDATES = 100


def activation_scales(
    activations: dict[str, Tensor], shapes: dict[str, torch.Size], *, balance: Balance, percentile: float, time_steps: int
) -> dict[str, Tensor]:
    """The scale λ of every layer, from the analogue network's activations on the calibration set.

    ``max`` and ``percentile``: of the activations (Diehl et al. 2015; Rueckauer et al. 2017); ``mse``: the V that minimises
    ‖a - clipfloor(a; V, T)‖², clipfloor = (V/T)·clip(⌊aT/V⌋, 0, T), among 100 fractions of the largest (Li et al. 2021,
    eq. 12).

    Args:
        activations: ``[images, …]`` by layer.
        shapes: Of the thresholds: empty for one a layer, else ``[C, 1, 1]`` or ``[C]``.
        balance: Which.
        percentile: In (0, 100].
        time_steps: T of clipfloor.

    Returns:
        By layer, of the given shape. Where that is 0, as for a channel that was never active, a channel has the scale of its
        whole layer, a layer its largest activation, and a layer that was never active 1.
    """
    return {
        layer: _scale(activations[layer], shape, balance=balance, percentile=percentile, time_steps=time_steps)
        for layer, shape in shapes.items()
    }


def _scale(activations: Tensor, shape: torch.Size, *, balance: Balance, percentile: float, time_steps: int) -> Tensor:
    if shape:
        whole = _scale(activations, torch.Size(), balance=balance, percentile=percentile, time_steps=time_steps)
        rows_CM = activations.transpose(0, 1).flatten(1)
    else:
        largest = activations.max()
        whole = largest if largest > 0 else torch.ones_like(largest)
        rows_CM = activations.reshape(1, -1)
    if balance == "percentile":
        rank = max(1, round(percentile / 100 * rows_CM.shape[1]))
        scale_C = rows_CM.kthvalue(rank, dim=1).values
    elif balance == "mse":
        scale_C = _least_squares(rows_CM, time_steps)
    else:
        scale_C = rows_CM.amax(dim=1)
    return torch.where(scale_C > 0, scale_C, whole).reshape(shape)


def _least_squares(rows_CM: Tensor, time_steps: int) -> Tensor:
    largest_C = rows_CM.amax(dim=1)
    best_C, best_error_C = largest_C.clone(), torch.full_like(largest_C, torch.inf)
    for candidate in range(1, NUM_CANDIDATES + 1):
        scale_C1 = (largest_C * candidate / NUM_CANDIDATES).clamp(min=torch.finfo(rows_CM.dtype).tiny)[:, None]
        clipfloor = scale_C1 / time_steps * (rows_CM * time_steps / scale_C1).floor().clamp(0, time_steps)
        error_C = (rows_CM - clipfloor).square().sum(dim=1, dtype=torch.float64).to(rows_CM.dtype)
        better_C = error_C < best_error_C
        best_C, best_error_C = torch.where(better_C, scale_C1[:, 0], best_C), torch.where(better_C, error_C, best_error_C)
    return best_C * (largest_C > 0)


def qcfs_scales(analogue: Network, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """The learnt λ of every QCFS activation; a layer that has another activation is not among them."""
    scales: dict[str, Tensor] = {}
    for operation in analogue.operations_of(QCFS):
        layer, part = analogue.layers[operation.name], analogue.parts[operation.name]
        assert isinstance(part, QCFS)
        scales[layer] = part.scale.detach().abs().expand(shapes[layer]).clone()
    return scales


@torch.no_grad()
def spike_norm(network: Network, calibration: CalibrationSet, time_steps: int, *, shared_by: set[str]) -> dict[str, Tensor]:
    """Set every layer's firing threshold in order, and return them (Sengupta et al. 2019, algorithm 1).

    θ_l is the largest weighted input of a neuron at any of T time steps on any image of the calibration set: the
    instantaneous drive, not the membrane potential, and with all layers before already spiking at their thresholds.

    Args:
        network: A spiking structure with one threshold a layer, and weights as trained.
        calibration: Encoded as signed Poisson spikes in the paper.
        time_steps: 2,500 in the paper.
        shared_by: Layers whose threshold stays 1: those that meet at a junction (constraint 2).
    """
    thresholds: dict[str, Tensor] = {}
    for operation in network.operations_of(SpikingNeuron):
        neuron, layer = network.parts[operation.name], network.layers[operation.name]
        assert isinstance(neuron, SpikingNeuron)
        largest = torch.ones_like(neuron.firing_threshold)
        if layer not in shared_by:
            peaks = [
                drive_TBN.max()
                for inputs in calibration.spiking_batches()
                for drive_TBN in network.simulate(
                    inputs, time_steps, until=operation.inputs[0], num_micro_batches=calibration.num_micro_batches
                )
            ]
            largest = torch.stack(peaks).max()
            if largest <= 0:  # a layer that nothing ever drives would spike at every step
                largest = torch.ones_like(largest)
        neuron.firing_threshold.data.copy_(largest)
        thresholds[layer] = neuron.firing_threshold.detach().clone()
    return thresholds


def layers_at_junctions(network: Network) -> set[str]:
    """The layers whose spikes meet those of another at a junction, through at most one layer of weights."""
    layers: set[str] = set()
    for junction in network.operations:
        waiting = list(junction.inputs) if junction.kind == "add" else []
        while waiting:
            name = waiting.pop()
            operation = next((operation for operation in network.operations if operation.name == name), None)
            if operation is None:
                continue
            if network.is_a(operation, SpikingNeuron):
                layers.add(network.layers[operation.name])
            else:
                waiting += operation.inputs
    return layers
