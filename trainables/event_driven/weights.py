"""Weights as the kernels read them: a row for every event, channels in blocks of 16 or 32; and gradients back from there."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainables.event_driven.chain import Layer
from trainables.event_driven.vectors import NARROW, WIDE

Array = np.ndarray[Any, Any]


def lanes_of(channels: int) -> int:
    """How many channels stand in a block; all blocks but a narrow network's only one are as wide as a word."""
    return NARROW if channels <= NARROW else WIDE


def num_blocks(channels: int) -> int:
    """Blocks, and words of bits, that so many channels take."""
    return -(-channels // WIDE)


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
        layer: A convolution or linear layer with its neurons.
        channels: Of its input.
        num_pixels: Of its input, for a linear layer.
        driven: Whether its drive is computed elsewhere, so that no rows are needed.
        training: Whether gradients go out of it.
    """
    outputs, weight, neuron = layer.channels, layer.synapses.weight, layer.neuron
    bias = layer.synapses.bias if layer.synapses.bias is not None else weight.new_zeros(outputs)
    threshold = neuron.firing_threshold.flatten().expand(outputs) if neuron else weight.new_ones(outputs)
    start = neuron.model.initial_membrane_potential if neuron else 0.0
    nothing = weight.new_zeros(1, 1, 1)
    rows = turned = nothing
    if not driven and layer.convolution:  # columns first, so that a window is one run of events
        rows = in_blocks(weight.permute(3, 2, 1, 0), outputs).flatten(0, 2).transpose(0, 1)
        turned = in_blocks(weight.flip(2, 3).permute(3, 2, 0, 1), channels).flatten(0, 2).transpose(0, 1) if training else nothing
    elif not driven:
        by_pixel = weight.view(outputs, channels, num_pixels)
        rows = in_blocks(by_pixel.permute(2, 1, 0), outputs).flatten(0, 1).transpose(0, 1)
        turned = in_blocks(by_pixel.permute(2, 0, 1), channels).flatten(0, 1).transpose(0, 1) if training else nothing
    return Weights(
        rows=array(rows),
        turned=array(turned),
        bias=array(in_blocks(bias, outputs)),
        threshold=array(in_blocks(threshold, outputs, fill=1.0)),
        start=array(in_blocks(threshold * start, outputs)),
    )


def weight_gradient(total: Array, layer: Layer, channels: int) -> Tensor:
    """The gradient of a layer's weights from what ``backward.weight_gradient`` has summed up."""
    summed = torch.from_numpy(total)
    if layer.convolution:
        return summed.permute(0, 1, 4, 2, 3).flatten(1, 2)[:, :channels]
    return summed.squeeze(3).transpose(2, 3).flatten(1, 2)[:, :channels].flatten(1)
