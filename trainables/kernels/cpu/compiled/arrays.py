"""The kernels' arrays: how channels stand in them, and memory that is aligned, or kept from one engine to the next."""

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
    """How many channels stand in a block; all blocks but a narrow network's only one are as wide as a word."""
    return NARROW if channels <= NARROW else WIDE


def num_blocks(channels: int) -> int:
    """Blocks, and words of bits, that so many channels take."""
    return -(-channels // WIDE)


def zeros(*shape: int, dtype: Any = np.float32) -> Array:
    """An array that begins at a page; pages that are never written take no memory, as those of the C library's heap might."""
    num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    pages = mmap(-1, max(num_bytes, 1), MAP_PRIVATE | MAP_ANONYMOUS)
    made: Array = np.frombuffer(pages, dtype=np.uint8, count=num_bytes).view(dtype).reshape(shape)
    return made


def words(*shape: int) -> Array:
    """The same of uint32."""
    return zeros(*shape, dtype=np.uint32)


def kept(owner: nn.Module, name: str, *shape: int) -> Array:
    """The array of that name for a module, of zeros at first: all engines of a network share it, one after the other."""
    arrays = _KEPT.setdefault(owner, {})
    if name not in arrays:
        arrays[name] = zeros(*shape)
    return arrays[name]
