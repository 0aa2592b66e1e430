"""The forward pass of one layer: lists of spikes, sums of their weights, neurons, bits. docs/kernels.md has drawings.

Shapes: N images, T time steps, height and width, V words (uint32), each the bits of 32 channels. ``border`` is the width of the
zeros around a map that a convolution reads. Channels stand in G lane groups of ``lanes`` channels, 16 or 32, one word each. An
event is a spike, written as the number of the weight rows that it adds. Behind a mean pool a lane group has four words, and every
event a quarter of the weight: see ``pooling``.

A convolution takes one column of its output at a time: the events of three columns of the input stand in one piece for every row
and step, and each of them adds three rows of weights to three drives, one above the other. Those stay in registers while rows
come in from top to bottom.

From one step to the next most spikes of a constant image stay as they are. Where that is so, a step's drive is the one before it
plus the rows of the spikes that begin, less those of the spikes that end; every list of steps begins with a whole sum.
"""

from typing import Any, NamedTuple

import numpy as np

from trainables.kernels.cpu.compiled.arrays import Array
from trainables.kernels.cpu.compiled.bit_lists import list_bits
from trainables.kernels.cpu.compiled.compiling import inlined, kernel
from trainables.kernels.cpu.compiled.firing import Column, Kind, fire, fire_column
from trainables.kernels.cpu.compiled.pooling import WORD_BITS, pool_mean, pool_or
from trainables.kernels.cpu.compiled.vectors import WINDOW, sum_rows


class Weights(NamedTuple):
    """The numbers of a layer, float32.

    Attributes:
        rows: What an event adds to the drives, ``[G, events, taps, lanes]``; taps are 3 for a convolution, 1 for a linear layer.
        bias: ``[G, lanes]``; -∞ in lanes without a channel, which have no spikes and let no gradient pass.
        threshold: The firing threshold, ``[G, lanes]``; 1 in lanes without a channel.
        start: The membrane potential before the first step, ``[G, pixels, lanes]`` in the order of the potentials, or
            ``[G, 1, lanes]`` where it is the same at all pixels.
    """

    rows: Array
    bias: Array
    threshold: Array
    start: Array


class Events(NamedTuple):
    """Lists of events of some time steps, int32.

    Attributes:
        events: ``[steps, most]``; only the beginning of a list is filled.
        pointers: Where in the list the events of pixel (y, x) of the padded map begin, ``[steps, height + 2, width + 3]``; behind
            the last pixel of a row stands where it ends. Pixels of the border have no events.
    """

    events: Array
    pointers: Array


class LayerOutputs(NamedTuple):
    """Where the bits of a layer are written.

    ``spikes_kept`` and ``masks_kept`` are factors of an index. Where they are 1, every image and step has a place of its own;
    where they are 0, all images and steps write over the same place, because nobody reads it later.

    Attributes:
        spikes: ``[N, T, height, width, V]`` with a border around the map; where ``spikes_kept`` is 0, ``[1, steps, …]``, which
            the pool behind reads at once. Without a pool, the same array as ``pooled``.
        border: The width of that border, in pixels.
        spikes_kept: 1 or 0.
        masks: Bits where the gradient passes the clamp of the drive and goes through the pool, ``[N, T, height, width, V]``;
            where ``masks_kept`` is 0, ``[1, 1, …]``.
        masks_kept: 1 or 0.
        pooled: The spikes behind the pool, ``[N, T, height, width, V]`` with a border; of a mean pool four times as many words.
        pooled_border: The width of its border, in pixels.
        pools: Whether a pool by logical OR or by mean follows.
        mean: Whether it is by mean.
    """

    spikes: Array
    border: int
    spikes_kept: int
    masks: Array
    masks_kept: int
    pooled: Array
    pooled_border: int
    pools: bool
    mean: bool


class FirstLayerState(NamedTuple):
    """What is needed to simulate the first layer once more. Its drive is constant, so that its spikes need not be stored.

    Attributes:
        kind: What its neurons do.
        drive: ``[N, 1, pixels, G, lanes]``.
        weights: For its threshold and start.
        potential: The membrane potentials where it stopped, ``[G, pixels, lanes]``, which are written over.
        mask: Where masks that nobody reads are written.
        border: The width of the border of its spikes, in pixels.
        fires_again: Whether its spikes are made when they are read; else they are stored, and this is not used.
    """

    kind: Kind
    drive: Array
    weights: Weights
    potential: Array
    mask: Array
    border: int
    fires_again: bool


class LayerBuffers(NamedTuple):
    """The scratch memory of a layer.

    Attributes:
        beginning: Spikes that begin at a step; of a whole sum, all spikes.
        ending: Spikes of the step before that are no more.
        potential: Membrane potentials of one image, ``[G, pixels, lanes]``; of a convolution column after column.
        drives: The drives of a column of pixels, ``[height, lanes]``.
    """

    beginning: Events
    ending: Events
    potential: Array
    drives: Array


WORTH_IT = 0.8
"""Changes are listed, rather than spikes, where there are fewer than this many per spike."""


@inlined
def _num_bits(word: Any) -> int:
    pairs = word - ((word >> np.uint32(1)) & np.uint32(0x55555555))
    fours = (pairs & np.uint32(0x33333333)) + ((pairs >> np.uint32(2)) & np.uint32(0x33333333))
    eights = (fours + (fours >> np.uint32(4))) & np.uint32(0x0F0F0F0F)
    return int(np.uint32(eights * np.uint32(0x01010101)) >> np.uint32(24))


@kernel
def changes_are_fewer(spikes_TP: Any) -> bool:
    """Whether listing changes from step to step costs less than listing spikes; ``[T, words of the map]``."""
    spikes = changes = 0
    for t in range(1, spikes_TP.shape[0]):
        before, now = spikes_TP[t - 1], spikes_TP[t]
        for place in range(len(now)):
            spikes += _num_bits(now[place])
            changes += _num_bits(now[place] ^ before[place])
    return changes < WORTH_IT * spikes


@kernel
def list_rows(spikes_THWV: Any, channels: int, by_changes: bool, beginning: Any, ending: Any) -> None:
    """List the spikes of every row of a map as ``x · channels + c``; those of (y, x) begin at ``pointers[t, y, x]``.

    With ``by_changes``, ``beginning`` gets the spikes that were not there a step before, and ``ending`` those that have gone.
    """
    time_steps, height, width, num_words = spikes_THWV.shape
    num_lane_groups = -(-channels // WORD_BITS)
    words_per_lane_group = num_words // num_lane_groups
    events, pointers = beginning
    endings, ending_pointers = ending
    for t in range(time_steps):
        n, n_ending = 0, 0
        into, into_ending = events.ctypes.data + 4 * t * events.shape[1], endings.ctypes.data + 4 * t * endings.shape[1]
        for y in range(height):
            for x in range(width):
                pointers[t, y, x], ending_pointers[t, y, x] = n, n_ending
                for g in range(num_lane_groups):
                    first = x * channels + g * WORD_BITS
                    for w in range(g * words_per_lane_group, (g + 1) * words_per_lane_group):
                        now = spikes_THWV[t, y, x, w]
                        if by_changes and t > 0:
                            before = spikes_THWV[t - 1, y, x, w]
                            n_ending += list_bits(before & ~now, first, into_ending + 4 * n_ending)
                            now &= ~before
                        n += list_bits(now, first, into + 4 * n)
            pointers[t, y, width], ending_pointers[t, y, width] = n, n_ending


@kernel
def list_all(spikes_HWV: Any, channels: int, events: Any) -> int:
    """List the spikes of a whole map as ``(y · width + x) · channels + c``, and return how many there are."""
    height, width, num_words = spikes_HWV.shape
    words_per_lane_group = num_words // -(-channels // WORD_BITS)
    n = 0
    for pixel in range(height * width):
        for w in range(num_words):
            word = spikes_HWV[pixel // width, pixel % width, w]
            n += list_bits(word, pixel * channels + w // words_per_lane_group * WORD_BITS, events.ctypes.data + 4 * n)
    return n


@kernel
def _reset(potential: Any, start: Any) -> None:
    differs = start.shape[1] > 1
    for g in range(potential.shape[0]):
        for pixel in range(potential.shape[1]):
            for c in range(potential.shape[2]):
                potential[g, pixel, c] = start[g, pixel * differs, c]


@kernel
def _steps_of(layer_outputs: Any, image: int, first: int, last: int) -> Any:
    """The spikes and masks of some steps of an image; see ``LayerOutputs`` for the factors."""
    start = first * layer_outputs.spikes_kept
    spikes = layer_outputs.spikes[image * layer_outputs.spikes_kept, start : start + last - first]
    return spikes, layer_outputs.masks[image * layer_outputs.masks_kept, first * layer_outputs.masks_kept :]


@kernel
def _pool(layer_outputs: Any, image: int, first: int, last: int) -> None:
    spikes, masks = _steps_of(layer_outputs, image, first, last)
    pooled = layer_outputs.pooled[image, first:last]
    if layer_outputs.mean:
        pool_mean(spikes, pooled, layer_outputs.pooled_border, masks, layer_outputs.masks_kept)
    else:
        pool_or(spikes, pooled, layer_outputs.pooled_border, masks, layer_outputs.masks_kept)


@kernel
def driven_layer(kind: Any, drive: Any, weights: Any, potential: Any, layer_outputs: Any, most_steps: int) -> None:
    """Simulate neurons whose drives are computed already, ``[N, T, pixels, G, lanes]``, or with T = 1 if they are constant.

    ``most_steps`` is how many time steps are simulated before the pool behind takes their spikes.
    """
    num_images, time_steps = drive.shape[0], layer_outputs.pooled.shape[1]
    for image in range(num_images):
        _reset(potential, weights.start)
        for first in range(0, time_steps, most_steps):
            last = min(first + most_steps, time_steps)
            some = drive[image, first * (drive.shape[1] > 1) :]
            spikes, masks = _steps_of(layer_outputs, image, first, last)
            border, masks_kept = layer_outputs.border, layer_outputs.masks_kept
            _fire_driven(kind, some, drive.shape[1] > 1, weights.threshold, potential, spikes, border, masks, masks_kept)
            if layer_outputs.pools:
                _pool(layer_outputs, image, first, last)


@kernel
def fire_again(first_layer: Any, first: int, per_image: int, spikes_SHWV: Any) -> None:
    """Simulate the first layer at some steps, whose spikes were not stored.

    The steps of all images are numbered one after the other, ``per_image`` each; ``first`` is the first of these. They must be
    asked for in order, as the membrane potentials are those of the step before.
    """
    threshold, potential = first_layer.weights.threshold, first_layer.potential
    for s in range(spikes_SHWV.shape[0]):
        image, t = (first + s) // per_image, (first + s) % per_image
        if t == 0:
            _reset(potential, first_layer.weights.start)
        spikes, drive = spikes_SHWV[s : s + 1], first_layer.drive[image]
        _fire_driven(first_layer.kind, drive, False, threshold, potential, spikes, first_layer.border, first_layer.mask, 0)


@kernel
def _fire_driven(
    kind: Any,
    drive: Any,
    varies: bool,
    threshold: Any,
    potential: Any,
    spikes_THWV: Any,
    border: int,
    masks: Any,
    masks_kept: int,
) -> None:
    """Simulate the neurons of one image at some steps, pixel by pixel; the drive is constant in time unless it ``varies``."""
    time_steps, padded_height, padded_width, num_words = spikes_THWV.shape
    width, num_pixels = padded_width - 2 * border, drive.shape[1]
    row_bytes, pixel_bytes = 4 * kind.lanes, 4 * num_words
    drive_step = row_bytes * num_words * num_pixels * varies
    for pixel in range(num_pixels):
        for g in range(num_words):
            d = drive.ctypes.data + row_bytes * (pixel * num_words + g)
            v = potential.ctypes.data + row_bytes * (g * num_pixels + pixel)
            s = spikes_THWV.ctypes.data
            s += pixel_bytes * ((pixel // width + border) * padded_width + pixel % width + border) + 4 * g
            m = masks.ctypes.data + (pixel_bytes * pixel + 4 * g) * masks_kept
            for t in range(time_steps):
                fire(
                    kind,
                    d + drive_step * t,
                    v,
                    threshold.ctypes.data + row_bytes * g,
                    s + pixel_bytes * padded_height * padded_width * t,
                    m + pixel_bytes * num_pixels * t * masks_kept,
                )


@kernel
def convolution_layer(
    kind: Any, inputs_NTHWV: Any, channels: int, weights: Any, buffers: Any, layer_outputs: Any, first_layer: Any
) -> None:
    """Simulate neurons that spikes drive through a 3x3 convolution.

    ``weights.rows`` are ``[G, 3 · channels, 3, lanes]``: for the events of three columns of pixels, what they add to the drives
    of the row above, of their own row, and of the row below. Where the first layer fires again, ``inputs_NTHWV`` has room for
    some of its steps only.
    """
    num_images, time_steps = layer_outputs.pooled.shape[:2]
    potential, most_steps = buffers.potential, len(buffers.beginning.events)
    for image in range(num_images):
        _reset(potential, weights.start)
        for first in range(0, time_steps, most_steps):
            last = min(first + most_steps, time_steps)
            if first_layer.fires_again:
                inputs = inputs_NTHWV[0, : last - first]
                fire_again(first_layer, image * time_steps + first, time_steps, inputs)
            else:
                inputs = inputs_NTHWV[image, first:last]
            by_changes = changes_are_fewer(inputs.reshape(last - first, -1))
            list_rows(inputs, channels, by_changes, buffers.beginning, buffers.ending)
            spikes, masks = _steps_of(layer_outputs, image, first, last)
            border, masks_kept = layer_outputs.border, layer_outputs.masks_kept
            for g in range(spikes.shape[3]):
                for x in range(spikes.shape[2] - 2 * border):
                    _fire_columns(kind, g, x, channels, weights, buffers, by_changes, spikes, border, masks, masks_kept)
            if layer_outputs.pools:
                _pool(layer_outputs, image, first, last)


@kernel
def _fire_columns(
    kind: Any,
    g: int,
    x: int,
    channels: int,
    weights: Any,
    buffers: Any,
    by_changes: bool,
    spikes_THWV: Any,
    border: int,
    masks: Any,
    masks_kept: int,
) -> None:
    """Simulate one lane group of a column of pixels at all steps."""
    time_steps, padded_height, padded_width, num_words = spikes_THWV.shape
    height, width = padded_height - 2 * border, padded_width - 2 * border
    row_bytes, pixel_bytes = 4 * kind.lanes, 4 * num_words
    events, pointers = buffers.beginning
    ending, ending_pointers = buffers.ending
    rows = weights.rows.ctypes.data + WINDOW * row_bytes * (g * weights.rows.shape[1] - x * channels)
    drives: Any = np.int64(buffers.drives.ctypes.data)  # as sums of addresses are; addresses themselves are unsigned
    for t in range(time_steps):
        starts, starts_step = weights.bias.ctypes.data + row_bytes * g, 0
        if by_changes and t > 0:
            starts, starts_step = drives, row_bytes
        column = Column(
            rows=rows,
            events=events.ctypes.data + 4 * events.shape[1] * t,
            bounds=pointers.ctypes.data + 4 * (pointers.shape[1] * pointers.shape[2] * t + x),
            ending=ending.ctypes.data + 4 * ending.shape[1] * t,
            ending_bounds=ending_pointers.ctypes.data + 4 * (pointers.shape[1] * pointers.shape[2] * t + x),
            bounds_step=4 * pointers.shape[2],
            starts=starts,
            starts_step=starts_step,
            drives=drives,
            potential=buffers.potential.ctypes.data + row_bytes * (g * width + x) * height,
            threshold=weights.threshold.ctypes.data + row_bytes * g,
            spikes=spikes_THWV.ctypes.data + pixel_bytes * ((t * padded_height + border) * padded_width + x + border) + 4 * g,
            spikes_step=pixel_bytes * padded_width,
            masks=masks.ctypes.data + (pixel_bytes * (t * height * width + x) + 4 * g) * masks_kept,
            masks_step=pixel_bytes * width * masks_kept,
            height=height,
        )
        fire_column(kind, column)


@kernel
def linear_drives(lanes: int, inputs_NTHWV: Any, channels: int, weights: Any, events: Any, drives: Any) -> None:
    """Compute the drives of a linear layer, ``[N, T, 1, G, lanes]``; ``weights.rows`` are ``[G, pixels · channels, lanes]``."""
    num_images, time_steps, _, num_lane_groups = drives.shape[:4]
    for image in range(num_images):
        for t in range(time_steps):
            num = list_all(inputs_NTHWV[image, t], channels, events)
            for g in range(num_lane_groups):
                rows = weights.rows.ctypes.data + 4 * lanes * g * weights.rows.shape[1]
                into = drives[image, t, 0, g].ctypes.data
                sum_rows(lanes, into, weights.bias.ctypes.data + 4 * lanes * g, rows, events.ctypes.data, 0, num)
