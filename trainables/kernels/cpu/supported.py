"""A network as a chain of layers that the event-driven kernels know, or why it is none."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from trainables.networks.network import INPUT, Network
from trainables.networks.readout import Readout
from trainables.spiking.neurons import SpikingNeuron
from trainables.spiking.pools import LargestCountPool

PoolOf = Literal["or", "largest_count", "mean"]
TWO_BY_TWO = ((2, 2), (2, 2), (0, 0), (1, 1), False)


class NotAChainError(ValueError):
    """The kernels do not support this network; the message continues "the event-driven backend …"."""


@dataclass(frozen=True)
class Layer:
    """Synapses, their neurons (None of the output layer, whose drive is read out), and the 2x2 pool that follows, if any.

    ``averages`` says that the inputs of a linear layer are the means of channels over their whole map.
    """

    name: str
    synapses: nn.Conv2d | nn.Linear
    neuron: SpikingNeuron | None
    pool: PoolOf | None
    averages: bool = False

    @property
    def convolution(self) -> bool:
        """Whether the synapses are a 3x3 convolution's."""
        return isinstance(self.synapses, nn.Conv2d)

    @property
    def channels(self) -> int:
        """The number of channels of the layer's output."""
        return self.synapses.out_channels if isinstance(self.synapses, nn.Conv2d) else self.synapses.out_features


def chain_of(network: Network, *, training: bool) -> list[Layer]:
    """The layers of a network; what spikes behind the output layer is the read-out's.

    Args:
        network: What ``Network`` has taken apart.
        training: Whether it is to have gradients, which only straight-through ones of clamped neurons are.

    Raises:
        NotAChainError: It is no chain of 3x3 convolutions, then linear layers, each with neurons, some with pools of spikes.
    """
    layers = list(_layers(network, training=training))
    if layers and layers[-1].neuron is not None and layers[-1].neuron is Readout(network).neuron:
        layers[-1] = replace(layers[-1], neuron=None)
    if not layers or not layers[0].convolution or layers[-1].convolution or layers[-1].neuron:
        raise NotAChainError("takes networks that begin with a convolution and end with a linear layer")
    for layer in layers:
        _check(layer, training=training)
    return layers


def _layers(network: Network, *, training: bool) -> Iterator[Layer]:
    last = INPUT
    for operation in network.operations:
        if operation.inputs != (last,):
            raise NotAChainError("takes chains of layers alone, and here operations meet")
        last = operation.name
    operations = [each for each in network.operations if not _does_nothing(network.parts, each.name, training=training)]
    parts = [network.parts[operation.name] if operation.kind == "module" else nn.Flatten() for operation in operations]
    number, averages = 0, False
    while number < len(parts):
        synapses, behind = parts[number], [*parts[number + 1 : number + 3], None, None]
        number += 1
        if isinstance(synapses, nn.Flatten):
            continue
        if isinstance(synapses, nn.AdaptiveAvgPool2d) and synapses.output_size in (1, (1, 1)) and number > 1:
            averages = True
            continue
        if not isinstance(synapses, nn.Conv2d | nn.Linear) or (averages and isinstance(synapses, nn.Conv2d)):
            raise NotAChainError(f"knows no {type(synapses).__name__} behind {type(parts[number - 2]).__name__}")
        neuron = behind[0] if isinstance(behind[0], SpikingNeuron) else None
        if neuron is None and number < len(parts):
            raise NotAChainError(f"knows no {type(behind[0]).__name__} between synapses and neurons")
        pool = _pool(behind[1])
        yield Layer(network.layers[operations[number - 1].name], synapses, neuron, pool, averages)
        averages = False
        number += (neuron is not None) + (pool is not None)


def _does_nothing(parts: nn.ModuleDict, name: str, *, training: bool) -> bool:
    part = parts[name] if name in parts else None  # noqa: SIM401  # a ModuleDict has no get
    return isinstance(part, nn.Identity) or (isinstance(part, nn.Dropout) and not training)


def _pool(part: nn.Module | None) -> PoolOf | None:
    if isinstance(part, nn.MaxPool2d):
        window = part.kernel_size, part.stride, part.padding, part.dilation, part.ceil_mode
        return "or" if _pairs(window) == TWO_BY_TWO else None
    if isinstance(part, LargestCountPool):
        return "largest_count" if _pairs(part.window) == TWO_BY_TWO else None
    if isinstance(part, nn.AvgPool2d) and part.divisor_override is None:
        window = part.kernel_size, part.stride, part.padding, 1, part.ceil_mode
        return "mean" if _pairs(window) == TWO_BY_TWO else None
    return None


def _pairs(window: tuple[object, ...]) -> tuple[object, ...]:
    *sides, ceil_mode = window
    return (*((side, side) if isinstance(side, int) else side for side in sides), ceil_mode)


def _check(layer: Layer, *, training: bool) -> None:
    synapses, neuron = layer.synapses, layer.neuron
    if isinstance(synapses, nn.Conv2d):
        kind = synapses.kernel_size, synapses.stride, synapses.padding, synapses.dilation, synapses.groups
        if kind != ((3, 3), (1, 1), (1, 1), (1, 1), 1):
            raise NotAChainError("takes 3x3 convolutions with stride 1 and padding 1 alone")
    if neuron is not None:
        _check_neurons(layer, neuron, training=training)


def _check_neurons(layer: Layer, neuron: SpikingNeuron, *, training: bool) -> None:
    if neuron.leaks:
        raise NotAChainError("takes neurons without a leak alone")
    if neuron.firing_threshold.numel() not in (1, layer.channels):
        raise NotAChainError("takes one firing threshold a layer or one a channel")
    if training and neuron.learnt_start is not None:
        raise NotAChainError("trains no learnt initial membrane potential")
    if training and neuron.model.surrogate is not None:
        raise NotAChainError("takes no surrogate gradients")
    if training and (neuron.model.integrate != "clamped" or neuron.model.reset != "soft"):
        raise NotAChainError("trains neurons with a clamped drive and soft reset alone")
    if training and layer.pool == "largest_count":
        raise NotAChainError("trains no pools by the largest count")
