"""The structure of a converted network, and how thresholds and scales enter its weights."""

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from trainables.networks.activations import ACTIVATIONS
from trainables.networks.layouts import ImageShape
from trainables.networks.network import INPUT, SYNAPSES, Network, Scale, replace_activations
from trainables.networks.rewriting import fold_batch_norms, give_biases, max_pools_behind_activations
from trainables.networks.shapes import operation_shapes
from trainables.spiking.neurons import NeuronModel, SpikingNeuron
from trainables.spiking.pools import LargestCountPool

Readout = Literal["membrane", "spikes"]
Granularity = Literal["layer", "channel"]


def analogue_counterpart(trained: Network, readout: Readout) -> Network:
    """The analogue network that spike rates stand for: batch norms folded, max pools behind activations rather than before
    them, and a ReLU behind the output if it is to spike.
    """
    network = fold_batch_norms(trained)
    max_pools_behind_activations(network)
    if readout == "spikes":
        network.append_activation(nn.ReLU())
    return network


def spiking_structure(
    analogue: Network,
    model: NeuronModel,
    *,
    input_shape: ImageShape,
    per: Granularity,
    max_pool: Literal["largest_count", "or"],
    with_biases: bool,
    leak: float,
    trainable: bool,
) -> Network:
    """A copy of ``analogue`` with spiking neurons, of firing threshold 1, in the place of its activations.

    Args:
        analogue: A trained network without batch norms (see ``analogue_counterpart``).
        model: The neurons' equations.
        input_shape: Height, width, channels.
        per: One threshold for each layer, or for each channel (in a linear layer, for each unit).
        max_pool: What replaces a max pool of activations: ``LargestCountPool``, or the logical OR.
        with_biases: Whether layers without biases get biases of 0.
        leak: Of all neurons; the start, if it is learnt.
        trainable: Whether thresholds and leaks are learnt.
    """
    network = copy.deepcopy(analogue)
    if with_biases:
        give_biases(network)
    shapes = operation_shapes(network, input_shape)
    shape_of = {network.layers[operation.name]: shapes[operation.name] for operation in network.operations_of(*ACTIVATIONS)}

    def neuron(layer: str, _: nn.Module) -> SpikingNeuron:
        threshold: float | Tensor = 1.0
        if per == "channel":
            channels, *rest = shape_of[layer]
            threshold = torch.ones(channels, *[1] * len(rest))
        return SpikingNeuron(model, threshold, leak=leak, trainable=trainable)

    replace_activations(network, neuron)
    if max_pool == "largest_count":
        for operation in network.operations_of(nn.MaxPool2d):
            pool = network.parts[operation.name]
            if network.is_a(network.back_through_pools(operation.name)[-1], *SYNAPSES):
                continue  # a pool of drives, between a convolution and an average pool
            assert isinstance(pool, nn.MaxPool2d)
            network.parts[operation.name] = LargestCountPool(pool)
    for operation in [operation for operation in network.operations if operation.kind == "add"]:
        for name in dict.fromkeys(operation.inputs):
            if (worth := _worth_of_spikes(network, name, image_channels=input_shape[2])) is not None:
                network.insert(Scale(worth), name, operation.name)
    return network


def _worth_of_spikes(network: Network, name: str, *, image_channels: int) -> Tensor | None:
    """A tensor of the shape of what a spike in a result is worth; None where weights have made a drive of them."""
    if name == INPUT:
        return torch.ones(image_channels, 1, 1)
    operation = next(operation for operation in network.operations if operation.name == name)
    if operation.kind == "add" or network.is_a(operation, nn.Conv2d, nn.Linear):
        return None
    part = network.parts[operation.name] if operation.kind == "module" else None
    if isinstance(part, SpikingNeuron):
        return part.firing_threshold
    return _worth_of_spikes(network, operation.inputs[0], image_channels=image_channels)


@torch.no_grad()
def scale_weights(network: Network, scales: dict[str, Tensor], input_scale: Tensor, input_shape: ImageShape) -> None:
    """Let a spike of a layer be worth its scale λ: the weights behind it are multiplied by it, W ← W·λ; drives keep their units.

    With λ as the layer's own firing threshold this is the data normalisation W̃ = Wλ_{l-1}/λ_l, b̃ = b/λ_l of Diehl et al. 2015,
    written as threshold balancing; ``normalise_weights`` gives the other form.

    Args:
        network: A spiking structure with the analogue network's weights.
        scales: λ by layer, shaped as the layer's threshold.
        input_scale: The same for the network's input, ``[C, 1, 1]`` or scalar.
        input_shape: Height, width, channels.
    """
    shapes = operation_shapes(network, input_shape)
    known: dict[str, Tensor] = {INPUT: input_scale}
    for operation in network.operations:
        scale = known[operation.inputs[0]]
        part = network.parts[operation.name] if operation.kind == "module" else None
        if isinstance(part, SpikingNeuron):
            scale = scales[network.layers[operation.name]]
        elif isinstance(part, nn.Conv2d | nn.Linear | Scale):
            part.weight.mul_(scale)
            scale = torch.ones_like(input_scale.flatten()[0])
        elif scale.dim() and (operation.kind == "flatten" or isinstance(part, nn.Flatten)):
            scale = scale.expand(shapes[operation.inputs[0]]).flatten()
        known[operation.name] = scale


@torch.no_grad()
def normalise_weights(network: Network) -> None:
    """Set every firing threshold θ to 1 without changing a spike: W ← W/θ, b ← b/θ of the weights that drive the layer.

    Surrogate gradients are defined for this form.

    Raises:
        ValueError: What drives a layer goes elsewhere, too; then its threshold cannot be divided out of the weights.
    """
    for layer, neuron in network.neurons():
        threshold = neuron.firing_threshold
        for part in driving_parts(network, layer):
            rows = threshold.flatten() if threshold.dim() else threshold
            part.weight.div_(
                rows.view(-1, *[1] * (part.weight.dim() - 1)) if rows.dim() and not isinstance(part, Scale) else threshold
            )
            bias = getattr(part, "bias", None)
            if bias is not None:
                bias.div_(rows)
        threshold.data.fill_(1.0)


def driving_parts(network: Network, layer: str) -> list[nn.Conv2d | nn.Linear | Scale]:
    """The modules whose weights make the drive of a layer, and of nothing else.

    Raises:
        ValueError: The drive is the image itself, or goes elsewhere, too.
    """
    parts: list[nn.Conv2d | nn.Linear | Scale] = []
    operations = {operation.name: operation for operation in network.operations}
    (neuron,) = [operation for operation in network.operations_of(SpikingNeuron) if network.layers[operation.name] == layer]
    passed, waiting = {neuron.name}, list(neuron.inputs)
    while waiting:
        name = waiting.pop()
        users = {operation.name for operation in network.operations if name in operation.inputs}
        if name == INPUT or not users <= passed:
            raise ValueError(f"what drives {layer} is not its alone, so that there are no weights to divide by its threshold")
        passed.add(name)
        part = network.parts[name] if operations[name].kind == "module" else None
        if isinstance(part, nn.Conv2d | nn.Linear | Scale):
            parts.append(part)
        else:
            waiting += operations[name].inputs
    return parts
