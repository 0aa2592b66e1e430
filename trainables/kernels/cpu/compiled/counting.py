"""Counts of spikes, and of the weights that they meet, for the cost metrics. See ``forward`` for shapes."""

from typing import Any

import numpy as np

from trainables.kernels.cpu.compiled.compiling import kernel
from trainables.kernels.cpu.compiled.vectors import add_masked


@kernel
def count_spikes(spikes_NTHWV: Any, border: int, num_spikes_T: Any, ever_HWV: Any) -> None:
    """Add the spikes of every step, and set the bits of the neurons that have spiked."""
    num_images, time_steps, padded_height, padded_width, num_words = spikes_NTHWV.shape
    for image in range(num_images):
        for t in range(time_steps):
            for y in range(padded_height - 2 * border):
                for x in range(padded_width - 2 * border):
                    for w in range(num_words):
                        word = spikes_NTHWV[image, t, y + border, x + border, w]
                        ever_HWV[y, x, w] |= word
                        while word != np.uint32(0):
                            num_spikes_T[t] += 1
                            word &= word - np.uint32(1)


@kernel
def count_operations(lanes: int, spikes_NTHWV: Any, border: int, fan_out: Any, row_total: Any, operations_T: Any) -> None:
    """Add, for every step, how many weights the spikes meet: ``fan_out`` is ``[H, W, G, lanes]``."""
    num_images, time_steps = spikes_NTHWV.shape[:2]
    height, width, num_words = fan_out.shape[:3]
    for image in range(num_images):
        for t in range(time_steps):
            for y in range(height):
                row_total[:] = 0.0  # float32 is exact for a row, float64 for all
                for x in range(width):
                    for w in range(num_words):
                        bits = spikes_NTHWV[image, t, y + border, x + border, w:].ctypes.data
                        add_masked(lanes, True, row_total.ctypes.data, fan_out[y, x, w].ctypes.data, bits)
                for lane in range(lanes):
                    operations_T[t] += row_total[lane]
