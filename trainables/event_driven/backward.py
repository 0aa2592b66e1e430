"""The backward pass of one layer: gradients that are not zero as events, in the same sums as the spikes of the forward pass.

The straight-through gradient is local in time, so that some time steps go backward through all layers before the next do.
Masks are those of the neurons, with the routing of the pool behind them.
"""

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from trainables.event_driven import vectors
from trainables.event_driven.vectors import lowest_bit

WORD_BITS = 32


@njit(nogil=True, cache=True)
def start_events(grads_TK: Any, masks_TV: Any, events: Any, values: Any, pointers: Any, offsets: Any, shares: Any, counts: Any) -> None:
    """The events of the last layer, whose spikes have the gradients ``[steps, classes]``."""
    counts[:] = 0
    for t in range(grads_TK.shape[0]):
        n = 0
        for k in range(grads_TK.shape[1]):
            bit = (masks_TV[t, k // WORD_BITS] >> np.uint32(k % WORD_BITS)) & np.uint32(1)
            if bit and grads_TK[t, k] != 0:
                events[t, n] = k
                values[t, n] = grads_TK[t, k]
                offsets[k, counts[k]] = t
                shares[k, counts[k]] = grads_TK[t, k]
                counts[k] += 1
                n += 1
        pointers[t, 0, -1] = n


@cache
def input_gradient(lanes: int) -> Any:
    """The kernel that takes the events of a layer to those of the layer before, whose channels come in blocks of so many.

    ``rows`` are the layer's weights for outputs: ``[blocks, 3, 3 · outputs, lanes]`` with both directions turned round, or of a
    linear layer ``[blocks, pixels, outputs, lanes]``.
    """
    sum_rows = vectors.sum_rows(lanes, scaled=True)
    add_masked = vectors.add_masked(lanes)

    @njit(nogil=True, cache=True)
    def run(
        steps: int,
        outputs: int,
        convolution: bool,
        rows: Any,
        events: Any,
        values: Any,
        pointers: Any,
        masks_THWV: Any,
        pooled: bool,
        channels: int,
        event_border: int,
        gradient_row: Any,
        total: Any,
        new_events: Any,
        new_values: Any,
        new_pointers: Any,
        offsets: Any,
        shares: Any,
        counts: Any,
        offset_step: int,
        offset_row: int,
        offset_pixel: int,
    ) -> None:
        height, width, num_words = masks_THWV.shape[1:]
        span = 2 if pooled else 1
        num_blocks = rows.shape[0]
        row_bytes = 4 * lanes
        tap_bytes = row_bytes * rows.shape[2]
        g0, w0, m0 = gradient_row.ctypes.data, rows.ctypes.data, masks_THWV.ctypes.data
        total0 = total.ctypes.data
        listing = new_events.shape[0] > 0
        counts[:] = 0
        for t in range(steps):
            e, value = events.ctypes.data + 4 * t * events.shape[1], values.ctypes.data + 4 * t * values.shape[1]
            n = 0
            for yy in range((height + span - 1) // span):
                for xx in range(width // span):
                    if yy >= height // span:
                        continue
                    gates = np.uint32(0)
                    for dy in range(span):
                        for dx in range(span):
                            for w in range(num_words):
                                gates |= masks_THWV[t, yy * span + dy, xx * span + dx, w]
                    if gates == np.uint32(0):
                        continue
                    for b in range(num_blocks):
                        g = g0 + row_bytes * (num_blocks * xx + b)
                        for c in range(lanes):
                            gradient_row[xx, b, c] = 0.0
                        if convolution:
                            w_block = w0 + b * 3 * tap_bytes - xx * outputs * row_bytes
                            for dy in range(3):
                                if 0 <= yy + dy - 1 < height // span:
                                    row = yy + dy - 1
                                    sum_rows(
                                        g,
                                        w_block + dy * tap_bytes,
                                        e,
                                        value,
                                        pointers[t, row, xx],
                                        pointers[t, row, xx + 3],
                                    )
                        else:
                            pixel = yy * (width // span) + xx
                            w_block = w0 + (b * rows.shape[1] + pixel) * tap_bytes
                            sum_rows(g, w_block, e, value, 0, pointers[t, 0, -1])
                for dy in range(span):
                    y = yy * span + dy
                    if y >= height:
                        continue
                    if listing:
                        new_pointers[t, y, 0] = n
                    for x in range(width):
                        if listing:
                            new_pointers[t, y, x + 1] = n
                        xx = x // span
                        if not listing:
                            if yy < height // span and xx < width // span:
                                for b in range(num_blocks):
                                    add_masked(
                                        total0 + row_bytes * (num_blocks * (y * width + x) + b),
                                        g0 + row_bytes * (num_blocks * xx + b),
                                        m0 + 4 * num_words * ((t * height + y) * width + x) + b * lanes // 8,
                                    )
                            continue
                        offset = t * offset_step + y * offset_row + x * offset_pixel
                        for w in range(num_words):
                            word = masks_THWV[t, y, x, w]
                            while word != np.uint32(0):
                                c = w * WORD_BITS + lowest_bit(word)
                                word &= word - np.uint32(1)
                                gradient = gradient_row[xx, c // lanes, c % lanes]
                                new_events[t, n] = (x + event_border) * channels + c
                                new_values[t, n] = gradient
                                n += 1
                                count = counts[c]
                                offsets[c, count] = offset
                                shares[c, count] = gradient
                                counts[c] = count + 1
                    if listing:
                        new_pointers[t, y, width + 1] = n
                        new_pointers[t, y, width + 2] = n

    return run


@cache
def weight_gradient(lanes: int) -> Any:
    """The kernel that adds a layer's events to the gradients of its weights and biases, input channels in blocks of so many.

    ``total`` is ``[outputs, blocks, 3, 3, lanes]``, or of a linear layer ``[outputs, pixels, blocks, lanes]``.
    """
    add_window = vectors.add_where_bits(lanes, 3)
    add_row = vectors.add_where_bits(lanes, 1)

    @njit(nogil=True, cache=True)
    def run(
        inputs_THWV: Any, convolution: bool, offsets: Any, shares: Any, counts: Any, total: Any, total_bias: Any
    ) -> None:
        width, num_words = inputs_THWV.shape[2:]
        bits, into0 = inputs_THWV.ctypes.data, total.ctypes.data
        row_bytes = 4 * lanes
        for k in range(total.shape[0]):
            num = counts[k]
            if num == 0:
                continue
            o, s = offsets.ctypes.data + 4 * k * offsets.shape[1], shares.ctypes.data + 4 * k * shares.shape[1]
            for event in range(num):
                total_bias[k] += shares[k, event]
            if convolution:
                for b in range(total.shape[1]):
                    for dy in range(3):
                        into = into0 + row_bytes * 3 * (dy + 3 * (b + total.shape[1] * k))
                        place = bits + 4 * num_words * width * dy + b * lanes // 8
                        add_window(into, row_bytes, place, 4 * num_words, o, s, num)
            else:
                for pixel in range(total.shape[1]):
                    for b in range(total.shape[2]):
                        into = into0 + row_bytes * (b + total.shape[2] * (pixel + total.shape[1] * k))
                        add_row(into, 0, bits + 4 * num_words * pixel + b * lanes // 8, 0, o, s, num)

    return run
