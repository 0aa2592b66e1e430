"""The kernels' arrays: how channels are laid out in them, and memory that begins at a page or belongs to a module."""

import math
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from torch import nn

from trainables.kernels.cpu.compiled.vectors import NARROW, WIDE

Array = np.ndarray[Any, Any]
_KEPT: WeakKeyDictionary[nn.Module, dict[str, Array]] = WeakKeyDictionary()


def lanes_of(channels: int) -> int:
    """How many channels a lane group has: 16 for a layer of at most 16 channels, else 32, as many as a word has bits."""
    return NARROW if channels <= NARROW else WIDE


def num_lane_groups(channels: int) -> int:
    """How many lane groups, and words of bits, a layer of ``channels`` channels takes."""
    return -(-channels // WIDE)


def zeros(*shape: int, dtype: Any = np.float32) -> Array:
    """An array that begins at a page; pages that are never written take no memory, as those of the C library's heap might."""
    num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    pages = mmap(-1, max(num_bytes, 1), MAP_PRIVATE | MAP_ANONYMOUS)
    made: Array = np.frombuffer(pages, dtype=np.uint8, count=num_bytes).view(dtype).reshape(shape)
    return made


def words(*shape: int) -> Array:
    """An array of zeros of uint32, the words that hold the bits of spikes."""
    return zeros(*shape, dtype=np.uint32)


def module_array(owner: nn.Module, name: str, *shape: int) -> Array:
    """The array of that name that belongs to a module, zeros at first; evaluators and trainers of a network share it in turn."""
    arrays = _KEPT.setdefault(owner, {})
    if name not in arrays:
        arrays[name] = zeros(*shape)
    return arrays[name]
