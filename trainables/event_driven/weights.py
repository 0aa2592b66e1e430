"""Weights as the kernels read them: a row for every event, channels in blocks of 16 or 32; and gradients back from there."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from trainables.event_driven.arrays import Array, kept, lanes_of, num_blocks, zeros
from trainables.event_driven.chain import Layer


def in_blocks(values_C: Tensor, channels: int, fill: float = 0.0) -> Tensor:
    """The last dimension, padded, as ``[…, blocks, lanes]``."""
    lanes, blocks = lanes_of(channels), num_blocks(channels)
    padded = functional.pad(values_C, (0, lanes * blocks - channels), value=fill)
    return padded.reshape(*values_C.shape[:-1], blocks, lanes)


def array(tensor: Tensor) -> Array:
    """A contiguous array."""
    made: Array = tensor.contiguous().numpy()
    return made


@dataclass(frozen=True)
class Weights:
    """Of one layer.

    Attributes:
        rows: For the spikes that come in: ``[blocks, events, lanes]``; see ``forward.spiking_layer``. Empty of the first layer.
        turned: For the gradients that go out: see ``backward.input_gradient``. Empty where no gradient is asked for.
        bias: ``[blocks, lanes]``, as are threshold and start, the membrane potential before the first step.
    """

    rows: Array
    turned: Array
    bias: Array
    threshold: Array
    start: Array


@torch.no_grad()
def weights_of(layer: Layer, channels: int, num_pixels: int, *, driven: bool, training: bool) -> Weights:
    """The weights of a layer.

    Args:
        layer: A convolution or linear layer with its neurons, if it has any.
        channels: Of its input.
        num_pixels: Of its input, for a linear layer.
        driven: Whether its drive is computed elsewhere, so that no rows are needed.
        training: Whether gradients go out of it.
    """
    outputs, weight, neuron = layer.channels, layer.synapses.weight.detach(), layer.neuron
    bias = layer.synapses.bias if layer.synapses.bias is not None else weight.new_zeros(outputs)
    threshold = neuron.firing_threshold.flatten().expand(outputs) if neuron else weight.new_ones(outputs)
    start = neuron.model.initial_membrane_potential if neuron else 0.0
    rows = turned = zeros(1, 1, 1)
    if not driven and layer.convolution:  # columns first, so that a window is one run of events
        rows = _rows(layer, "rows", weight.numpy().transpose(3, 2, 1, 0))
        turned = _rows(layer, "turned", weight.numpy()[:, :, ::-1, ::-1].transpose(3, 2, 0, 1)) if training else turned
    elif not driven:
        by_pixel = weight.numpy().reshape(outputs, channels, num_pixels)
        rows = _rows(layer, "rows", by_pixel.transpose(2, 1, 0))
        turned = _rows(layer, "turned", by_pixel.transpose(2, 0, 1)) if training else turned
    return Weights(
        rows=rows,
        turned=turned,
        bias=array(in_blocks(bias, outputs)),
        threshold=array(in_blocks(threshold, outputs, fill=1.0)),
        start=array(in_blocks(threshold * start, outputs)),
    )


def _rows(layer: Layer, name: str, weights: Array) -> Array:
    """Weights whose last dimension is channels, as ``[blocks, events, lanes]``."""
    *events, channels = weights.shape
    lanes = lanes_of(channels)
    rows = kept(layer.synapses, name, num_blocks(channels), math.prod(events), lanes)
    for number, block in enumerate(rows):
        some = weights[..., number * lanes : (number + 1) * lanes]
        block.reshape(*events, lanes)[..., : some.shape[-1]] = some
    return rows


def write_drive(drive_BCHW: Tensor, channels: int, into: Array) -> None:
    """A layer's drive as ``[images, 1, pixels, blocks, lanes]``."""
    by_pixel = drive_BCHW.numpy().reshape(*drive_BCHW.shape[:2], -1).transpose(0, 2, 1)
    into.reshape(*into.shape[:3], -1)[:, 0, :, :channels] = by_pixel


@torch.no_grad()
def add_weight_gradient(total: Array, layer: Layer, channels: int) -> None:
    """Add what ``backward.weight_gradient`` has summed up to the gradient of a layer's weights."""
    weight = layer.synapses.weight
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    grad_OCP = weight.grad.view(layer.channels, channels, -1)
    for number, some in enumerate(torch.split(grad_OCP, lanes_of(channels), dim=1)):
        summed_OPC = torch.from_numpy(total[:, number]).flatten(1, 2)
        some.add_(summed_OPC[..., : some.shape[1]].transpose(1, 2))
