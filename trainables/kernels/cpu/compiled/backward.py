"""The backward pass of one layer: gradients that are not zero are events, in the same sums as the spikes of the forward pass.

The straight-through gradient is local in time, so that S samples, each a time step of an image, go backward through all layers
before others do. Masks are those of the neurons, with the routing of the pool behind them. See ``forward`` for shapes.

A sample may also be a group of time steps: then spikes are means, a row of floats a pixel, and masks have ``means`` beside the
bits that say where they are not 0; see ``networks.collapsed``. Otherwise ``means`` is empty. Behind a mean pool spikes
are a row of floats a pixel in any case: how many of its four neurons spike.
"""

from typing import Any, NamedTuple

import numpy as np

from trainables.kernels.cpu.compiled.arrays import Array
from trainables.kernels.cpu.compiled.bit_lists import lowest_bit
from trainables.kernels.cpu.compiled.compiling import kernel
from trainables.kernels.cpu.compiled.pooling import WORD_BITS
from trainables.kernels.cpu.compiled.vectors import WINDOW, add_masked, add_row, add_scaled_taps, add_window, sum_scaled_rows


class ByPlace(NamedTuple):
    """A layer's events for the layer before: ``[S, events]`` of place and channel, values, and ``pointers[s, y, x]`` to them."""

    events: Array
    values: Array
    pointers: Array


class ByChannel(NamedTuple):
    """A layer's events for its weights: ``[channels, events]`` of offsets (bytes) into the bits of its input, and values."""

    offsets: Array
    shares: Array
    counts: Array


class Gates(NamedTuple):
    """Where the gradient of neurons passes, ``[S, height, width, V]``; ``means`` of groups; 2 rows are one behind the pool."""

    masks: Array
    means: Array
    span: int


class Sums(NamedTuple):
    """The first layer's gradients, summed up over time: ``[N, height + 2, width, blocks, lanes]``, of so many samples an image.

    Nothing is masked where ``direct``; its neurons' drives are constant, so that their masks wait until all is summed up.
    """

    total: Array
    samples_per_image: int
    direct: bool


@kernel
def list_outputs(grads_SK: Any, gates: Any, by_place: Any, by_channel: Any, strides: Any) -> None:
    """The events of the last layer, a linear one."""
    events, values, pointers = by_place
    offsets, shares, counts = by_channel
    counts[:] = 0
    for s in range(grads_SK.shape[0]):
        n = 0
        for k in range(grads_SK.shape[1]):
            bit = (gates.masks[s, 0, 0, k // WORD_BITS] >> np.uint32(k % WORD_BITS)) & np.uint32(1)
            if bit and grads_SK[s, k] != 0:
                value = grads_SK[s, k]
                if len(gates.means):
                    value *= gates.means[s, 0, 0, k // WORD_BITS, k % WORD_BITS]
                events[s, n], values[s, n] = k, value
                offsets[k, counts[k]], shares[k, counts[k]] = s * strides[0], value
                counts[k] += 1
                n += 1
        pointers[s, 0, -1] = n


@kernel
def _list_row(
    s: int, y: int, n: int, gradient: Any, gates: Any, channels: int, by_place: Any, by_channel: Any, strides: Any
) -> int:
    """The events of a row of neurons from the gradients of their pools' outputs; how many there are now."""
    events, values, pointers = by_place
    offsets, shares, counts = by_channel
    width, num_words = gates.masks.shape[2:]
    border = strides[3]
    pointers[s, y, 0] = n
    for x in range(width):
        pointers[s, y, x + 1] = n
        offset = s * strides[0] + y * strides[1] + x * strides[2]
        for w in range(num_words):
            word = gates.masks[s, y, x, w]
            while word != np.uint32(0):
                bit = lowest_bit(word)
                word &= word - np.uint32(1)
                c, value = w * WORD_BITS + bit, gradient[x // gates.span, w, bit]
                if len(gates.means):
                    value *= gates.means[s, y, x, w, bit]
                events[s, n], values[s, n] = (x + border) * channels + c, value
                n += 1
                count = counts[c]
                offsets[c, count], shares[c, count] = offset, value
                counts[c] = count + 1
    pointers[s, y, width + 1 :] = n
    return n


@kernel
def _add_masked_row(lanes: int, s: int, y: int, gradient: Any, gates: Any, total_HWV: Any) -> None:
    """Add a row's gradients to their sums over time."""
    width, num_words = gates.masks.shape[2:]
    bits = len(gates.means) == 0
    mask_bytes = 4 if bits else 4 * lanes
    masks = gates.masks[s, y].ctypes.data if bits else gates.means[s, y].ctypes.data
    for x in range(width // gates.span * gates.span):
        for b in range(num_words):
            into = total_HWV[y + 1, x, b].ctypes.data
            add_masked(lanes, bits, into, gradient[x // gates.span, b].ctypes.data, masks + mask_bytes * (num_words * x + b))


@kernel
def _add_convolution_row(lanes: int, s: int, y: int, outputs: int, rows: Any, by_place: Any, gradient: Any) -> None:
    """Add what a row of events gives to three rows of gradients; of ``gradient``'s rows, that of y is number y + 1, in turns."""
    events, values, pointers = by_place
    num_rows, width, num_blocks = gradient.shape[:3]
    row_bytes = 4 * lanes
    for x in range(width):
        first, last = pointers[s, y, x], pointers[s, y, x + WINDOW]
        for b in range(num_blocks if first < last else 0):
            add_scaled_taps(
                lanes,
                gradient[y % num_rows, x, b].ctypes.data,
                gradient[(y + 1) % num_rows, x, b].ctypes.data,
                gradient[(y + 2) % num_rows, x, b].ctypes.data,
                rows.ctypes.data + WINDOW * row_bytes * (b * rows.shape[1] - x * outputs),
                events[s].ctypes.data,
                first,
                last,
                values[s].ctypes.data,
            )


@kernel
def _add_linear_row(lanes: int, s: int, y: int, outputs: int, rows: Any, by_place: Any, gradient: Any) -> None:
    """Add what the events of a linear layer give to the gradients of row y of its input."""
    events, values, pointers = by_place
    num_rows, width, num_blocks = gradient.shape[:3]
    for x in range(width):
        for b in range(num_blocks):
            into = gradient[(y + 1) % num_rows, x, b].ctypes.data
            row = rows.ctypes.data + 4 * lanes * (b * rows.shape[1] + (y * width + x) * outputs)
            sum_scaled_rows(lanes, into, into, row, events[s].ctypes.data, values[s].ctypes.data, 0, pointers[s, 0, -1])


@kernel
def input_gradient(
    lanes: int,
    num_samples: int,
    outputs: int,
    convolution: bool,
    height: int,
    rows: Any,
    by_place: Any,
    gates: Any,
    gradient: Any,
    first: bool,
    first_sample: int,
    sums: Any,
    channels: int,
    new_by_place: Any,
    new_by_channel: Any,
    strides: Any,
) -> None:
    """Take the events of a layer to the neurons of the layer before, in blocks of so many channels.

    Args:
        lanes: Of a block of the layer's input.
        num_samples: S.
        outputs: The layer's channels.
        convolution: Or a linear layer.
        height: Of the layer's input.
        rows: The layer's weights for every one of its events, of a convolution ``[blocks, 3 · outputs, 3, lanes]`` as in
            ``forward.convolution_layer``, turned round; of a linear layer ``[blocks, pixels · outputs, lanes]``.
        by_place: The layer's events.
        gates: Of the neurons of the layer before.
        gradient: Scratch of zeros: three rows of the layer's input, ``[3, width, blocks, lanes]``.
        first: Whether the layer before is the network's first: its gradients are only summed up over time.
        first_sample: The number of the first sample among all.
        sums: Where to.
        channels: Of the layer before.
        new_by_place: Its events, to be written, as are
        new_by_channel: those for its weights.
        strides: Of its input.
    """
    new_by_channel.counts[:] = 0
    direct = first and sums.direct
    for s in range(num_samples):
        n = 0
        total = sums.total[(first_sample + s) // sums.samples_per_image]
        into = total if direct else gradient
        for y in range(height + 1):
            if y < height and convolution:
                _add_convolution_row(lanes, s, y, outputs, rows, by_place, into)
            elif y < height:
                _add_linear_row(lanes, s, y, outputs, rows, by_place, into)
            complete = gradient[y % gradient.shape[0]]  # row y - 1
            for row in range(max(y - 1, 0) * gates.span, 0 if direct else y * gates.span):
                if first:
                    _add_masked_row(lanes, s, row, complete, gates, total)
                else:
                    n = _list_row(s, row, n, complete, gates, channels, new_by_place, new_by_channel, strides)
            complete[:] = 0.0
        gradient[:] = 0.0
        new_by_place.pointers[s, height * gates.span :] = n


@kernel
def weight_gradient(lanes: int, bits: bool, inputs: Any, convolution: bool, by_channel: Any, total: Any, total_bias: Any) -> None:
    """Add a layer's events to the gradients of its weights and biases, input channels in blocks of so many.

    ``total`` is ``[outputs, blocks, 3, 3, lanes]``, or of a linear layer ``[outputs, blocks, pixels, 1, lanes]``.
    """
    offsets, shares, counts = by_channel
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
