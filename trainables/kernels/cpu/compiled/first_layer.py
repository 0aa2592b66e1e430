"""The first layer's synapses: a 3x3 convolution of images, which are the same input at every step."""

from typing import Any

from trainables.kernels.cpu.compiled.compiling import kernel
from trainables.kernels.cpu.compiled.vectors import WINDOW, sum_scaled_rows


@kernel
def image_drives(lanes: int, images_NCHW: Any, weights: Any, patch: Any, taps: Any, drives: Any) -> None:
    """The drives ``[N, 1, pixels, G, lanes]`` of images with a border of zeros.

    ``weights.rows`` are ``[G, C · 3 · 3, lanes]``; ``patch`` is scratch for as many values, and ``taps`` their numbers.
    """
    num_images, channels = images_NCHW.shape[:2]
    width, num_lane_groups, num_taps = images_NCHW.shape[3] - 2, drives.shape[3], len(taps)
    for image in range(num_images):
        for pixel in range(drives.shape[2]):
            y, x = pixel // width, pixel % width
            for c in range(channels):
                for dy in range(WINDOW):
                    for dx in range(WINDOW):
                        patch[(c * WINDOW + dy) * WINDOW + dx] = images_NCHW[image, c, y + dy, x + dx]
            for g in range(num_lane_groups):
                into, bias = drives[image, 0, pixel, g].ctypes.data, weights.bias.ctypes.data + 4 * lanes * g
                rows = weights.rows.ctypes.data + 4 * lanes * g * num_taps
                sum_scaled_rows(lanes, into, bias, rows, taps.ctypes.data, patch.ctypes.data, 0, num_taps)


@kernel
def image_gradient(
    kind: Any, images_NCHW: Any, drives: Any, sums_NHWV: Any, columns: Any, ones: Any, total: Any, total_bias: Any
) -> None:
    """Add the gradients of weights ``[C · 3 · 3, G, lanes]`` and biases.

    Args:
        kind: Of the first layer's neurons: between which drives the gradient passes.
        images_NCHW: With a border of zeros.
        drives: What ``image_drives`` has written.
        sums_NHWV: Gradients of the clamped drives, summed up over time, ``[N, height + 2, width, G, lanes]``; written over.
        columns: The numbers of the columns, as events of one lane group.
        ones: As many ones.
        total: Of the weights.
        total_bias: Of the biases.
    """
    num_images, num_taps, lanes = images_NCHW.shape[0], total.shape[0], kind.lanes
    _, padded_height, width, num_lane_groups, _ = sums_NHWV.shape
    for image in range(num_images):
        for y in range(padded_height - 2):
            for x in range(width):
                for g in range(num_lane_groups):
                    for c in range(lanes):
                        drive = drives[image, 0, y * width + x, g, c]
                        sums_NHWV[image, y + 1, x, g, c] *= (drive > kind.passes_above) & (drive < kind.passes_below)
            for g in range(num_lane_groups):
                rows, bias = sums_NHWV[image, y + 1, 0, g].ctypes.data, total_bias[g].ctypes.data
                sum_scaled_rows(lanes, bias, bias, rows, columns.ctypes.data, ones.ctypes.data, 0, width)
                for tap in range(num_taps):
                    c, dy, dx = tap // (WINDOW * WINDOW), tap // WINDOW % WINDOW, tap % WINDOW
                    values, into = images_NCHW[image, c, y + dy, dx:].ctypes.data, total[tap, g].ctypes.data
                    sum_scaled_rows(lanes, into, into, rows, columns.ctypes.data, values, 0, width)
