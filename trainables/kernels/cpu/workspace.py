"""The arrays that one thread needs to take a few images forward and backward: bits, and scratch memory that layers share."""

import copy
import math
from collections.abc import Callable
from typing import Any, Self, TypedDict

import numpy as np

from trainables.kernels.cpu.compiled.arrays import Array, lanes_of, module_array, num_lane_groups, words, zeros
from trainables.kernels.cpu.compiled.backward import ByChannel, ByPlace, InputStrides
from trainables.kernels.cpu.compiled.forward import Events, LayerBuffers, LayerOutputs
from trainables.kernels.cpu.compiled.pooling import WORD_BITS
from trainables.kernels.cpu.compiled.vectors import WINDOW
from trainables.kernels.cpu.layer_shapes import Shape
from trainables.kernels.cpu.memory_limits import MOST_SAMPLED_BYTES

Take = Callable[..., Array]
OVERRUN = 16
"""How many events ``bit_lists.list_bits`` may write beyond the end of a list."""


class BufferPool:
    """Scratch memory that layers use one after the other: arrays of the same name lie in the same place.

    All layers first ``reserve`` what they will need, then ``take`` it: the memory is that of the largest.
    """

    def __init__(self) -> None:
        self._num_bytes: dict[str, int] = {}
        self._memory: dict[str, Array] = {}

    def reserve(self, name: str, *shape: int, dtype: Any = np.float32) -> Array:
        """Say what a layer will take; an empty array stands in for it."""
        self._num_bytes[name] = max(self._num_bytes.get(name, 0), math.prod(shape) * np.dtype(dtype).itemsize)
        return zeros(*[0] * len(shape), dtype=dtype)

    def take(self, name: str, *shape: int, dtype: Any = np.float32) -> Array:
        """An array whose values are whatever was there."""
        if name not in self._memory:
            self._memory[name] = zeros(self._num_bytes[name], dtype=np.uint8)
        num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        made: Array = self._memory[name][:num_bytes].view(dtype).reshape(shape)
        return made


def layer_outputs_of(shape: Shape, num_images: int, time_steps: int, take: Take, *, first: bool, training: bool) -> LayerOutputs:
    """Where a layer's bits are written. Only evaluation needs the spikes in front of a pool, and only training needs masks."""
    v, map_, border, pool = num_lane_groups(shape.outputs), shape.map, shape.border, shape.layer.pool
    pooled = words(num_images, time_steps, *(side + 2 * border for side in shape.output_map), v * shape.spikes_per_output)
    masks_kept = training and not (first and pool is None)  # without a pool, a constant drive's mask never changes
    masks = words(num_images, time_steps, *map_, v) if masks_kept else take("mask", 1, 1, *map_, v, dtype=np.uint32)
    spikes = pooled
    if pool and training:
        spikes = take("unpooled", 1, shape.steps_at_once(time_steps), *map_, v, dtype=np.uint32)
    elif pool:
        spikes = words(num_images, time_steps, *map_, v)
    return LayerOutputs(
        spikes=spikes,
        border=0 if pool else border,
        spikes_kept=int(not (pool and training)),
        masks=masks,
        masks_kept=int(masks_kept),
        pooled=pooled,
        pooled_border=border,
        pools=pool in ("or", "mean"),
        mean=pool == "mean",
    )


def part_of(layer_outputs: LayerOutputs, num_images: int) -> LayerOutputs:
    """A layer's outputs for the first ``num_images`` images, in the same memory."""
    masks, spikes = layer_outputs.masks[:num_images], layer_outputs.spikes[:num_images]
    return layer_outputs._replace(masks=masks, spikes=spikes, pooled=layer_outputs.pooled[:num_images])


class Means:
    """What a rate-collapsed gradient keeps of a layer: mean spikes and masks of groups of steps, and where masks are not 0."""

    def __init__(self, shape: Shape, num_images: int, num_groups: int, *, with_masks: bool) -> None:
        v, lanes, border = num_lane_groups(shape.outputs), lanes_of(shape.outputs), shape.border
        self.spikes = zeros(num_images, num_groups, *(side + 2 * border for side in shape.output_map), v, lanes)
        self.masks = zeros(num_images if with_masks else 0, num_groups, *shape.map, v, lanes)
        self.ever = words(num_images if with_masks else 0, num_groups, *shape.map, v)

    def part(self, num_images: int) -> "Means":
        """The means of the first ``num_images`` images, in the same memory."""
        smaller = copy.copy(self)
        smaller.spikes, smaller.masks, smaller.ever = self.spikes[:num_images], self.masks[:num_images], self.ever[:num_images]
        return smaller


class Images:
    """The images that a thread takes at once, with a border of zeros, and the first layer's drives."""

    def __init__(self, shape: Shape, num_images: int) -> None:
        height, width = shape.map
        num_taps = shape.channels * WINDOW * WINDOW
        self.values = zeros(num_images, shape.channels, height + 2, width + 2)
        self.drives = zeros(num_images, 1, height * width, num_lane_groups(shape.outputs), lanes_of(shape.outputs))
        self.patch, self.taps = zeros(num_taps), np.arange(num_taps, dtype=np.int32)

    def part(self, num_images: int) -> "Images":
        """The first ``num_images`` images, in the same memory."""
        smaller = copy.copy(self)
        smaller.values, smaller.drives = self.values[:num_images], self.drives[:num_images]
        return smaller


class ForwardLists:
    """The scratch memory of a layer in the forward pass; ``drives`` are those of a linear layer."""

    def __init__(self, shape: Shape, num_images: int, time_steps: int, take: Take) -> None:
        height, width = shape.input_map
        lanes, v, steps = lanes_of(shape.outputs), num_lane_groups(shape.outputs), shape.steps_at_once(time_steps)
        steps, rows = (steps, height) if shape.layer.convolution else (1, 0)

        def events(name: str) -> Events:
            most = height * width * shape.channels * shape.spikes_per_input
            listed = take(name, steps, most + OVERRUN, dtype=np.int32)
            return Events(listed, take(f"{name} pointers", steps, rows + 2, width + 3, dtype=np.int32))

        self.counts = zeros(5, WORD_BITS, dtype=np.int32)
        self.drives = take("drives", *((0,) if shape.layer.convolution else (num_images,)), time_steps, 1, v, lanes)
        potential = take("potential", v, shape.map[0] * shape.map[1], lanes)
        self.buffers = LayerBuffers(
            beginning=events("beginning"),
            ending=events("ending"),
            potential=potential,
            drives=zeros(height, lanes),
        )


class _Options(TypedDict):
    scaled: bool
    thread: int


class BackwardLists:
    """The gradients of a layer's neurons as events, by place and by channel, for ``num_samples`` at once.

    Behind a mean pool the layer's inputs are counts of several spikes, which are summed into ``sums`` first, unless they are
    means of groups of steps (``scaled``), which are floats already.
    """

    def __init__(self, shape: Shape, num_samples: int, take: Take, *, scaled: bool, thread: int) -> None:
        height, width = shape.map
        most = shape.most_passing(grouped=scaled)
        self.by_place = ByPlace(
            events=take("events", num_samples, most * shape.outputs, dtype=np.int32),
            values=take("values", num_samples, most * shape.outputs),
            pointers=take("pointers", num_samples, height, width + 3, dtype=np.int32),
        )
        self.by_channel = ByChannel(
            offsets=take("offsets", shape.outputs, num_samples * most, dtype=np.int32),
            shares=take("shares", shape.outputs, num_samples * most),
            counts=take("counts", shape.outputs, dtype=np.int64),
        )
        words_in, lanes_in = num_lane_groups(shape.channels), lanes_of(shape.channels)
        border = int(shape.layer.convolution)
        padded = [side + 2 * border for side in shape.input_map]
        self.sums_inputs = shape.spikes_per_input > 1 and not scaled
        self.sums = take("sums", num_samples if self.sums_inputs else 0, *padded, words_in, lanes_in)
        self.offsets = np.arange(0, 4 * shape.spikes_per_input, 4, dtype=np.int32)
        self.ones = np.ones(shape.spikes_per_input, dtype=np.float32)
        num_rows = 3 if shape.layer.convolution else shape.input_map[0] + 1
        self.gradient = zeros(num_rows, shape.input_map[1], words_in, lanes_in)
        self.strides = self._strides(shape, lanes_in if scaled or self.sums_inputs else 1)
        rows = (3, 3) if shape.layer.convolution else (shape.input_map[0] * shape.input_map[1], 1)
        self.total = module_array(shape.layer.synapses, f"gradient {thread}", shape.outputs, words_in, *rows, lanes_in)
        self.total_bias = zeros(shape.outputs)

    @staticmethod
    def _strides(shape: Shape, words_per_lane_group: int) -> InputStrides:
        pixel = 4 * num_lane_groups(shape.channels) * words_per_lane_group
        height, width = shape.input_map
        if shape.layer.convolution:
            return InputStrides(pixel * (height + 2) * (width + 2), pixel * (width + 2), pixel, border=1)
        return InputStrides(pixel * height * width, 0, 0, border=0)


class Workspace:
    """The arrays of one thread for a few images, forward.

    Where the first layer ``fires_again`` its spikes are not stored: it is simulated once more from its constant drives when they
    are needed, some steps at a time.
    """

    training = False
    fires_again = False

    def __init__(self, shapes: list[Shape], num_images: int, time_steps: int) -> None:
        self.num_images = num_images
        self.images = Images(shapes[0], num_images)
        shared = BufferPool()
        for take in (shared.reserve, shared.take):
            self.layer_outputs = [
                layer_outputs_of(shape, num_images, time_steps, take, first=number == 0, training=self.training)
                for number, shape in enumerate(shapes[:-1])
            ]
            self.forward = [ForwardLists(shape, num_images, time_steps, take) for shape in shapes]
        self.first_potential = self.forward[0].buffers.potential

    def bytes_per_image(self) -> int:
        """The bytes that grow with the number of images."""
        num = self.images.values.nbytes + self.images.drives.nbytes
        for layer_outputs in self.layer_outputs[int(self.fires_again) :]:
            num += layer_outputs.pooled.nbytes + layer_outputs.masks.nbytes * layer_outputs.masks_kept
            num += layer_outputs.spikes.nbytes * (layer_outputs.spikes_kept and layer_outputs.spikes is not layer_outputs.pooled)
        return num

    def part(self, num_images: int) -> Self:
        """This workspace for the first ``num_images`` of its images, in the same memory."""
        if num_images == self.num_images:
            return self
        smaller = copy.copy(self)
        smaller.num_images, smaller.images = num_images, self.images.part(num_images)
        smaller.layer_outputs = [part_of(layer_outputs, num_images) for layer_outputs in self.layer_outputs]
        return smaller


class TrainingWorkspace(Workspace):
    """The arrays of one thread for a few images, forward and backward; samples are time steps, or groups of them."""

    training = True

    def __init__(self, shapes: list[Shape], num_images: int, time_steps: int, num_groups: int | None, thread: int) -> None:
        super().__init__(shapes, num_images, time_steps)
        self.means = [
            Means(shape, num_images, num_groups, with_masks=bool(layer_outputs.masks_kept))
            for shape, layer_outputs in zip(shapes[:-1], self.layer_outputs, strict=True)
            if num_groups
        ]
        bytes_per_sample = 8 * max(shape.outputs * shape.most_passing(grouped=False) for shape in shapes[1:])
        self.samples_per_image = num_groups or time_steps
        self.num_samples = min(num_images * self.samples_per_image, max(1, MOST_SAMPLED_BYTES // bytes_per_sample))
        self.backward = self._backward_lists(shapes, scaled=bool(num_groups), thread=thread)
        first, second = shapes[:2]
        v, lanes, (height, width) = num_lane_groups(first.outputs), lanes_of(first.outputs), first.map
        self.fires_again = not num_groups and first.layer.pool is None and second.layer.convolution
        if self.fires_again:
            steps, map_ = max(second.steps_at_once(time_steps), self.num_samples), self.layer_outputs[0].pooled.shape[2:]
            some = words(1, steps, *map_)
            self.layer_outputs[0] = self.layer_outputs[0]._replace(spikes=some, pooled=some)
            self.first_potential = zeros(v, height * width, lanes)
        self.first_sums = zeros(num_images, height + 2, width, v, lanes)
        self.first_total, self.first_total_bias = zeros(first.channels * WINDOW * WINDOW, v, lanes), zeros(v, lanes)
        self.columns, self.ones = np.arange(0, width * v, v, dtype=np.int32), np.ones(width, dtype=np.float32)

    def _backward_lists(self, shapes: list[Shape], *, scaled: bool, thread: int) -> list[BackwardLists]:
        """A layer's lists are needed only until those of the layer before are made: two sets, used in turns, are enough."""
        in_turns, options = (BufferPool(), BufferPool()), _Options(scaled=scaled, thread=thread)
        for number, shape in enumerate(shapes):
            BackwardLists(shape, self.num_samples, in_turns[number % 2].reserve, **options)
        return [
            BackwardLists(shape, self.num_samples, in_turns[number % 2].take, **options) for number, shape in enumerate(shapes)
        ]

    def bytes_per_image(self) -> int:
        """The bytes that grow with the number of images."""
        arrays = [array for means in self.means for array in (means.spikes, means.masks, means.ever)]
        return super().bytes_per_image() + sum(array.nbytes for array in [*arrays, self.first_sums])

    def part(self, num_images: int) -> Self:
        """This workspace for the first ``num_images`` of its images, in the same memory."""
        smaller = super().part(num_images)
        if smaller is not self:
            smaller.means = [means.part(num_images) for means in self.means]
            smaller.first_sums = self.first_sums[:num_images]
        return smaller
