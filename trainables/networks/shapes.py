"""How large every result of a network is, without running it on real images."""

from collections.abc import Mapping

import torch
from torch import nn

from trainables.networks.activations import ACTIVATIONS
from trainables.networks.layouts import ImageShape
from trainables.networks.network import INPUT, ONE_AT_A_TIME, POOLS, STATEFUL, Network
from trainables.spiking.neurons import NeuronModel, SpikingNeuron


@torch.no_grad()
def operation_shapes(network: Network, input_shape: ImageShape) -> dict[str, torch.Size]:
    """The shape of every operation's result for one image, and of the input under ``INPUT``; on the network's own device."""
    height, width, channels = input_shape
    results = {INPUT: torch.zeros(1, 1, channels, height, width, device=next(network.parameters()).device)}
    was_training = network.training
    network.eval()
    with ONE_AT_A_TIME:
        for operation in network.operations:
            arguments = [results[name] for name in operation.inputs]
            results[operation.name] = network.run_operation(operation, arguments, 1, None)[0]
    network.train(was_training)
    return {name: result.shape[2:] for name, result in results.items()}


def operation_lengths(network: Network, time_steps: int, *, constant_input: bool) -> Mapping[str, int]:
    """Over how many time steps every operation's result (and the input) is computed: 1 where it never changes, else all."""
    lengths = {INPUT: 1 if constant_input else time_steps}
    for operation in network.operations:
        lengths[operation.name] = (
            time_steps if network.is_a(operation, *STATEFUL) else max(lengths[name] for name in operation.inputs)
        )
    return lengths


def put_neurons(network: Network, model: NeuronModel, input_shape: ImageShape) -> None:
    """Put spiking neurons, of firing threshold 1, in the place of a network's activations.

    Args:
        network: Without neurons.
        model: Their equations.
        input_shape: Height, width, channels.
    """
    shapes = operation_shapes(network, input_shape)
    pools = (operation for operation in network.operations_of(*POOLS) if not network.is_a(operation, nn.AdaptiveAvgPool2d))
    read_by_pools = {name for operation in pools for name in operation.inputs}
    for operation in network.operations_of(*ACTIVATIONS):
        channels, *rest = shapes[operation.name]
        neuron = SpikingNeuron(model, pooled=operation.name in read_by_pools, channels=(channels, *[1] * len(rest)))
        network.parts[operation.name] = neuron
