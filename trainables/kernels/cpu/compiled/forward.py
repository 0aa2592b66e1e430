"""The forward pass of one layer: lists of spikes, sums of their weights, neurons, bits.

Shapes: N images, T time steps, height and width, V words of 32 channels' bits (uint32); ``border`` zeros surround the map that a
convolution reads. Neurons come in blocks of ``lanes`` channels, 16 or 32, one block a word. An event is a spike: the number of
its rows of weights. Behind a mean pool every block has four words, and its events have a quarter of the weights: see ``pooling``.

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
from trainables.kernels.cpu.compiled.firing import Column, fire, fire_column
from trainables.kernels.cpu.compiled.pooling import WORD_BITS, pool_mean, pool_or
from trainables.kernels.cpu.compiled.vectors import WINDOW, sum_rows


class Kind(NamedTuple):
    """What neurons do: see ``spiking.neurons``."""

    lanes: int
    clamped: bool
    hard: bool


class Weights(NamedTuple):
    """Of a layer: ``rows`` for its events; bias, threshold and start, the first membrane potential, ``[blocks, lanes]``."""

    rows: Array
    bias: Array
    threshold: Array
    start: Array


class Events(NamedTuple):
    """Lists of events, ``[steps, …]``, and where those of a row's pixels begin, ``[steps, height, width + 1]``."""

    events: Array
    pointers: Array


class Results(NamedTuple):
    """Where a layer's bits go.

    Attributes:
        spikes: ``[N, T, height, width, V]`` with a border around the map; or those of some steps of one image, if the pool
            behind them is all that reads them.
        border: Its width.
        kept: 1, or 0 for the latter.
        masks: Of the clamped drives, and of the pool's routing, ``[N, T, height, width, V]``; or one place for all.
        masks_kept: 1, or 0 for the latter.
        pooled: The spikes behind the pool, ``[N, T, height, width, V]`` with a border; of a mean pool four times as many words.
        pooled_border: Its width.
        pools: Whether there is such a pool, a logical OR or a mean.
        mean: Whether it is a mean.
    """

    spikes: Array
    border: int
    kept: int
    masks: Array
    masks_kept: int
    pooled: Array
    pooled_border: int
    pools: bool
    mean: bool


class Driven(NamedTuple):
    """The first layer, whose drive is constant, ``[N, 1, pixels, blocks, lanes]``; it fires ``again`` if it keeps no spikes."""

    kind: Kind
    drive: Array
    weights: Weights
    potential: Array
    mask: Array
    border: int
    again: bool


class Scratch(NamedTuple):
    """What a layer writes over: events that begin, or are there, and that end; potentials; the drives of a column."""

    beginning: Events
    ending: Events
    potential: Array
    drives: Array


WORTH_IT = 0.8
"""Changes over spikes, up to which changes are listed."""


@inlined
def _num_bits(word: Any) -> int:
    pairs = word - ((word >> np.uint32(1)) & np.uint32(0x55555555))
    fours = (pairs & np.uint32(0x33333333)) + ((pairs >> np.uint32(2)) & np.uint32(0x33333333))
    eights = (fours + (fours >> np.uint32(4))) & np.uint32(0x0F0F0F0F)
    return int(np.uint32(eights * np.uint32(0x01010101)) >> np.uint32(24))


@kernel
def changes_are_fewer(spikes_TP: Any) -> bool:
    """Whether listing changes is worth it; a map's words in one row."""
    spikes = changes = 0
    for t in range(1, spikes_TP.shape[0]):
        before, now = spikes_TP[t - 1], spikes_TP[t]
        for place in range(len(now)):
            spikes += _num_bits(now[place])
            changes += _num_bits(now[place] ^ before[place])
    return changes < WORTH_IT * spikes


@kernel
def list_rows(spikes_THWV: Any, channels: int, by_changes: bool, beginning: Any, ending: Any) -> None:
    """The spikes of every row of a map as ``x · channels + c``; those of (y, x) stand from ``pointers[t, y, x]`` on.

    With ``by_changes`` those that were not there a step before, and in ``ending`` those that were and are no more.
    """
    time_steps, height, width, num_words = spikes_THWV.shape
    num_blocks = -(-channels // WORD_BITS)
    per_block = num_words // num_blocks
    events, pointers = beginning
    endings, ending_pointers = ending
    for t in range(time_steps):
        n, n_ending = 0, 0
        into, into_ending = events.ctypes.data + 4 * t * events.shape[1], endings.ctypes.data + 4 * t * endings.shape[1]
        for y in range(height):
            for x in range(width):
                pointers[t, y, x], ending_pointers[t, y, x] = n, n_ending
                for b in range(num_blocks):
                    first = x * channels + b * WORD_BITS
                    for w in range(b * per_block, (b + 1) * per_block):
                        now = spikes_THWV[t, y, x, w]
                        if by_changes and t > 0:
                            before = spikes_THWV[t - 1, y, x, w]
                            n_ending += list_bits(before & ~now, first, into_ending + 4 * n_ending)
                            now &= ~before
                        n += list_bits(now, first, into + 4 * n)
            pointers[t, y, width], ending_pointers[t, y, width] = n, n_ending


@kernel
def list_all(spikes_HWV: Any, channels: int, events: Any) -> int:
    """The spikes of a whole map as ``(y · width + x) · channels + c``; how many there are."""
    height, width, num_words = spikes_HWV.shape
    per_block = num_words // -(-channels // WORD_BITS)
    n = 0
    for pixel in range(height * width):
        for w in range(num_words):
            word = spikes_HWV[pixel // width, pixel % width, w]
            n += list_bits(word, pixel * channels + w // per_block * WORD_BITS, events.ctypes.data + 4 * n)
    return n


@kernel
def _reset(potential: Any, start: Any) -> None:
    for b in range(potential.shape[0]):
        for pixel in range(potential.shape[1]):
            for c in range(potential.shape[2]):
                potential[b, pixel, c] = start[b, c]


@kernel
def _steps_of(results: Any, image: int, first: int, last: int) -> Any:
    """The spikes and masks of some steps of an image."""
    start = first * results.kept
    spikes = results.spikes[image * results.kept, start : start + last - first]
    return spikes, results.masks[image * results.masks_kept, first * results.masks_kept :]


@kernel
def _pool(results: Any, image: int, first: int, last: int) -> None:
    spikes, masks = _steps_of(results, image, first, last)
    pooled = results.pooled[image, first:last]
    if results.mean:
        pool_mean(spikes, pooled, results.pooled_border, masks, results.masks_kept)
    else:
        pool_or(spikes, pooled, results.pooled_border, masks, results.masks_kept)


@kernel
def driven_layer(kind: Any, drive: Any, weights: Any, potential: Any, results: Any, most_steps: int) -> None:
    """Neurons whose drive is known for every step: ``[N, T, pixels, blocks, lanes]``, or with T = 1 if it is constant."""
    num_images, time_steps = drive.shape[0], results.pooled.shape[1]
    for image in range(num_images):
        _reset(potential, weights.start)
        for first in range(0, time_steps, most_steps):
            last = min(first + most_steps, time_steps)
            some = drive[image, first * (drive.shape[1] > 1) :]
            spikes, masks = _steps_of(results, image, first, last)
            border, keep = results.border, results.masks_kept
            _fire_driven(kind, some, drive.shape[1] > 1, weights.threshold, potential, spikes, border, masks, keep)
            if results.pools:
                _pool(results, image, first, last)


@kernel
def fire_again(driven: Any, first: int, per_image: int, spikes_SHWV: Any) -> None:
    """The spikes of the first layer at some steps, from number ``first`` of those of all images on, ``per_image`` each.

    They must be asked for in this order, for the potentials are those that the last ones have left.
    """
    threshold, potential = driven.weights.threshold, driven.potential
    for s in range(spikes_SHWV.shape[0]):
        image, t = (first + s) // per_image, (first + s) % per_image
        if t == 0:
            _reset(potential, driven.weights.start)
        spikes, drive = spikes_SHWV[s : s + 1], driven.drive[image]
        _fire_driven(driven.kind, drive, False, threshold, potential, spikes, driven.border, driven.mask, 0)


@kernel
def _fire_driven(
    kind: Any, drive: Any, varies: bool, threshold: Any, potential: Any, spikes_THWV: Any, border: int, masks: Any, keep: int
) -> None:
    time_steps, padded_height, padded_width, num_words = spikes_THWV.shape
    width, num_pixels = padded_width - 2 * border, drive.shape[1]
    row_bytes, pixel_bytes = 4 * kind.lanes, 4 * num_words
    drive_step = row_bytes * num_words * num_pixels * varies
    for pixel in range(num_pixels):
        for b in range(num_words):
            d = drive.ctypes.data + row_bytes * (pixel * num_words + b)
            v = potential.ctypes.data + row_bytes * (b * num_pixels + pixel)
            s = spikes_THWV.ctypes.data
            s += pixel_bytes * ((pixel // width + border) * padded_width + pixel % width + border) + 4 * b
            m = masks.ctypes.data + (pixel_bytes * pixel + 4 * b) * keep
            for t in range(time_steps):
                fire(
                    kind.lanes,
                    kind.clamped,
                    kind.hard,
                    d + drive_step * t,
                    v,
                    threshold.ctypes.data + row_bytes * b,
                    s + pixel_bytes * padded_height * padded_width * t,
                    m + pixel_bytes * num_pixels * t * keep,
                )


@kernel
def convolution_layer(kind: Any, inputs_NTHWV: Any, channels: int, weights: Any, scratch: Any, results: Any, driven: Any) -> None:
    """Neurons that are driven by spikes through a 3x3 convolution.

    ``weights.rows`` are ``[blocks, 3 · channels, 3, lanes]``: of the events of three columns, and of the drives of the row above
    them, of theirs, and of the row below. If the layer before fires again, ``inputs_NTHWV`` have only room for some of its steps.
    """
    num_images, time_steps = results.pooled.shape[:2]
    potential, most_steps = scratch.potential, len(scratch.beginning.events)
    for image in range(num_images):
        _reset(potential, weights.start)
        for first in range(0, time_steps, most_steps):
            last = min(first + most_steps, time_steps)
            if driven.again:
                inputs = inputs_NTHWV[0, : last - first]
                fire_again(driven, image * time_steps + first, time_steps, inputs)
            else:
                inputs = inputs_NTHWV[image, first:last]
            by_changes = changes_are_fewer(inputs.reshape(last - first, -1))
            list_rows(inputs, channels, by_changes, scratch.beginning, scratch.ending)
            spikes, masks = _steps_of(results, image, first, last)
            border, keep = results.border, results.masks_kept
            for b in range(spikes.shape[3]):
                for x in range(spikes.shape[2] - 2 * border):
                    _fire_columns(kind, b, x, channels, weights, scratch, by_changes, spikes, border, masks, keep)
            if results.pools:
                _pool(results, image, first, last)


@kernel
def _fire_columns(
    kind: Any,
    b: int,
    x: int,
    channels: int,
    weights: Any,
    scratch: Any,
    by_changes: bool,
    spikes_THWV: Any,
    border: int,
    masks: Any,
    keep: int,
) -> None:
    """One block of channels of a column, at all steps."""
    time_steps, padded_height, padded_width, num_words = spikes_THWV.shape
    height, width = padded_height - 2 * border, padded_width - 2 * border
    row_bytes, pixel_bytes = 4 * kind.lanes, 4 * num_words
    events, pointers = scratch.beginning
    ending, ending_pointers = scratch.ending
    rows = weights.rows.ctypes.data + WINDOW * row_bytes * (b * weights.rows.shape[1] - x * channels)
    drives: Any = np.int64(scratch.drives.ctypes.data)  # as sums of addresses are; addresses themselves are unsigned
    for t in range(time_steps):
        starts, starts_step = weights.bias.ctypes.data + row_bytes * b, 0
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
            potential=scratch.potential.ctypes.data + row_bytes * (b * width + x) * height,
            threshold=weights.threshold.ctypes.data + row_bytes * b,
            spikes=spikes_THWV.ctypes.data + pixel_bytes * ((t * padded_height + border) * padded_width + x + border) + 4 * b,
            spikes_step=pixel_bytes * padded_width,
            masks=masks.ctypes.data + (pixel_bytes * (t * height * width + x) + 4 * b) * keep,
            masks_step=pixel_bytes * width * keep,
            height=height,
        )
        fire_column(kind.lanes, kind.clamped, kind.hard, column)


@kernel
def linear_drives(lanes: int, inputs_NTHWV: Any, channels: int, weights: Any, events: Any, drives: Any) -> None:
    """The drives of a linear layer, ``[N, T, 1, blocks, lanes]``; ``weights.rows`` are ``[blocks, pixels · channels, lanes]``."""
    num_images, time_steps, _, num_blocks = drives.shape[:4]
    for image in range(num_images):
        for t in range(time_steps):
            num = list_all(inputs_NTHWV[image, t], channels, events)
            for b in range(num_blocks):
                rows = weights.rows.ctypes.data + 4 * lanes * b * weights.rows.shape[1]
                into = drives[image, t, 0, b].ctypes.data
                sum_rows(lanes, into, weights.bias.ctypes.data + 4 * lanes * b, rows, events.ctypes.data, 0, num)
