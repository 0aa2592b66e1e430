"""2x2 pools of spikes, as arithmetic on bits. See ``forward`` for shapes.

A mean pool computes no means. Four words stand behind it where one does behind another pool, those of its window's neurons, one
after the other: the layer that reads them takes every spike for an event of the pooled pixel, and has a quarter of its weights.
"""

from typing import Any

import numpy as np

from trainables.kernels.cpu.compiled.compiling import kernel

WORD_BITS = 32
WINDOW_PIXELS = 4


@kernel
def pool_or(spikes_THWV: Any, pooled_THWV: Any, border: int, masks_THWV: Any, masks_kept: int) -> None:
    """The logical OR of every 2x2 spikes. Masks keep the neuron that the gradient goes to: the first that spikes, or the first if
    none does; ``masks_kept`` is 0 where nobody reads them.
    """
    time_steps, height, width, num_words = spikes_THWV.shape
    for t in range(time_steps):
        spikes, pooled, masks = spikes_THWV[t], pooled_THWV[t], masks_THWV[t * masks_kept]
        for y in range(height // 2):
            for x in range(width // 2):
                for w in range(num_words):
                    a, b = spikes[2 * y, 2 * x, w], spikes[2 * y, 2 * x + 1, w]
                    c, d = spikes[2 * y + 1, 2 * x, w], spikes[2 * y + 1, 2 * x + 1, w]
                    any_spike = a | b | c | d
                    pooled[y + border, x + border, w] = any_spike
                    if masks_kept:
                        masks[2 * y, 2 * x, w] &= a | ~any_spike
                        masks[2 * y, 2 * x + 1, w] &= b & ~a
                        masks[2 * y + 1, 2 * x, w] &= c & ~(a | b)
                        masks[2 * y + 1, 2 * x + 1, w] &= d & ~(a | b | c)
        if masks_kept:
            _clear_rest(masks)


@kernel
def pool_mean(spikes_THWV: Any, pooled_THWV: Any, border: int, masks_THWV: Any, masks_kept: int) -> None:
    """The words of every 2x2 neurons side by side; masks are cleared where no window reaches."""
    time_steps, height, width, num_words = spikes_THWV.shape
    for t in range(time_steps):
        spikes, pooled = spikes_THWV[t], pooled_THWV[t]
        for y in range(height // 2):
            for x in range(width // 2):
                for w in range(num_words):
                    first = WINDOW_PIXELS * w
                    pooled[y + border, x + border, first] = spikes[2 * y, 2 * x, w]
                    pooled[y + border, x + border, first + 1] = spikes[2 * y, 2 * x + 1, w]
                    pooled[y + border, x + border, first + 2] = spikes[2 * y + 1, 2 * x, w]
                    pooled[y + border, x + border, first + 3] = spikes[2 * y + 1, 2 * x + 1, w]
        if masks_kept:
            _clear_rest(masks_THWV[t])


@kernel
def _clear_rest(masks_HWV: Any) -> None:
    """Clear an odd last row or column, which no window reaches: it gets no gradient."""
    height, width = masks_HWV.shape[:2]
    masks_HWV[height // 2 * 2 :] = np.uint32(0)
    masks_HWV[:, width // 2 * 2 :] = np.uint32(0)


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
