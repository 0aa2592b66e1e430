"""The backward pass of one layer: gradients that are not zero are events, summed by the same loops as spikes. See ``forward``.

The straight-through gradient is local in time. So S samples, each one time step of one image, go backward through all layers
before the next ones do. A mask is 1 where the gradient passes the clamp of the neuron and goes through the pool behind it.

With a rate-collapsed gradient (see ``networks.collapsed``) a sample is a group of time steps of an image. Then spikes are mean
spikes, floats instead of bits, and masks have ``means`` beside the bits, which say where the mean is not 0. Otherwise ``means``
is empty. Behind a mean pool spikes are floats in any case: how many of the four neurons of a window spike.
"""

from typing import Any, NamedTuple

import numpy as np

from trainables.kernels.cpu.compiled.arrays import Array
from trainables.kernels.cpu.compiled.bit_lists import lowest_bit
from trainables.kernels.cpu.compiled.compiling import kernel
from trainables.kernels.cpu.compiled.pooling import WORD_BITS
from trainables.kernels.cpu.compiled.vectors import WINDOW, add_masked, add_row, add_scaled_taps, add_window, sum_scaled_rows


class ByPlace(NamedTuple):
    """A layer's gradients as events, sorted by place, for the input gradient.

    Attributes:
        events: Column and channel, ``(x + border) · channels + c``, ``[S, most]`` int32.
        values: Their gradients, ``[S, most]`` float32.
        pointers: Where the events of pixel (y, x) begin, ``[S, height, width + 3]`` int32.
    """

    events: Array
    values: Array
    pointers: Array


class ByChannel(NamedTuple):
    """A layer's gradients as events, sorted by channel, for the weight gradient.

    Attributes:
        offsets: Where the window of the input that the weights see begins, in bytes from the first word of the input,
            ``[channels, most]`` int32.
        shares: Their gradients, ``[channels, most]`` float32.
        counts: How many events a channel has, ``[channels]`` int64.
    """

    offsets: Array
    shares: Array
    counts: Array


class InputStrides(NamedTuple):
    """Where the window of a layer's input begins, for the neuron at sample s, row y, column x: s·sample + y·row + x·pixel.

    Attributes:
        sample: Bytes from sample to sample of the input.
        row: Bytes from row to row; 0 for a linear layer, which sees the whole input.
        pixel: Bytes from pixel to pixel; 0 for a linear layer.
        border: The width of the zeros around the layer's own events, in pixels: 1 for a convolution, else 0.
    """

    sample: int
    row: int
    pixel: int
    border: int


class GradientMasks(NamedTuple):
    """Where the gradient of a layer's neurons passes.

    Attributes:
        masks: Bits, ``[S, height, width, V]``.
        means: The mean mask of a group of time steps, ``[S, height, width, G, lanes]``; empty where samples are single steps.
        span: Rows (and columns) of neurons that are one behind the pool: 2, or 1 without a pool.
    """

    masks: Array
    means: Array
    span: int


class InputGradientSums(NamedTuple):
    """Where the gradients at the first layer's outputs are summed up over time.

    Attributes:
        total: ``[N, height + 2, width, G, lanes]``.
        samples_per_image: Time steps, or groups of them.
        direct: Whether they are summed without a mask. The first layer's drive is constant in time, and so is its mask without a
            pool: it is applied once, to the sum.
    """

    total: Array
    samples_per_image: int
    direct: bool


@kernel
def list_drives(grads_SK: Any, by_place: Any, by_channel: Any, strides: Any) -> None:
    """List the events of the last layer, which is linear, from the gradients ``[S, K]`` at its K drives."""
    events, values, pointers = by_place
    offsets, shares, counts = by_channel
    counts[:] = 0
    for s in range(grads_SK.shape[0]):
        n = 0
        for k in range(grads_SK.shape[1]):
            value = grads_SK[s, k]
            if value != 0:
                events[s, n], values[s, n] = k, value
                offsets[k, counts[k]], shares[k, counts[k]] = s * strides.sample, value
                counts[k] += 1
                n += 1
        pointers[s, 0, -1] = n


@kernel
def _list_row(
    s: int, y: int, n: int, gradient: Any, gradient_masks: Any, channels: int, by_place: Any, by_channel: Any, strides: Any
) -> int:
    """List the events of a row of neurons from the gradients behind their pool, and return how many there are now."""
    events, values, pointers = by_place
    offsets, shares, counts = by_channel
    width, num_words = gradient_masks.masks.shape[2:]
    pointers[s, y, 0] = n
    for x in range(width):
        pointers[s, y, x + 1] = n
        offset = s * strides.sample + y * strides.row + x * strides.pixel
        for w in range(num_words):
            word = gradient_masks.masks[s, y, x, w]
            while word != np.uint32(0):
                bit = lowest_bit(word)
                word &= word - np.uint32(1)
                c, value = w * WORD_BITS + bit, gradient[x // gradient_masks.span, w, bit]
                if len(gradient_masks.means):
                    value *= gradient_masks.means[s, y, x, w, bit]
                events[s, n], values[s, n] = (x + strides.border) * channels + c, value
                n += 1
                count = counts[c]
                offsets[c, count], shares[c, count] = offset, value
                counts[c] = count + 1
    pointers[s, y, width + 1 :] = n
    return n


@kernel
def _add_masked_row(lanes: int, s: int, y: int, gradient: Any, gradient_masks: Any, total_HWV: Any) -> None:
    """Add the gradients of a row to their sums over time."""
    width, num_words = gradient_masks.masks.shape[2:]
    bits = len(gradient_masks.means) == 0
    mask_bytes = 4 if bits else 4 * lanes
    masks = gradient_masks.masks[s, y].ctypes.data if bits else gradient_masks.means[s, y].ctypes.data
    for x in range(width // gradient_masks.span * gradient_masks.span):
        for g in range(num_words):
            into = total_HWV[y + 1, x, g].ctypes.data
            more = gradient[x // gradient_masks.span, g].ctypes.data
            add_masked(lanes, bits, into, more, masks + mask_bytes * (num_words * x + g))


@kernel
def _add_convolution_row(lanes: int, s: int, y: int, outputs: int, rows: Any, by_place: Any, gradient: Any) -> None:
    """Add what a row of events gives to three rows of input gradients; row y of them is row (y + 1) mod 3 of ``gradient``."""
    events, values, pointers = by_place
    num_rows, width, num_lane_groups = gradient.shape[:3]
    row_bytes = 4 * lanes
    for x in range(width):
        first, last = pointers[s, y, x], pointers[s, y, x + WINDOW]
        for g in range(num_lane_groups if first < last else 0):
            add_scaled_taps(
                lanes,
                gradient[y % num_rows, x, g].ctypes.data,
                gradient[(y + 1) % num_rows, x, g].ctypes.data,
                gradient[(y + 2) % num_rows, x, g].ctypes.data,
                rows.ctypes.data + WINDOW * row_bytes * (g * rows.shape[1] - x * outputs),
                events[s].ctypes.data,
                first,
                last,
                values[s].ctypes.data,
            )


@kernel
def _add_linear_row(lanes: int, s: int, y: int, outputs: int, rows: Any, by_place: Any, gradient: Any) -> None:
    """Add what the events of a linear layer give to the gradients of row y of its input."""
    events, values, pointers = by_place
    num_rows, width, num_lane_groups = gradient.shape[:3]
    for x in range(width):
        for g in range(num_lane_groups):
            into = gradient[(y + 1) % num_rows, x, g].ctypes.data
            row = rows.ctypes.data + 4 * lanes * (g * rows.shape[1] + (y * width + x) * outputs)
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
    same: int,
    gradient_masks: Any,
    gradient: Any,
    first: bool,
    first_sample: int,
    sums: Any,
    channels: int,
    new_by_place: Any,
    new_by_channel: Any,
    strides: Any,
) -> None:
    """Compute the gradient at a layer's input from its events, and list it as events of the neurons of the layer before.

    Args:
        lanes: Channels of a lane group of the layer's input.
        num_samples: S.
        outputs: The layer's channels.
        convolution: Or a linear layer.
        height: Of the layer's input.
        rows: The layer's weights for every one of its events, of a convolution ``[G, 3 · outputs, 3, lanes]`` as in
            ``forward.convolution_layer``, turned round; of a linear layer ``[G, pixels · outputs, lanes]``.
        by_place: The layer's events.
        same: How many samples in a row have the same events, if it is a linear layer; the first of them is a multiple of it.
        gradient_masks: Of the neurons of the layer before.
        gradient: Scratch memory: rows of the layer's input, ``[3, width, G, lanes]``, or of a linear layer all of them,
            ``[height + 1, width, G, lanes]``.
        first: Whether the layer before is the network's first: its gradients are only summed up over time.
        first_sample: The number of the first sample among all.
        sums: Where they are summed up.
        channels: Of the layer before.
        new_by_place: The events of the layer before, which are written.
        new_by_channel: The same for its weights.
        strides: Of the input of the layer before.
    """
    new_by_channel.counts[:] = 0
    direct = first and sums.direct
    for s in range(num_samples):
        n = 0
        differs = convolution or direct or s == 0 or (first_sample + s) % same == 0
        if differs:
            gradient[:] = 0.0
        total = sums.total[(first_sample + s) // sums.samples_per_image]
        into = total if direct else gradient
        for y in range(height + 1):
            if y < height and convolution:
                _add_convolution_row(lanes, s, y, outputs, rows, by_place, into)
            elif y < height and differs:
                _add_linear_row(lanes, s, y, outputs, rows, by_place, into)
            complete = gradient[y % gradient.shape[0]]  # row y - 1
            for row in range(max(y - 1, 0) * gradient_masks.span, 0 if direct else y * gradient_masks.span):
                if first:
                    _add_masked_row(lanes, s, row, complete, gradient_masks, total)
                else:
                    n = _list_row(s, row, n, complete, gradient_masks, channels, new_by_place, new_by_channel, strides)
            if convolution:
                complete[:] = 0.0
        new_by_place.pointers[s, height * gradient_masks.span :] = n


@kernel
def weight_gradient(lanes: int, bits: bool, inputs: Any, convolution: bool, by_channel: Any, total: Any, total_bias: Any) -> None:
    """Add a layer's events to the gradients of its weights and biases; ``lanes`` are channels of a lane group of its input.

    ``total`` is ``[outputs, G, 3, 3, lanes]``, or of a linear layer ``[outputs, G, pixels, 1, lanes]``.
    """
    offsets, shares, counts = by_channel
    lane_group_bytes = 4 if bits else 4 * lanes
    width, num_words = inputs.shape[2:4]
    num_lane_groups, num_rows, row_bytes = total.shape[1], total.shape[2], 4 * lanes * total.shape[3]
    pixel_bytes = lane_group_bytes * num_words
    row_stride = pixel_bytes * (width if convolution else 1)
    for k in range(total.shape[0]):
        num = counts[k]
        at, value = offsets.ctypes.data + 4 * k * offsets.shape[1], shares.ctypes.data + 4 * k * shares.shape[1]
        for event in range(num):
            total_bias[k] += shares[k, event]
        for g in range(num_lane_groups if num else 0):
            for r in range(num_rows):
                into = total.ctypes.data + row_bytes * ((k * num_lane_groups + g) * num_rows + r)
                row = inputs.ctypes.data + row_stride * r + lane_group_bytes * g
                if convolution:
                    add_window(lanes, bits, into, row, pixel_bytes, at, value, num)
                else:
                    add_row(lanes, bits, into, row, at, value, num)
