"""Means over groups of time steps, for the rate-collapsed backward pass; see ``networks.collapsed`` for its equations.

And sums of the spikes behind a mean pool, see ``pooling``.
"""

from typing import Any

import numpy as np

from trainables.kernels.cpu.compiled.arrays import Array
from trainables.kernels.cpu.compiled.compiling import kernel
from trainables.kernels.cpu.compiled.vectors import add_row


@kernel
def group_means(lanes: int, bits_NTHWV: Any, bounds: Any, offsets: Any, shares: Any, means: Any) -> None:
    """Write the means of groups of time steps, ``[images, groups, height, width, G, lanes]``.

    Group g has the words whose ``offsets`` (bytes) and ``shares`` (1 / its size) stand from ``bounds[g]`` to ``bounds[g + 1]``.
    """
    num_images, num_groups, height, width, num_words = means.shape[:5]
    place_bytes = 4 * (bits_NTHWV.shape[4] // num_words)
    for image in range(num_images):
        bits, into = bits_NTHWV[image].ctypes.data, means[image].ctypes.data
        means[image] = 0.0
        for place in range(height * width * num_words):
            for g in range(num_groups):
                mean = into + 4 * lanes * (g * height * width * num_words + place)
                at, share = offsets.ctypes.data + 4 * bounds[g], shares.ctypes.data + 4 * bounds[g]
                add_row(lanes, True, mean, bits + place_bytes * place, at, share, bounds[g + 1] - bounds[g])


@kernel
def sum_words(lanes: int, bits_SHWV: Any, offsets: Any, ones: Any, sums: Any) -> None:
    """Write the sums of as many words as there are ``offsets`` (bytes), ``[S, height, width, G, lanes]``."""
    bits, into, num_words = bits_SHWV.ctypes.data, sums.ctypes.data, len(offsets)
    sums[:] = 0.0
    for place in range(sums.size // lanes):
        words = bits + 4 * num_words * place
        add_row(lanes, True, into + 4 * lanes * place, words, offsets.ctypes.data, ones.ctypes.data, num_words)


@kernel
def ever_set(bits_NTP: Any, bounds: Any, ever_NKP: Any) -> None:
    """The bits that are set at any step of a group; a map's words in one row."""
    for image in range(ever_NKP.shape[0]):
        for g in range(ever_NKP.shape[1]):
            ever = ever_NKP[image, g]
            ever[:] = bits_NTP[image, bounds[g]]
            for t in range(bounds[g] + 1, bounds[g + 1]):
                some = bits_NTP[image, t]
                for place in range(len(ever)):
                    ever[place] |= some[place]


class Groups:
    """Groups of consecutive time steps, as the kernels read them."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self.bounds = np.cumsum([0, *sizes])
        self._shares = np.repeat(1 / np.array(sizes), sizes).astype(np.float32)

    def write_means(self, bits_NTHWV: Array, means: Array) -> None:
        """The mean bits of every group; where a lane group has several words (behind a mean pool), the sum over them."""
        words_per_lane_group = bits_NTHWV.shape[-1] // means.shape[-2]
        steps, words = np.arange(self.bounds[-1]) * bits_NTHWV.strides[1], np.arange(words_per_lane_group) * bits_NTHWV.itemsize
        offsets = np.add.outer(steps, words).ravel().astype(np.int32)
        shares = np.repeat(self._shares, words_per_lane_group)
        group_means(means.shape[-1], bits_NTHWV, self.bounds * words_per_lane_group, offsets, shares, means)

    def write_ever(self, bits_NTHWV: Array, ever_NKHWV: Array) -> None:
        """The bits that are set at any step of every group."""
        flat = (*bits_NTHWV.shape[:2], -1), (*ever_NKHWV.shape[:2], -1)
        ever_set(bits_NTHWV.reshape(flat[0]), self.bounds, ever_NKHWV.reshape(flat[1]))
