"""The cost metrics of a batch, counted from its bits: spikes, operations, and neurons that have ever been active.

The spikes of output neurons are not among them: their read-out counts those.
"""

from functools import reduce

import numpy as np
import torch
from torch import Tensor

from trainables.kernels.cpu.compiled.arrays import Array, lanes_of, num_lane_groups, words, zeros
from trainables.kernels.cpu.compiled.counting import count_operations, count_spikes
from trainables.kernels.cpu.layer_shapes import Shape
from trainables.kernels.cpu.weights import array, in_lane_groups
from trainables.kernels.cpu.workspace import Workspace
from trainables.spiking.costs import OperationCounter


def _met(spikes_NTHWV: Array, shape: Shape) -> tuple[Array, bool]:
    """Bits where inputs are not 0, and whether all of those are 1 rather than a mean of several spikes."""
    each = shape.spikes_per_input
    if each == 1 and not shape.layer.averages:
        return spikes_NTHWV, True
    several = [spikes_NTHWV[..., first::each] for first in range(each)]
    some, all_ = reduce(np.bitwise_or, several), reduce(np.bitwise_and, several)
    if shape.layer.averages:  # the map is one pixel then
        some = np.bitwise_or.reduce(some, axis=(2, 3), keepdims=True)
        all_ = np.bitwise_and.reduce(all_, axis=(2, 3), keepdims=True)
    return some, bool((some == all_).all())


class BatchCosts:
    """What a batch costs, gathered from every part of its images, for an ``OperationCounter``."""

    def __init__(self, shapes: list[Shape], time_steps: int, counter: OperationCounter, images_BCHW: Tensor) -> None:
        self._shapes, self._counter, self._images_BCHW = shapes, counter, images_BCHW
        self._num_spikes = [np.zeros(time_steps, dtype=np.int64) for _ in shapes]
        self._ever = [words(*shape.map, num_lane_groups(shape.outputs)) for shape in shapes]
        self._operations = [np.zeros(time_steps) for _ in shapes]
        self._binary = [True for _ in shapes]
        self._fan_out = [self._by_event(shape) for shape in shapes]

    def _by_event(self, shape: Shape) -> Array:
        """How many weights a spike of each input meets, ``[H, W, G, lanes]``."""
        layer, size = shape.layer, (shape.channels, *((1, 1) if shape.layer.averages else shape.input_map))
        fan_out_N = self._counter.fan_out(layer.name, layer.synapses, torch.Size(size))
        return array(in_lane_groups(fan_out_N.float().view(size).permute(1, 2, 0), shape.channels))

    def add(self, space: Workspace) -> None:
        """Count the bits of some images."""
        for number, layer_outputs in enumerate(space.layer_outputs):
            count_spikes(layer_outputs.spikes, layer_outputs.border, self._num_spikes[number], self._ever[number])
        for number, shape in enumerate(self._shapes):
            if number:
                before = self._shapes[number - 1]
                lanes = lanes_of(before.outputs)
                spikes, binary = _met(space.layer_outputs[number - 1].pooled, shape)
                self._binary[number] &= binary
                total = self._operations[number]
                count_operations(lanes, spikes, before.border, self._fan_out[number], zeros(lanes), total)

    def tell(self) -> None:
        """Hand everything that was counted to the counter."""
        counter, first = self._counter, self._shapes[0].layer
        counter.inputs(first.name, first.synapses, self._images_BCHW[None])
        for number, shape in enumerate(self._shapes):
            layer = shape.layer
            if number:
                counter.add_operations(layer.synapses, torch.from_numpy(self._operations[number]), binary=self._binary[number])
            if layer.neuron is not None:
                ever = np.unpackbits(self._ever[number].view(np.uint8), axis=-1, count=shape.outputs, bitorder="little")
                counter.add_activity(layer.name, torch.from_numpy(self._num_spikes[number]), torch.from_numpy(ever.astype(bool)))
