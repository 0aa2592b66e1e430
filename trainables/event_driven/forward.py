"""The forward pass of one layer: lists of spikes, sums of their weights, neurons, bits; pools are arithmetic on bits.

Bits are uint32 words ``[images, T, height, width, words]``, a channel a bit, with a border of zeros where a convolution reads
them. An event is a spike: the number of its row of weights, counted from the left edge of a window.
"""

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from trainables.event_driven import vectors
from trainables.event_driven.vectors import lowest_bit

WORD_BITS = 32


@njit(nogil=True, cache=True)
def list_events(words_THWV: Any, channels: int, by_row: bool, events: Any, pointers: Any) -> None:
    """The events of some time steps in order: ``events[t]``, those of (y, x) from ``pointers[t, y, x]`` on.

    A convolution's (``by_row``) are numbered ``x · channels + c``, a linear layer's ``(y · width + x) · channels + c``.
    """
    time_steps, height, width, num_words = words_THWV.shape
    for t in range(time_steps):
        n = 0
        for y in range(height):
            for x in range(width):
                pointers[t, y, x] = n
                first = (x if by_row else y * width + x) * channels
                for w in range(num_words):
                    word = words_THWV[t, y, x, w]
                    base = first + w * WORD_BITS
                    while word != np.uint32(0):
                        events[t, n] = base + lowest_bit(word)
                        n += 1
                        word &= word - np.uint32(1)
            pointers[t, y, width] = n


@cache
def constant_layer(lanes: int, clamped: bool, hard: bool) -> Any:
    """The kernel for a layer whose drive, ``[images, pixels, blocks, lanes]``, never changes."""
    fire = vectors.fire(lanes, clamped=clamped, hard=hard)

    @njit(nogil=True, cache=True)
    def run(drive: Any, threshold: Any, start: Any, potential: Any, spikes_NTHWV: Any, border: int, masks_NTHWV: Any) -> None:
        num_images, time_steps, padded_height, padded_width, num_words = spikes_NTHWV.shape
        width = padded_width - 2 * border
        num_pixels, num_blocks = drive.shape[1], drive.shape[2]
        theta, v = threshold.ctypes.data, potential.ctypes.data
        for image in range(num_images):
            d, out = drive[image].ctypes.data, spikes_NTHWV[image].ctypes.data
            mask = masks_NTHWV[image].ctypes.data
            mask_step = 4 * num_words * num_pixels if masks_NTHWV.shape[1] > 1 else 0
            for pixel in range(num_pixels):
                y, x = pixel // width + border, pixel % width + border
                for b in range(num_blocks):
                    for c in range(lanes):
                        potential[0, c] = start[b, c]
                    place = 4 * num_words * (y * padded_width + x) + b * lanes // 8
                    mask_place = (4 * num_words * pixel + b * lanes // 8) * (mask_step > 0)
                    for t in range(time_steps):
                        fire(
                            d + 4 * lanes * (pixel * num_blocks + b),
                            v,
                            theta + 4 * lanes * b,
                            out + place + 4 * num_words * padded_height * padded_width * t,
                            mask + mask_place + mask_step * t,
                        )

    return run


@cache
def spiking_layer(lanes: int, clamped: bool, hard: bool) -> Any:
    """The kernel for a layer driven by spikes: a convolution's, or with ``convolution`` false a linear one's.

    ``rows`` are its weights: ``[blocks, 3, 3 · channels, lanes]``, or ``[blocks, 1, inputs, lanes]``. Masks of one time step
    alone are not kept.
    """
    sum_rows = vectors.sum_rows(lanes, scaled=False)
    fire = vectors.fire(lanes, clamped=clamped, hard=hard)

    @njit(nogil=True, cache=True)
    def run(
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
        events: Any,
        pointers: Any,
    ) -> None:
        num_images, time_steps, padded_height, padded_width, num_words = spikes_NTHWV.shape
        height, width = padded_height - 2 * border, padded_width - 2 * border
        num_blocks, chunk = bias.shape[0], events.shape[0]
        keep = 1 if masks_NTHWV.shape[1] > 1 else 0
        row_bytes = 4 * lanes
        tap_bytes = row_bytes * rows.shape[2]
        d, theta, w0 = drive.ctypes.data, threshold.ctypes.data, rows.ctypes.data
        v0, e0 = potential.ctypes.data, events.ctypes.data
        spike_step, mask_step = 4 * num_words * padded_height * padded_width, 4 * num_words * height * width * keep
        input_width = inputs_NTHWV.shape[3]
        for image in range(num_images):
            out, mask = spikes_NTHWV[image].ctypes.data, masks_NTHWV[image].ctypes.data
            for b in range(num_blocks):
                for pixel in range(height * width):
                    for c in range(lanes):
                        potential[b, pixel, c] = start[b, c]
            for first in range(0, time_steps, chunk):
                steps = min(chunk, time_steps - first)
                list_events(inputs_NTHWV[image, first : first + steps], channels, convolution, events, pointers)
                for b in range(num_blocks):
                    w = w0 + b * rows.shape[1] * tap_bytes
                    for y in range(height):
                        for x in range(width):
                            pixel = y * width + x
                            v = v0 + row_bytes * (b * height * width + pixel)
                            place = 4 * num_words * ((y + border) * padded_width + x + border) + b * lanes // 8
                            mask_place = (4 * num_words * pixel + b * lanes // 8) * keep
                            for t in range(steps):
                                for c in range(lanes):
                                    drive[c] = bias[b, c]
                                e = e0 + 4 * t * events.shape[1]
                                if convolution:
                                    shifted = w - x * channels * row_bytes
                                    for dy in range(3):
                                        sum_rows(
                                            d,
                                            shifted + dy * tap_bytes,
                                            e,
                                            0,
                                            pointers[t, y + dy, x],
                                            pointers[t, y + dy, x + 3],
                                        )
                                else:
                                    sum_rows(d, w, e, 0, 0, pointers[t, -1, input_width])
                                fire(
                                    d,
                                    v,
                                    theta + row_bytes * b,
                                    out + place + spike_step * (first + t),
                                    mask + mask_place + mask_step * (first + t),
                                )

    return run


@njit(nogil=True, cache=True)
def pool_or(spikes_NTHWV: Any, pooled_NTHWV: Any, border: int, masks_NTHWV: Any) -> None:
    """The logical OR of 2x2 spikes; masks lose what the pool does not route to: all but the first that spikes, or the first."""
    num_images, time_steps, height, width, num_words = spikes_NTHWV.shape
    keep = masks_NTHWV.shape[1] > 1
    for image in range(num_images):
        for t in range(time_steps):
            for y in range(height // 2):
                for x in range(width // 2):
                    for w in range(num_words):
                        a = spikes_NTHWV[image, t, 2 * y, 2 * x, w]
                        b = spikes_NTHWV[image, t, 2 * y, 2 * x + 1, w]
                        c = spikes_NTHWV[image, t, 2 * y + 1, 2 * x, w]
                        e = spikes_NTHWV[image, t, 2 * y + 1, 2 * x + 1, w]
                        ab = a | b
                        abc = ab | c
                        out = abc | e
                        pooled_NTHWV[image, t, y + border, x + border, w] = out
                        if keep:
                            masks_NTHWV[image, t, 2 * y, 2 * x, w] &= a | ~out
                            masks_NTHWV[image, t, 2 * y, 2 * x + 1, w] &= b & ~a
                            masks_NTHWV[image, t, 2 * y + 1, 2 * x, w] &= c & ~ab
                            masks_NTHWV[image, t, 2 * y + 1, 2 * x + 1, w] &= e & ~abc
            if keep and height % 2:
                masks_NTHWV[image, t, height - 1] = 0
            if keep and width % 2:
                masks_NTHWV[image, t, :, width - 1] = 0
