"""The backward pass of one layer: gradients that are not zero are events, in the same sums as the spikes of the forward pass.

The straight-through gradient is local in time, so that S samples, each a time step of an image, go backward through all layers
before others do. Masks are those of the neurons, with the routing of the pool behind them. See ``forward`` for shapes.

A sample may also be a group of time steps: then spikes are means, a row of floats a pixel, and masks have ``means`` beside the
bits that say where they are not 0; see ``networks.collapsed``. Otherwise ``means`` is empty.

Events of a layer stand twice: by place (``events``, ``values``, ``pointers``), for the layer before, and by channel (``offsets``
into the bits of the layer's input, ``shares``, ``counts``), for its weights.
"""

from typing import Any

import numpy as np

from trainables.event_driven.compiling import kernel
from trainables.event_driven.forward import WINDOW, WORD_BITS
from trainables.event_driven.vectors import add_masked, add_row, add_window, copy_events, lowest_bit, sum_scaled_rows


@kernel
def list_outputs(
    grads_SK: Any,
    masks_SHWV: Any,
    means: Any,
    events: Any,
    values: Any,
    pointers: Any,
    offsets: Any,
    shares: Any,
    counts: Any,
    strides: Any,
) -> None:
    """The events of the last layer, a linear one."""
    counts[:] = 0
    for s in range(grads_SK.shape[0]):
        n = 0
        for k in range(grads_SK.shape[1]):
            bit = (masks_SHWV[s, 0, 0, k // WORD_BITS] >> np.uint32(k % WORD_BITS)) & np.uint32(1)
            if bit and grads_SK[s, k] != 0:
                value = grads_SK[s, k]
                if len(means):
                    value *= means[s, 0, 0, k // WORD_BITS, k % WORD_BITS]
                events[s, n], values[s, n] = k, value
                offsets[k, counts[k]], shares[k, counts[k]] = s * strides[0], value
                counts[k] += 1
                n += 1
        pointers[s, 0, -1] = n


@kernel
def _list_row(
    s: int,
    y: int,
    n: int,
    gradient: Any,
    masks_SHWV: Any,
    means: Any,
    span: int,
    channels: int,
    events: Any,
    values: Any,
    pointers: Any,
    offsets: Any,
    shares: Any,
    counts: Any,
    strides: Any,
) -> int:
    """The events of a row of neurons from the gradients of their pools' outputs; how many there are now."""
    width, num_words = masks_SHWV.shape[2:]
    border = strides[3]
    pointers[s, y, 0] = n
    for x in range(width):
        pointers[s, y, x + 1] = n
        offset = s * strides[0] + y * strides[1] + x * strides[2]
        for w in range(num_words):
            word = masks_SHWV[s, y, x, w]
            while word != np.uint32(0):
                bit = lowest_bit(word)
                word &= word - np.uint32(1)
                c, value = w * WORD_BITS + bit, gradient[x // span, w, bit]
                if len(means):
                    value *= means[s, y, x, w, bit]
                events[s, n], values[s, n] = (x + border) * channels + c, value
                n += 1
                count = counts[c]
                offsets[c, count], shares[c, count] = offset, value
                counts[c] = count + 1
    pointers[s, y, width + 1 :] = n
    return n


@kernel
def _window_row(
    s: int, y: int, channels: int, height: int, events: Any, values: Any, pointers: Any, windows: Any, shares: Any, ends: Any
) -> None:
    """The events of three rows, column by column, as ``forward.list_windows`` has them."""
    n = 0
    for x in range(ends.shape[0] - 1):
        ends[x] = n
        for dy in range(WINDOW):
            if 0 <= y + dy - 1 < height:
                first = pointers[s, y + dy - 1, x]
                num = pointers[s, y + dy - 1, x + 1] - first
                start = 4 * (events.shape[1] * s + first)
                copy_events(windows.ctypes.data + 4 * n, events.ctypes.data + start, num, ((WINDOW - 1) * x + dy) * channels)
                copy_events(shares.ctypes.data + 4 * n, values.ctypes.data + start, num, 0)
                n += num
    ends[-1] = n


@kernel
def _open(masks_HWV: Any, y: int, x: int, span: int) -> bool:
    """Whether the gradient of a pool's output passes anywhere."""
    gates = np.uint32(0)
    for dy in range(span):
        for dx in range(span):
            for w in range(masks_HWV.shape[2]):
                gates |= masks_HWV[y * span + dy, x * span + dx, w]
    return bool(gates != np.uint32(0))


@kernel
def _gradient_row(
    lanes: int,
    s: int,
    y: int,
    outputs: int,
    convolution: bool,
    rows: Any,
    events: Any,
    values: Any,
    pointers: Any,
    windows: Any,
    shares: Any,
    ends: Any,
    masks_HWV: Any,
    span: int,
    zeros: Any,
    gradient: Any,
) -> None:
    width, num_blocks = gradient.shape[:2]
    if convolution:
        _window_row(s, y, outputs, masks_HWV.shape[0] // span, events, values, pointers, windows, shares, ends)
        e, v = windows.ctypes.data, shares.ctypes.data
    else:
        e, v = events.ctypes.data + 4 * events.shape[1] * s, values.ctypes.data + 4 * values.shape[1] * s
    for x in range(width):
        if not _open(masks_HWV, y, x, span):
            continue
        if convolution:
            shift, first, last = -x * WINDOW * outputs, ends[x], ends[x + WINDOW]
        else:
            shift, first, last = (y * width + x) * outputs, 0, pointers[s, 0, -1]
        for b in range(num_blocks):
            into = gradient.ctypes.data + 4 * lanes * (num_blocks * x + b)
            row = rows.ctypes.data + 4 * lanes * (b * rows.shape[1] + shift)
            sum_scaled_rows(lanes, into, zeros.ctypes.data, row, e, v, first, last)


@kernel
def _add_to_total(lanes: int, y: int, gradient: Any, masks_HWV: Any, means: Any, span: int, total: Any) -> None:
    """Add a row's gradients to their sums over time; ``means`` are those of the sample's masks, if it is a group."""
    width, num_words = masks_HWV.shape[1:]
    bits = len(means) == 0
    masks, mask_bytes = (masks_HWV.ctypes.data, 4) if bits else (means.ctypes.data, 4 * lanes)
    for x in range(width // span * span):
        for b in range(num_words):
            into = total.ctypes.data + 4 * lanes * (num_words * (y * width + x) + b)
            row = gradient.ctypes.data + 4 * lanes * (num_words * (x // span) + b)
            add_masked(lanes, bits, into, row, masks + mask_bytes * (num_words * (y * width + x) + b))


@kernel
def input_gradient(
    lanes: int,
    num_samples: int,
    outputs: int,
    convolution: bool,
    rows: Any,
    events: Any,
    values: Any,
    pointers: Any,
    windows: Any,
    shares: Any,
    ends: Any,
    masks_SHWV: Any,
    means: Any,
    span: int,
    zeros: Any,
    gradient: Any,
    first: bool,
    total: Any,
    first_sample: int,
    time_steps: int,
    channels: int,
    new_events: Any,
    new_values: Any,
    new_pointers: Any,
    new_offsets: Any,
    new_shares: Any,
    new_counts: Any,
    strides: Any,
) -> None:
    """Take the events of a layer to the neurons of the layer before, in blocks of so many channels.

    ``rows`` are the layer's weights for every one of its events: ``[blocks, 3 · 3 · outputs, lanes]``, column by column, of a
    convolution turned round; of a linear layer ``[blocks, pixels · outputs, lanes]``. With ``first`` the layer before is the
    network's first: its gradients are only summed up over time, into ``total``, ``[images, pixels, blocks, lanes]``.
    """
    height = masks_SHWV.shape[1]
    new_counts[:] = 0
    for s in range(num_samples):
        n = 0
        masks = masks_SHWV[s]
        for y in range(height):
            if y % span == 0 and y + span <= height:
                _gradient_row(
                    lanes,
                    s,
                    y // span,
                    outputs,
                    convolution,
                    rows,
                    events,
                    values,
                    pointers,
                    windows,
                    shares,
                    ends,
                    masks,
                    span,
                    zeros,
                    gradient,
                )
            if first:
                _add_to_total(lanes, y, gradient, masks, means[s : s + 1], span, total[(first_sample + s) // time_steps])
            else:
                n = _list_row(
                    s,
                    y,
                    n,
                    gradient,
                    masks_SHWV,
                    means,
                    span,
                    channels,
                    new_events,
                    new_values,
                    new_pointers,
                    new_offsets,
                    new_shares,
                    new_counts,
                    strides,
                )


@kernel
def weight_gradient(
    lanes: int, bits: bool, inputs: Any, convolution: bool, offsets: Any, shares: Any, counts: Any, total: Any, total_bias: Any
) -> None:
    """Add a layer's events to the gradients of its weights and biases, input channels in blocks of so many.

    ``total`` is ``[outputs, blocks, 3, 3, lanes]``, or of a linear layer ``[outputs, blocks, pixels, 1, lanes]``.
    """
    block_bytes = 4 if bits else 4 * lanes
    width, num_words = inputs.shape[2:4]
    num_blocks, num_rows, row_bytes = total.shape[1], total.shape[2], 4 * lanes * total.shape[3]
    pixel_bytes = block_bytes * num_words
    row_stride = pixel_bytes * (width if convolution else 1)
    for k in range(total.shape[0]):
        num = counts[k]
        at, value = offsets.ctypes.data + 4 * k * offsets.shape[1], shares.ctypes.data + 4 * k * shares.shape[1]
        for event in range(num):
            total_bias[k] += shares[k, event]
        for b in range(num_blocks if num else 0):
            for r in range(num_rows):
                into = total.ctypes.data + row_bytes * ((k * num_blocks + b) * num_rows + r)
                row = inputs.ctypes.data + row_stride * r + block_bytes * b
                if convolution:
                    add_window(lanes, bits, into, row, pixel_bytes, at, value, num)
                else:
                    add_row(lanes, bits, into, row, at, value, num)
