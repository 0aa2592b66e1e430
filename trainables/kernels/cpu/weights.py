"""Weights in the layout that the kernels read, rows of a lane group for every event; and gradients back to torch's layout."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainables.kernels.cpu.compiled.arrays import Array, lanes_of, module_array, num_lane_groups, zeros
from trainables.kernels.cpu.compiled.forward import Weights
from trainables.kernels.cpu.layer_shapes import Shape
from trainables.kernels.cpu.supported import Layer
from trainables.networks.drive_normalisation import EffectiveWeight, effective_weight


def in_lane_groups(values_C: Tensor, channels: int, fill: float = 0.0) -> Tensor:
    """The last dimension, channels, padded to whole lane groups: ``[…, G, lanes]``."""
    lanes, lane_groups = lanes_of(channels), num_lane_groups(channels)
    padded = functional.pad(values_C, (0, lanes * lane_groups - channels), value=fill)
    return padded.reshape(*values_C.shape[:-1], lane_groups, lanes)


def array(tensor: Tensor) -> Array:
    """A contiguous array."""
    made: Array = tensor.contiguous().numpy()
    return made


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one layer in the orders in which the kernels read them.

    Attributes:
        weight: What its inputs meet; its gradient is added to that.
        forward: For the forward pass; rows are empty where they are not asked for.
        turned: For the gradient with respect to the layer's input: see ``backward.input_gradient``. Empty where no gradient is
            asked for.
    """

    weight: EffectiveWeight
    forward: Weights
    turned: Array


NONE = zeros(1, 1, 1, 1)


@torch.no_grad()
def weights_of(shape: Shape, *, first: bool, training: bool) -> LayerWeights:
    """The weights of a layer.

    Args:
        shape: Of the layer.
        first: Whether its input are images.
        training: Whether gradients go out of it, unless it is the first.
    """
    layer, outputs, effective = shape.layer, shape.outputs, effective_weight(shape.layer.synapses)
    weight = effective.leaf.detach()
    if shape.spikes_per_input > 1:
        weight = weight / shape.spikes_per_input
    bias = layer.synapses.bias if layer.synapses.bias is not None else weight.new_zeros(outputs)
    threshold = layer.neuron.firing_threshold.flatten().expand(outputs) if layer.neuron else weight.new_ones(outputs)
    turned = NONE
    if first:
        rows = _rows(layer, "rows", weight.numpy().transpose(1, 2, 3, 0), taps=1)
    elif layer.convolution:  # columns first, then channels: a row of three columns is one run of events
        rows = _rows(layer, "rows", weight.numpy()[:, :, ::-1].transpose(3, 1, 2, 0), taps=3)
        turned = _rows(layer, "turned", weight.numpy()[:, :, :, ::-1].transpose(3, 0, 2, 1), taps=3) if training else turned
    else:
        by_pixel = _by_pixel(weight.numpy(), shape)
        rows = _rows(layer, "rows", by_pixel.transpose(2, 1, 0), taps=1)
        turned = _rows(layer, "turned", by_pixel.transpose(2, 0, 1), taps=1) if training else turned
    forward = Weights(
        rows=rows,
        bias=array(in_lane_groups(bias, outputs, fill=-math.inf)),
        threshold=array(in_lane_groups(threshold, outputs, fill=1.0)),
        start=array(in_lane_groups(_start_of(shape, by_columns=layer.convolution and not first), outputs).transpose(0, 1)),
    )
    return LayerWeights(effective, forward, turned)


def _by_pixel(weight: Array, shape: Shape) -> Array:
    """The weights of a linear layer, ``[outputs, channels, pixels]``; those of a channel's mean are shared by its pixels."""
    by_pixel: Array = weight.reshape(shape.outputs, shape.channels, -1)
    if shape.layer.averages:
        return np.broadcast_to(by_pixel / shape.pixels, (shape.outputs, shape.channels, shape.pixels))
    return by_pixel


def _start_of(shape: Shape, *, by_columns: bool) -> Tensor:
    """The membrane potentials before the first step, ``[pixels, channels]``; of one pixel where they are the same at all."""
    neuron = shape.layer.neuron
    start = neuron.start((shape.outputs, *(shape.map if shape.layer.convolution else ()))) if neuron else torch.zeros(())
    if start.dim() < 2 or start.shape[-2:] == (1, 1):
        return start.flatten().expand(shape.outputs)[None]
    start_CHW = start.expand(shape.outputs, *shape.map)
    return (start_CHW.mT if by_columns else start_CHW).flatten(1).T


def _rows(layer: Layer, name: str, weights: Array, *, taps: int) -> Array:
    """Weights whose last dimension is channels, as ``[G, events, taps, lanes]``."""
    *events, channels = weights.shape
    lanes = lanes_of(channels)
    rows = module_array(layer.synapses, name, num_lane_groups(channels), math.prod(events) // taps, taps, lanes)
    for number, lane_group in enumerate(rows):
        some = weights[..., number * lanes : (number + 1) * lanes]
        lane_group.reshape(*events, lanes)[..., : some.shape[-1]] = some
    return rows


def add_weight_gradient(weight: Tensor, total: Array, shape: Shape) -> None:
    """Add what ``backward.weight_gradient`` has summed up, over all spikes, to the gradient of a layer's ``weight``.

    ``total`` is divided in place by how many spikes an input is the mean of.
    """
    if shape.spikes_per_input > 1:
        total /= shape.spikes_per_input
    grad_OCP, lanes = _grad_of(weight).reshape(shape.outputs, shape.channels, -1), lanes_of(shape.channels)
    for number in range(total.shape[1]):
        some = grad_OCP[:, number * lanes : (number + 1) * lanes]
        summed_OPC = total[:, number].reshape(shape.outputs, -1, lanes)[..., : some.shape[1]]
        if shape.layer.averages:
            summed_OPC = summed_OPC.mean(axis=1, keepdims=True)
        some += summed_OPC.swapaxes(1, 2)


def add_image_gradient(weight: Tensor, total: Array, shape: Shape) -> None:
    """Add what ``first_layer.image_gradient`` has summed up to the gradient of the first layer's ``weight``."""
    grad_OP = _grad_of(weight).reshape(shape.outputs, -1)
    grad_OP += total.reshape(len(total), -1)[:, : shape.outputs].T


def add_bias_gradient(shape: Shape, total: Array) -> None:
    """Add what has been summed up for every output of a layer to the gradient of its bias, if it has one."""
    if shape.layer.synapses.bias is not None:
        grad_O = _grad_of(shape.layer.synapses.bias)
        grad_O += total.reshape(-1)[: shape.outputs]


def _grad_of(parameter: Tensor) -> Array:
    """Its gradient, of zeros if it has none yet.

    NumPy adds: torch would use threads of its own, which keep a core busy for milliseconds afterwards.
    """
    grad = parameter.grad
    parameter.grad = torch.from_numpy(np.zeros(parameter.shape, dtype=np.float32)) if grad is None else grad.contiguous()
    made: Array = parameter.grad.numpy()
    return made
