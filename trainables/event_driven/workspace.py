"""The arrays that one thread needs to take a group of images forward and backward: bits, and lists that are used again."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, TypedDict

import numpy as np

from trainables.event_driven.arrays import Array, kept, lanes_of, num_blocks, words, zeros
from trainables.event_driven.chain import Layer
from trainables.event_driven.forward import WORD_BITS

Map = tuple[int, int]
MOST_LISTED_BYTES, MOST_STEPS = 2**23, 8
"""Of the lists of one layer; what is not filled is never touched, and takes no memory."""
MOST_SAMPLED_BYTES = 2**21
"""Of the gradients of one layer."""
Take = Callable[..., Array]
OVERRUN = 16
"""What ``vectors.copy_events`` may write behind a list."""


@dataclass(frozen=True)
class Shape:
    """A layer's sizes: channels and map of its input, its own map, and that behind its pool.

    ``border`` is the width of the zeros that the next layer reads around that.
    """

    layer: Layer
    channels: int
    input_map: Map
    map: Map
    output_map: Map
    border: int

    @property
    def outputs(self) -> int:
        """Its channels."""
        return self.layer.channels

    @property
    def num_neurons(self) -> int:
        """Of one image."""
        return self.outputs * self.map[0] * self.map[1]

    @property
    def words_per_step(self) -> int:
        """Of the bits of one time step: masks, spikes, and pooled spikes with their border."""
        height, width = (side + 2 * self.border for side in self.output_map)
        return num_blocks(self.outputs) * (2 * self.map[0] * self.map[1] + height * width)


def shapes_of(layers: list[Layer], input_map: Map, channels: int) -> list[Shape]:
    """The sizes of a chain of layers for an input of so many channels."""
    shapes: list[Shape] = []
    for number, layer in enumerate(layers):
        map_ = input_map if layer.convolution else (1, 1)
        output_map = (map_[0] // 2, map_[1] // 2) if layer.pool else map_
        border = int(number + 1 < len(layers) and layers[number + 1].convolution)
        shapes.append(Shape(layer, channels, input_map, map_, output_map, border))
        input_map, channels = output_map, layer.channels
    return shapes


class Bits:
    """A layer's spikes, ``[images, T, height, width, words]``, pooled and with their border, and its masks if they are kept."""

    def __init__(self, shape: Shape, num_images: int, time_steps: int, *, keep_masks: bool) -> None:
        v, border = num_blocks(shape.outputs), shape.border
        self.keep = int(keep_masks)
        self.spikes = words(num_images, time_steps, *(side + 2 * border for side in shape.output_map), v)
        self.unpooled = words(num_images, time_steps, *shape.map, v) if shape.layer.pool else self.spikes
        self.unpooled_border = 0 if shape.layer.pool else border
        self.masks = words(num_images, time_steps, *shape.map, v) if keep_masks else words(1, 1, *shape.map, v)

    def part(self, num_images: int) -> "Bits":
        """Those of the first images."""
        smaller = copy.copy(self)
        smaller.spikes, smaller.unpooled = self.spikes[:num_images], self.unpooled[:num_images]
        smaller.masks = self.masks[:num_images]
        return smaller


class Means:
    """What stands for the bits of a layer where time steps are grouped: mean spikes and masks, and where masks are not 0."""

    def __init__(self, shape: Shape, num_images: int, num_groups: int) -> None:
        v, lanes, border = num_blocks(shape.outputs), lanes_of(shape.outputs), shape.border
        self.spikes = zeros(num_images, num_groups, *(side + 2 * border for side in shape.output_map), v, lanes)
        self.masks = zeros(num_images, num_groups, *shape.map, v, lanes)
        self.ever = words(num_images, num_groups, *shape.map, v)

    def part(self, num_images: int) -> "Means":
        """Those of the first images."""
        smaller = copy.copy(self)
        smaller.spikes, smaller.masks, smaller.ever = self.spikes[:num_images], self.masks[:num_images], self.ever[:num_images]
        return smaller


class Shared:
    """Arrays that layers use one after the other: those of one name lie in the same memory."""

    def __init__(self) -> None:
        self._num_bytes: dict[str, int] = {}
        self._memory: dict[str, Array] = {}

    def reserve(self, name: str, *shape: int, dtype: Any = np.float32) -> Array:
        """Say what a layer will take; before any does."""
        self._num_bytes[name] = max(self._num_bytes.get(name, 0), math.prod(shape) * np.dtype(dtype).itemsize)
        return zeros(0)

    def take(self, name: str, *shape: int, dtype: Any = np.float32) -> Array:
        """An array of any values."""
        if name not in self._memory:
            self._memory[name] = zeros(self._num_bytes[name], dtype=np.uint8)
        num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        made: Array = self._memory[name][:num_bytes].view(dtype).reshape(shape)
        return made


class ForwardLists:
    """What ``forward.spiking_layer`` needs beside weights and bits."""

    def __init__(self, shape: Shape, time_steps: int, take: Take) -> None:
        height, width = shape.input_map
        convolution = shape.layer.convolution
        most_events = height * width * shape.channels
        per_step = 4 * most_events * (3 if convolution else 1)
        steps = max(1, min(time_steps, MOST_STEPS, MOST_LISTED_BYTES // per_step))
        lanes, v = lanes_of(shape.outputs), num_blocks(shape.outputs)
        self.drive = zeros(lanes)
        self.counts = zeros(5, WORD_BITS, dtype=np.int32)
        self.potential = take("potential", v, shape.map[0] * shape.map[1], lanes)
        self.events = take("events", steps if convolution else 1, most_events + OVERRUN, dtype=np.int32)
        self.pointers = take("pointers", steps, height + 2, width + 3, dtype=np.int32)
        ends = (steps, height, width + 3) if convolution else (steps, 1, 4)
        self.windows = take("windows", steps, per_step // 4 + OVERRUN, dtype=np.int32)
        self.ends = take("ends", *ends, dtype=np.int32)
        self.ending = take("ending", *self._size_if(convolution, steps, per_step // 4 + OVERRUN), dtype=np.int32)
        self.ending_ends = take("ending_ends", *ends, dtype=np.int32)

    @staticmethod
    def _size_if(wanted: bool, *size: int) -> tuple[int, ...]:
        return size if wanted else (1,) * len(size)


class _Options(TypedDict):
    scaled: bool
    thread: int


class BackwardLists:
    """The gradients of a layer's neurons as events, by place and by channel, for so many samples at once."""

    def __init__(self, shape: Shape, num_samples: int, take: Take, *, scaled: bool, thread: int) -> None:
        height, width = shape.map
        pixels, convolution = height * width, shape.layer.convolution
        self.events = take("events", num_samples, pixels * shape.outputs + OVERRUN, dtype=np.int32)
        self.values = take("values", num_samples, pixels * shape.outputs + OVERRUN)
        self.pointers = take("pointers", num_samples, height, width + 3, dtype=np.int32)
        self.offsets = take("offsets", shape.outputs, num_samples * pixels, dtype=np.int32)
        self.shares = take("shares", shape.outputs, num_samples * pixels)
        self.counts = take("counts", shape.outputs, dtype=np.int64)
        self.windows = take("windows", 3 * width * shape.outputs + 2 * OVERRUN, dtype=np.int32)
        self.window_shares = take("window_shares", 3 * width * shape.outputs + 2 * OVERRUN)
        self.ends = take("ends", width + 3, dtype=np.int64)
        words_in, lanes_in = num_blocks(shape.channels), lanes_of(shape.channels)
        self.gradient = take("gradient", shape.input_map[1], words_in, lanes_in)
        self.strides = self._strides(shape, lanes_in if scaled else 1)
        self.zeros = zeros(lanes_in)
        rows = (3, 3) if convolution else (shape.input_map[0] * shape.input_map[1], 1)
        self.total = kept(shape.layer.synapses, f"gradient {thread}", shape.outputs, words_in, *rows, lanes_in)
        self.total_bias = zeros(shape.outputs)

    @property
    def by_place(self) -> tuple[Array, Array, Array]:
        """Channel and place, value, and where those of a pixel begin."""
        return self.events, self.values, self.pointers

    @property
    def by_channel(self) -> tuple[Array, Array, Array]:
        """Offset into the input's bits, value, and how many a channel has."""
        return self.offsets, self.shares, self.counts

    @staticmethod
    def _strides(shape: Shape, words_per_block: int) -> Array:
        """Bytes of the layer's input from sample to sample, row to row and pixel to pixel; and the border of its events."""
        pixel = 4 * num_blocks(shape.channels) * words_per_block
        height, width = shape.input_map
        if shape.layer.convolution:
            return np.array([pixel * (height + 2) * (width + 2), pixel * (width + 2), pixel, 1])
        return np.array([pixel * height * width, 0, 0, 0])


class Workspace:
    """The arrays of one thread for a group of images, forward."""

    def __init__(self, shapes: list[Shape], num_images: int, time_steps: int, *, keep_masks: bool = False) -> None:
        self.num_images = num_images
        self.bits = [Bits(shape, num_images, time_steps, keep_masks=keep_masks) for shape in shapes]
        shared = Shared()
        for take in (shared.reserve, shared.take):
            self.forward = [ForwardLists(shape, time_steps, take) for shape in shapes]
        last = shapes[-1].outputs
        first = shapes[0]
        self.drive = zeros(num_images, 1, first.map[0] * first.map[1], num_blocks(first.outputs), lanes_of(first.outputs))
        self.results = zeros(num_images, time_steps, num_blocks(last), lanes_of(last))

    def part(self, num_images: int) -> Self:
        """The same arrays for fewer images."""
        if num_images == self.num_images:
            return self
        smaller = copy.copy(self)
        smaller.num_images, smaller.bits = num_images, [bits.part(num_images) for bits in self.bits]
        smaller.drive, smaller.results = self.drive[:num_images], self.results[:num_images]
        return smaller


class TrainingWorkspace(Workspace):
    """The same, and what goes backward: samples are time steps, or so many groups of them."""

    def __init__(self, shapes: list[Shape], num_images: int, time_steps: int, num_groups: int | None, thread: int) -> None:
        super().__init__(shapes, num_images, time_steps, keep_masks=True)
        self.means = [Means(shape, num_images, num_groups) for shape in shapes] if num_groups else []
        bytes_per_sample = 8 * max(shape.num_neurons for shape in shapes)
        samples = num_images * (num_groups or time_steps)
        self.num_samples = min(samples, max(1, MOST_SAMPLED_BYTES // bytes_per_sample))
        self.backward = self._backward_lists(shapes, scaled=bool(num_groups), thread=thread)
        first = shapes[0]
        pixels = first.map[0] * first.map[1]
        self.first_total = zeros(num_images, pixels, num_blocks(first.outputs), lanes_of(first.outputs))

    def _backward_lists(self, shapes: list[Shape], *, scaled: bool, thread: int) -> list[BackwardLists]:
        """A layer's are needed until those of the one before it are there, so that every other layer uses the same."""
        shared, options = (Shared(), Shared()), _Options(scaled=scaled, thread=thread)
        for number, shape in enumerate(shapes):
            BackwardLists(shape, self.num_samples, shared[number % 2].reserve, **options)
        return [BackwardLists(shape, self.num_samples, shared[number % 2].take, **options) for number, shape in enumerate(shapes)]

    def part(self, num_images: int) -> Self:
        """The same arrays for fewer images."""
        smaller = super().part(num_images)
        if smaller is not self:
            smaller.means = [means.part(num_images) for means in self.means]
            smaller.first_total = self.first_total[:num_images]
        return smaller
