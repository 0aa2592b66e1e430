"""A chain of layers on a GPU: time folded into convolutions in bfloat16, fused neurons (Triton), bits for the backward pass.

A layer is a convolution or linear map, bddi neurons, and often a max pool. For its backward pass it keeps only the bits of
``kernels.gpu.neurons``: the inputs of a convolution are made from the bits of the layer before when they are needed. The
straight-through gradient is local in time, and no membrane potential has one. So a batch can be run in pieces of a few images
and time steps, whose backward passes are independent: only the bits of all and the tensors of one piece are in memory.

The first layer sees no spikes and is computed in float32; so are all membrane potentials. Weights' gradients are added up in
float32 over the pieces.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.kernels.gpu.neurons import Bits, FusedPool, fire, pass_gradient, spikes_of, why_not_these
from trainables.networks.drive_normalisation import standardisation_of
from trainables.networks.network import INPUT, NUM_FOLDED_IMAGES, Inputs, Network, Observer, Operation
from trainables.networks.readout import Readout
from trainables.spiking.neurons import SpikingNeuron
from trainables.spiking.pools import SplitTiesMaxPool

FOLDED_IMAGES = 192
"""Images times time steps of a piece: enough to fill a GPU, and to outlast what starting its kernels takes."""
IMAGES = 32
"""Of a piece, or more where there are few time steps."""


_WINDOWS: tuple[Any, ...] = ((2, 2, 0), ((2, 2), (2, 2), (0, 0)))
"""Sizes, strides and paddings of pools that the kernels know, as they may be written."""


class UnfusableError(ValueError):
    """The network is no chain of layers that the kernels take; the message says why."""


@dataclass(frozen=True)
class FusedLayer:
    """A link of the chain.

    Attributes:
        name: The layer's.
        drive, spikes: Names of the operations that give its drives, and what it passes on; the same for the output layer.
        before: Operations between the spikes of the layer before and the synapses: pools that are not fused, flattening.
        synapses: The convolution or linear layer.
        neuron: Its neurons; None of the output layer, whose drive is read out.
        pool: The max pool right behind them.
    """

    name: str
    drive: str
    spikes: str
    before: tuple[nn.Module, ...]
    synapses: nn.Conv2d | nn.Linear
    neuron: SpikingNeuron | None
    pool: FusedPool


BETWEEN = (nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.MaxPool2d, SplitTiesMaxPool, nn.Flatten, nn.Identity)


def fused_layers(network: Network, *, fuse_pools: bool = True) -> list[FusedLayer]:
    """The chain that a network is; what spikes behind the output layer is the read-out's.

    Raises:
        UnfusableError: It is none.
    """
    layers: list[FusedLayer] = []
    before: list[nn.Module] = []
    output_neurons = Readout(network).neuron is not None
    operations, last = network.operations[: len(network.operations) - output_neurons], INPUT
    while operations:
        operation = operations.pop(0)
        if operation.inputs != (last,):
            raise UnfusableError(f"takes a chain of layers, but {operation.name} joins {' and '.join(operation.inputs)}")
        part, last = _part(network, operation), operation.name
        if isinstance(part, nn.Conv2d | nn.Linear):
            if standardisation_of(part) is not None:
                raise UnfusableError("takes no standardised weights")
            neuron, pool = _behind(network, operation, operations, fuse_pools=fuse_pools)
            if reason := _why_not_this_padding(part):
                raise UnfusableError(reason)
            for _ in range((neuron is not None) + (pool != "none")):
                last = operations.pop(0).name
            layers.append(FusedLayer(network.layers[operation.name], operation.name, last, tuple(before), part, neuron, pool))
            before = []
        elif isinstance(part, BETWEEN) and operations:
            before.append(part)
        else:
            raise UnfusableError(f"takes no {type(part).__name__} where {operation.name} is")
    if layers and layers[-1].neuron is not None:
        raise UnfusableError("takes networks that end with synapses, and neurons behind them or not")
    return layers


def _behind(
    network: Network, synapses: Operation, following: list[Operation], *, fuse_pools: bool
) -> tuple[SpikingNeuron | None, FusedPool]:
    """The neurons behind a convolution or linear layer, None at the end of the chain, and the pool behind them.

    Raises:
        UnfusableError: There is something else, or the kernels do not take these neurons.
    """
    if not following:
        return None, "none"
    neuron = network.parts[following[0].name] if following[0].kind == "module" else None
    if not isinstance(neuron, SpikingNeuron) or following[0].inputs != (synapses.name,):
        raise UnfusableError(f"takes neurons right behind synapses, but {synapses.name} has none there")
    if reason := why_not_these(neuron):
        raise UnfusableError(reason)
    if fuse_pools and len(following) > 1 and following[1].inputs == (following[0].name,):
        return neuron, _pool(_part(network, following[1]))
    return neuron, "none"


def _part(network: Network, operation: Operation) -> nn.Module:
    return nn.Flatten() if operation.kind == "flatten" else network.parts[operation.name]


def _why_not_this_padding(part: nn.Conv2d | nn.Linear) -> str | None:
    plain = isinstance(part, nn.Linear) or (part.padding_mode == "zeros" and not isinstance(part.padding, str))
    return None if plain else "takes convolutions with a number of zeros around their maps"


def _pool(part: nn.Module) -> FusedPool:
    if isinstance(part, SplitTiesMaxPool):
        return "split"
    if not isinstance(part, nn.MaxPool2d) or part.dilation not in (1, (1, 1)) or part.ceil_mode:
        return "none"
    return "one" if (part.kernel_size, part.stride, part.padding) in _WINDOWS else "none"


def forward_fused(
    network: Network,
    inputs_TBN: Tensor,
    time_steps: int,
    observers: Sequence[Observer] = (),
    *,
    dtype: torch.dtype = torch.bfloat16,
    num_folded_images: int = FOLDED_IMAGES,
) -> Tensor:
    """The output layer's drive, ``[T, B, classes]`` in float32, with its gradient.

    Args:
        network: A chain; see ``triton_backend.why_not``.
        inputs_TBN: ``[T, B, …]``, or ``[1, B, …]`` for an input that is the same at every step.
        time_steps: T.
        observers: See every layer's inputs and outputs; with them a batch is one piece, as they must see it whole.
        dtype: Of drives, spikes and their gradients behind the first layer: bfloat16 or float32.
        num_folded_images: Images times time steps of a piece.
    """
    layers = fused_layers(network, fuse_pools=not observers)
    weights = low_precision(layers, dtype)
    num_images = inputs_TBN.shape[1]
    images, length = (num_images, time_steps) if observers else piece_of(num_images, time_steps, num_folded_images)
    pieces = []
    for images_TBN in torch.split(inputs_TBN, images, dim=1):
        state: list[Tensor | None] = [None] * len(layers)
        steps = []
        for start in range(0, time_steps, length):
            piece_TBN = images_TBN[start : start + length] if len(images_TBN) > 1 else images_TBN
            steps.append(run_piece(layers, weights, piece_TBN, min(length, time_steps - start), state, observers, dtype))
        pieces.append(torch.cat(steps))
    return torch.cat(pieces, dim=1)


def piece_of(num_images: int, time_steps: int, num_folded_images: int) -> tuple[int, int]:
    """How many images and time steps a piece has at most."""
    images = min(num_images, num_folded_images, max(IMAGES, num_folded_images // time_steps))
    return images, min(time_steps, num_folded_images // images)


@torch.no_grad()
def simulate_fused(
    network: Network,
    inputs: Inputs,
    time_steps: int,
    observers: Sequence[Observer] = (),
    *,
    dtype: torch.dtype = torch.bfloat16,
    num_micro_batches: int = 1,
) -> Iterator[Tensor]:
    """The output layer's drive, without gradient: ``[steps, B, classes]`` for pieces of the T time steps in order."""
    layers = fused_layers(network, fuse_pools=not observers)
    weights = low_precision(layers, dtype)
    length = max(2, NUM_FOLDED_IMAGES // num_micro_batches // inputs.num_images)
    state: list[Tensor | None] = [None] * len(layers)
    for start in range(0, time_steps, length):
        steps = min(length, time_steps - start)
        yield run_piece(layers, weights, inputs(start, steps), steps, state, observers, dtype)


def low_precision(layers: Sequence[FusedLayer], dtype: torch.dtype) -> list[Tensor]:
    """The weights that convolutions are computed with: the first layer's are as they are."""
    weights = [layer.synapses.weight.detach() for layer in layers]
    return [_channels_last(weight.to(dtype) if number else weight) for number, weight in enumerate(weights)]


def run_piece(
    layers: Sequence[FusedLayer],
    weights: Sequence[Tensor],
    inputs_TBN: Tensor,
    time_steps: int,
    state: list[Tensor | None],
    observers: Sequence[Observer],
    dtype: torch.dtype,
) -> Tensor:
    """The output layer's drive, float32; ``state`` has the membrane potentials before, and then those after."""
    values_TBN, bits = inputs_TBN, None
    for number, (layer, weight) in enumerate(zip(layers, weights, strict=True)):
        for observer in observers:
            observer.inputs(layer.name, layer.synapses, apply_folded(layer.before, values_TBN).float())
        drive_TBN = _Synapses.apply(values_TBN, bits, layer.synapses.weight, weight, layer)
        if layer.neuron is None:
            return output_drive(drive_TBN, layer).expand(time_steps, *drive_TBN.shape[1:])
        memory = _Memory(state, number, dtype, keep=torch.is_grad_enabled())
        values_TBN = _Neurons.apply(drive_TBN, layer.synapses.bias, layer, time_steps, memory)
        bits = memory.bits
        del drive_TBN  # before the next layer's is made
        for observer in observers:
            observer.outputs(layer.name, values_TBN.float())
    return values_TBN.float()


def output_drive(drive_TBN: Tensor, layer: FusedLayer) -> Tensor:
    """The drive of an output layer with its bias, float32."""
    bias = layer.synapses.bias
    return drive_TBN.float() if bias is None else drive_TBN.float() + bias


@dataclass
class _Memory:
    """What neurons find, and leave behind, beside their spikes: no part of autograd's graph."""

    state: list[Tensor | None]
    number: int
    dtype: torch.dtype
    keep: bool
    bits: Bits | None = None


class _Synapses(torch.autograd.Function):
    """A convolution or linear map, without its bias, of spikes that are kept as bits."""

    @staticmethod
    def forward(ctx: Any, values_TBN: Tensor, bits: Bits | None, parameter: Tensor, weight: Tensor, layer: FusedLayer) -> Tensor:
        del parameter  # the gradient's address; ``weight`` is the same in another type
        ctx.kept, ctx.weight, ctx.layer = values_TBN if bits is None else bits, weight, layer
        inputs_NCHW = apply_folded(layer.before, values_TBN).flatten(0, 1)
        drive_NCHW = apply_synapses(inputs_NCHW, weight, layer.synapses)
        return drive_NCHW.view(*values_TBN.shape[:2], *drive_NCHW.shape[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, Tensor, None, None]:
        values_TBN = ctx.kept if isinstance(ctx.kept, Tensor) else spikes_of(ctx.kept, ctx.weight.dtype)
        grad_TBN, grad_weight = synapse_gradients(
            grads[0], values_TBN, ctx.weight, ctx.layer, needs_input_grad=ctx.needs_input_grad[0]
        )
        return grad_TBN, None, grad_weight, None, None


class _Neurons(torch.autograd.Function):
    """bddi neurons and their pool: the kernels of ``kernels.gpu.neurons``, with the bias of the synapses before them."""

    @staticmethod
    def forward(ctx: Any, drive_TBN: Tensor, bias: Tensor | None, layer: FusedLayer, time_steps: int, memory: _Memory) -> Tensor:
        assert layer.neuron is not None
        spikes_TBN, v, memory.bits = fire(
            drive_TBN,
            layer.neuron,
            time_steps,
            bias_C=bias,
            pool=layer.pool,
            membrane_potential=memory.state[memory.number],
            keep="bits" if memory.keep else "nothing",
            dtype=memory.dtype,
        )
        memory.state[memory.number] = v
        ctx.bits, ctx.pool, ctx.dtype, ctx.has_bias = memory.bits, layer.pool, drive_TBN.dtype, bias is not None
        return spikes_TBN

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        grad_TBN = pass_gradient(grads[0], ctx.bits, ctx.pool, ctx.dtype)
        return grad_TBN, bias_gradient(grad_TBN) if ctx.has_bias else None, None, None, None


def apply_folded(modules: Sequence[nn.Module], values_TBN: Tensor) -> Tensor:
    """Modules without state on ``[T, B, …]``, time folded into the batch."""
    if not modules:
        return values_TBN
    values_NCHW = values_TBN.flatten(0, 1)
    for module in modules:
        values_NCHW = module(values_NCHW)
    return values_NCHW.view(*values_TBN.shape[:2], *values_NCHW.shape[1:])


def apply_synapses(inputs_NCHW: Tensor, weight: Tensor, synapses: nn.Conv2d | nn.Linear) -> Tensor:
    """Drives without bias."""
    if isinstance(synapses, nn.Linear):
        return functional.linear(inputs_NCHW, weight)
    assert not isinstance(synapses.padding, str)
    return functional.conv2d(
        _channels_last(inputs_NCHW), weight, None, synapses.stride, synapses.padding, synapses.dilation, synapses.groups
    )


def synapse_gradients(
    grad_TBN: Tensor, values_TBN: Tensor, weight: Tensor, layer: FusedLayer, *, needs_input_grad: bool
) -> tuple[Tensor | None, Tensor]:
    """The gradients at the spikes of the layer before, and at the weights (float32)."""
    grad_NCHW = grad_TBN.flatten(0, 1)
    with torch.enable_grad():  # pools between the layers do their part once more
        leaf_TBN = values_TBN.detach().requires_grad_()
        inputs_NCHW = apply_folded(layer.before, leaf_TBN).flatten(0, 1)
    if isinstance(layer.synapses, nn.Linear):
        grad_inputs = grad_NCHW @ weight if needs_input_grad else None
        grad_weight = grad_NCHW.T @ inputs_NCHW.detach()
    else:
        grad_inputs, grad_weight = _convolution_gradients(
            grad_NCHW, inputs_NCHW.detach(), weight, layer.synapses, needs_input_grad
        )
    if grad_inputs is not None:
        (grad_inputs,) = torch.autograd.grad(inputs_NCHW, leaf_TBN, grad_inputs)
    return grad_inputs, grad_weight.to(torch.float32)


def _convolution_gradients(
    grad_NCHW: Tensor, inputs_NCHW: Tensor, weight: Tensor, conv: nn.Conv2d, needs_input_grad: bool
) -> tuple[Tensor | None, Tensor]:
    grad_inputs, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad_NCHW,
        _channels_last(inputs_NCHW),
        weight,
        None,
        conv.stride,
        conv.padding,
        conv.dilation,
        False,  # not transposed
        [0, 0],
        conv.groups,
        [needs_input_grad, True, False],
    )
    return grad_inputs, grad_weight


def bias_gradient(grad_TBN: Tensor) -> Tensor:
    """The sum over all but channels, ``[C]``, float32."""
    return grad_TBN.sum(dim=[dim for dim in range(grad_TBN.dim()) if dim != 2], dtype=torch.float32)


def _channels_last(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last) if values.dim() == 4 else values
