"""The forward pass of one layer: lists of spikes, sums of their weights, neurons, bits; pools are arithmetic on bits.

Shapes: N images, T time steps, height and width, V words of 32 channels' bits (uint32); ``border`` zeros surround the map that a
convolution reads. Neurons come in blocks of ``lanes`` channels, 16 or 32, one block a word. An event is a spike: the number of
its row of weights.

From one step to the next most spikes of a constant image stay as they are. Where that is so, a step's drive is the one before it
plus the rows of the spikes that begin, less those of the spikes that end; every list of steps begins with a whole sum.
"""

from typing import Any

import numpy as np

from trainables.event_driven.compiling import inlined, kernel
from trainables.event_driven.vectors import copy_events, fire, list_bits, subtract_rows, sum_rows

WORD_BITS = 32
WINDOW = 3


ALL, BEGINNING, ENDING = 0, 1, 2
"""Which spikes are listed: all, or those that were not there a step before, or those that were and are no more."""
WORTH_IT = 0.8
"""Changes over spikes, up to which changes are listed."""


@inlined
def _listed(spikes_THWV: Any, t: int, y: int, x: int, w: int, which: int) -> Any:
    word = spikes_THWV[t, y, x, w]
    if which == ALL or (t == 0 and which == BEGINNING):
        return word
    if t == 0:
        return np.uint32(0)
    before = spikes_THWV[t - 1, y, x, w]
    return word & ~before if which == BEGINNING else before & ~word


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
def list_rows(spikes_THWV: Any, which: int, channels: int, events: Any, pointers: Any) -> None:
    """The spikes of every row of a map as ``x · channels + c``; those of (y, x) stand from ``pointers[t, y, x]`` on."""
    time_steps, height, width, num_words = spikes_THWV.shape
    for t in range(time_steps):
        n = 0
        for y in range(height):
            for x in range(width):
                pointers[t, y, x] = n
                for w in range(num_words):
                    word = _listed(spikes_THWV, t, y, x, w, which)
                    n += list_bits(word, x * channels + w * WORD_BITS, events.ctypes.data + 4 * (t * events.shape[1] + n))
            pointers[t, y, width] = n


@kernel
def list_windows(events: Any, pointers: Any, channels: int, steps: int, windows: Any, ends: Any) -> None:
    """The spikes of every three rows of a map, column by column, as ``(3 · x + dy) · channels + c``.

    The window of output (y, x) has those from ``ends[t, y, x]`` to ``ends[t, y, x + 3]``.
    """
    height, width = ends.shape[1], ends.shape[2] - 1
    for t in range(steps):
        source, into = events.ctypes.data + 4 * events.shape[1] * t, windows.ctypes.data + 4 * windows.shape[1] * t
        n = 0
        for y in range(height):
            for x in range(width):
                ends[t, y, x] = n
                for dy in range(WINDOW):
                    first = pointers[t, y + dy, x]
                    num = pointers[t, y + dy, x + 1] - first
                    copy_events(into + 4 * n, source + 4 * first, num, ((WINDOW - 1) * x + dy) * channels)
                    n += num
            ends[t, y, width] = n


@kernel
def list_all(spikes_THWV: Any, channels: int, windows: Any, ends: Any) -> None:
    """The spikes of a whole map as ``(y · width + x) · channels + c``: the one window of a linear layer."""
    time_steps, height, width, num_words = spikes_THWV.shape
    for t in range(time_steps):
        n = 0
        for pixel in range(height * width):
            for w in range(num_words):
                word = spikes_THWV[t, pixel // width, pixel % width, w]
                n += list_bits(word, pixel * channels + w * WORD_BITS, windows.ctypes.data + 4 * (t * windows.shape[1] + n))
        ends[t, 0, 0], ends[t, 0, WINDOW] = 0, n


@kernel
def _reset(potential: Any, start: Any) -> None:
    for b in range(potential.shape[0]):
        for pixel in range(potential.shape[1]):
            for c in range(potential.shape[2]):
                potential[b, pixel, c] = start[b, c]


@kernel
def driven_layer(
    lanes: int,
    clamped: bool,
    hard: bool,
    drive: Any,
    threshold: Any,
    start: Any,
    potential: Any,
    spikes_NTHWV: Any,
    border: int,
    masks_NTHWV: Any,
    keep: int,
) -> None:
    """Neurons whose drive is known for every step: ``[N, T, pixels, blocks, lanes]``, or with T = 1 if it is constant."""
    num_images, time_steps, padded_height, padded_width, num_words = spikes_NTHWV.shape
    width, num_pixels = padded_width - 2 * border, drive.shape[2]
    row_bytes, pixel_bytes = 4 * lanes, 4 * num_words
    drive_step = row_bytes * num_words * num_pixels * (drive.shape[1] > 1)
    for image in range(num_images):
        _reset(potential, start)
        for pixel in range(num_pixels):
            for b in range(num_words):
                d = drive[image].ctypes.data + row_bytes * (pixel * num_words + b)
                v = potential.ctypes.data + row_bytes * (b * num_pixels + pixel)
                place = pixel_bytes * ((pixel // width + border) * padded_width + pixel % width + border) + 4 * b
                spikes = spikes_NTHWV[image].ctypes.data + place
                mask = masks_NTHWV[image * keep].ctypes.data + (pixel_bytes * pixel + 4 * b) * keep
                for t in range(time_steps):
                    fire(
                        lanes,
                        clamped,
                        hard,
                        d + drive_step * t,
                        v,
                        threshold.ctypes.data + row_bytes * b,
                        spikes + pixel_bytes * padded_height * padded_width * t,
                        mask + pixel_bytes * num_pixels * t * keep,
                    )


@kernel
def _fire_steps(
    lanes: int,
    clamped: bool,
    hard: bool,
    windows: Any,
    ends: Any,
    ending: Any,
    ending_ends: Any,
    by_changes: bool,
    column: int,
    rows: Any,
    bias: Any,
    threshold: Any,
    potential: Any,
    drive: Any,
    spikes_THWV: Any,
    border: int,
    masks_THWV: Any,
    keep: int,
) -> None:
    time_steps, padded_height, padded_width, num_words = spikes_THWV.shape
    height, width = padded_height - 2 * border, padded_width - 2 * border
    row_bytes, pixel_bytes = 4 * lanes, 4 * num_words
    d = drive.ctypes.data
    for b in range(num_words):
        for y in range(height):
            for x in range(width):
                shifted = rows.ctypes.data + row_bytes * (b * rows.shape[1] - x * column)
                v = potential.ctypes.data + row_bytes * ((b * height + y) * width + x)
                spikes = spikes_THWV.ctypes.data + pixel_bytes * ((y + border) * padded_width + x + border) + 4 * b
                mask = masks_THWV.ctypes.data + (pixel_bytes * (y * width + x) + 4 * b) * keep
                for t in range(time_steps):
                    events = windows.ctypes.data + 4 * windows.shape[1] * t
                    first, last = ends[t, y, x], ends[t, y, x + WINDOW]
                    start = d if by_changes and t else bias.ctypes.data + row_bytes * b
                    sum_rows(lanes, d, start, shifted, events, first, last)
                    if by_changes and t:
                        events = ending.ctypes.data + 4 * ending.shape[1] * t
                        first, last = ending_ends[t, y, x], ending_ends[t, y, x + WINDOW]
                        subtract_rows(lanes, d, shifted, events, first, last)
                    fire(
                        lanes,
                        clamped,
                        hard,
                        d,
                        v,
                        threshold.ctypes.data + row_bytes * b,
                        spikes + pixel_bytes * padded_height * padded_width * t,
                        mask + pixel_bytes * height * width * t * keep,
                    )


@kernel
def spiking_layer(
    lanes: int,
    clamped: bool,
    hard: bool,
    inputs_NTHWV: Any,
    channels: int,
    convolution: bool,
    rows: Any,
    bias: Any,
    threshold: Any,
    start: Any,
    potential: Any,
    drive: Any,
    spikes_NTHWV: Any,
    border: int,
    masks_NTHWV: Any,
    keep: int,
    events: Any,
    pointers: Any,
    windows: Any,
    ends: Any,
    ending: Any,
    ending_ends: Any,
) -> None:
    """Neurons that are driven by spikes, through a convolution or a linear layer.

    ``rows`` are the weights of every event, ``[blocks, events, lanes]``; ``column`` of them are a column of a window. With
    ``keep`` 0, masks are all written to one place.
    """
    num_images, time_steps = spikes_NTHWV.shape[:2]
    for image in range(num_images):
        _reset(potential, start)
        for first in range(0, time_steps, windows.shape[0]):
            last = min(first + windows.shape[0], time_steps)
            inputs = inputs_NTHWV[image, first:last]
            by_changes = convolution and changes_are_fewer(inputs.reshape(last - first, -1))
            if convolution:
                list_rows(inputs, BEGINNING if by_changes else ALL, channels, events, pointers)
                list_windows(events, pointers, channels, last - first, windows, ends)
            else:
                list_all(inputs, channels, windows, ends)
            if by_changes:
                list_rows(inputs, ENDING, channels, events, pointers)
                list_windows(events, pointers, channels, last - first, ending, ending_ends)
            spikes, masks = spikes_NTHWV[image, first:last], masks_NTHWV[image * keep, first * keep :]
            column = WINDOW * channels * convolution
            _fire_steps(
                lanes,
                clamped,
                hard,
                windows,
                ends,
                ending,
                ending_ends,
                by_changes,
                column,
                rows,
                bias,
                threshold,
                potential,
                drive,
                spikes,
                border,
                masks,
                keep,
            )


@kernel
def pool_or(spikes_NTHWV: Any, pooled_NTHWV: Any, border: int, masks_NTHWV: Any, keep: int) -> None:
    """The logical OR of every 2x2 spikes; masks keep what the gradient goes to: the first that spikes, or the first if none."""
    num_images, time_steps, height, width, num_words = spikes_NTHWV.shape
    for image in range(num_images):
        for t in range(time_steps):
            spikes, pooled = spikes_NTHWV[image, t], pooled_NTHWV[image, t]
            masks = masks_NTHWV[image * keep, t * keep]
            for y in range(height // 2):
                for x in range(width // 2):
                    for w in range(num_words):
                        a, b = spikes[2 * y, 2 * x, w], spikes[2 * y, 2 * x + 1, w]
                        c, d = spikes[2 * y + 1, 2 * x, w], spikes[2 * y + 1, 2 * x + 1, w]
                        any_spike = a | b | c | d
                        pooled[y + border, x + border, w] = any_spike
                        if keep:
                            masks[2 * y, 2 * x, w] &= a | ~any_spike
                            masks[2 * y, 2 * x + 1, w] &= b & ~a
                            masks[2 * y + 1, 2 * x, w] &= c & ~(a | b)
                            masks[2 * y + 1, 2 * x + 1, w] &= d & ~(a | b | c)
            if keep:
                masks[height // 2 * 2 :] = np.uint32(0)
                masks[:, width // 2 * 2 :] = np.uint32(0)


@kernel
def pool_largest_count(spikes_NTHWV: Any, pooled_NTHWV: Any, border: int, counts: Any) -> None:
    """Spikes where the largest spike count of a 2x2 window rises; see ``spiking.pools.LargestCountPool``.

    ``counts`` is scratch: ``[5, 32]``, the spikes of a window's neurons and the largest of them.
    """
    num_images, time_steps, height, width, num_words = spikes_NTHWV.shape
    for image in range(num_images):
        for y in range(height // 2):
            for x in range(width // 2):
                for w in range(num_words):
                    counts[:] = 0
                    for t in range(time_steps):
                        window = spikes_NTHWV[image, t, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2, w]
                        pooled_NTHWV[image, t, y + border, x + border, w] = _rises(window, counts)


@kernel
def _rises(window: Any, counts: Any) -> Any:
    rising = np.uint32(0)
    if not (window[0, 0] | window[0, 1] | window[1, 0] | window[1, 1]):
        return rising
    for c in range(WORD_BITS):
        bit, largest = np.uint32(c), counts[4, c]
        for neuron in range(4):
            counts[neuron, c] += np.int32((window[neuron // 2, neuron % 2] >> bit) & np.uint32(1))
            largest = max(largest, counts[neuron, c])
        rising |= np.uint32(largest > counts[4, c]) << bit
        counts[4, c] = largest
    return rising


@kernel
def readout_layer(
    lanes: int, inputs_NTHWV: Any, channels: int, rows: Any, bias: Any, windows: Any, ends: Any, results: Any
) -> None:
    """A linear layer whose drive is the result: ``[N, T, blocks, lanes]``."""
    num_images, time_steps, num_blocks = results.shape[:3]
    for image in range(num_images):
        for t in range(time_steps):
            list_all(inputs_NTHWV[image, t : t + 1], channels, windows, ends)
            for b in range(num_blocks):
                row = rows.ctypes.data + 4 * lanes * b * rows.shape[1]
                into = results[image, t, b].ctypes.data
                sum_rows(lanes, into, bias.ctypes.data + 4 * lanes * b, row, windows.ctypes.data, 0, ends[0, 0, WINDOW])
