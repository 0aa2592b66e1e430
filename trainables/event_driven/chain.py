"""A network as a chain of layers that the event-driven kernels know, or why it is none."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from trainables.networks.network import INPUT, Network
from trainables.spiking.neurons import SpikingNeuron


class NotAChainError(ValueError):
    """The kernels do not know this network; the message says what of it."""


@dataclass(frozen=True)
class Layer:
    """Synapses, their neurons, and whether a 2x2 OR pool follows."""

    name: str
    synapses: nn.Conv2d | nn.Linear
    neuron: SpikingNeuron
    pooled: bool

    @property
    def convolution(self) -> bool:
        """Whether the synapses are a 3x3 convolution's."""
        return isinstance(self.synapses, nn.Conv2d)

    @property
    def channels(self) -> int:
        """Of its neurons."""
        return self.synapses.weight.shape[0]


def chain_of(network: Network) -> list[Layer]:
    """The layers of a network.

    Raises:
        NotAChainError: It is no chain of 3x3 convolutions and linear layers, each with neurons, some with OR pools.
    """
    return list(_layers(network))


def _layers(network: Network) -> Iterator[Layer]:
    steps = list(network.steps)
    last = INPUT
    for step in steps:
        if step.inputs != (last,):
            raise NotAChainError("its layers are not one chain")
        last = step.name
    number = 0
    while number < len(steps):
        if _flattens(network, number):
            number += 1
            continue
        synapses, neuron = _part(network, number), _part(network, number + 1)
        if not isinstance(synapses, nn.Conv2d | nn.Linear):
            raise NotAChainError(f"it has a {_what(network, number)}")
        if not isinstance(neuron, SpikingNeuron):
            raise NotAChainError(f"a {_what(network, number + 1)} follows its synapses")
        pooled = isinstance(synapses, nn.Conv2d) and isinstance(_part(network, number + 2), nn.MaxPool2d)
        yield Layer(network.layers[steps[number + 1].name], synapses, neuron, pooled)
        number += 2 + pooled


def _part(network: Network, number: int) -> nn.Module | None:
    if number >= len(network.steps) or network.steps[number].operation != "module":
        return None
    part: nn.Module = network.parts[network.steps[number].name]
    return part


def _flattens(network: Network, number: int) -> bool:
    return network.steps[number].operation == "flatten" or isinstance(_part(network, number), nn.Flatten)


def _what(network: Network, number: int) -> str:
    part = _part(network, number)
    return type(part).__name__ if part is not None else "result without neurons"
