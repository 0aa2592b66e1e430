"""The layout grammar of the seed: ``"64 64 M 128 M 256 512 M"``.

A layout is a sequence of words: a whole number is a 3x3 convolution with that many output channels (before
``feature_scale``), ``M`` a 2x2 max pool and ``A`` a 2x2 average pool, both with stride 2.
"""

from typing import Literal

Pool = Literal["M", "A"]
Layer = int | Pool
ImageShape = tuple[int, int, int]
"""Height, width, channels."""

MOST_DIGITS = 6
"""A channel count has fewer; more is a slip of the keyboard, or no memory would hold it."""

POOL_NAMES: dict[Pool, str] = {"M": "max pool", "A": "average pool"}


def parse_layout(layout: str) -> list[Layer]:
    """The layers of a layout, in order.

    Raises:
        ValueError: A word is neither a positive whole number nor ``M`` or ``A``; or there is no convolution; or the
            layout starts with a pool (a pool acts on spikes, and the image has none).
    """
    layers: list[Layer] = []
    for position, word in enumerate(layout.split(), start=1):
        if word in ("M", "A"):
            layers.append("M" if word == "M" else "A")
        elif word.isascii() and word.isdigit() and len(word) < MOST_DIGITS and int(word) > 0:
            layers.append(int(word))
        else:
            raise ValueError(f"every word of a layout must be a channel count or a pool (M, A), but word {position} is {word!r}")
    if not any(isinstance(layer, int) for layer in layers):
        raise ValueError(f"a layout must hold at least one convolution, but got {layout!r}")
    if layers[0] in POOL_NAMES:
        raise ValueError(f"a layout must start with a convolution, but {layout!r} starts with a pool")
    return layers


def scaled_channels(channels: int, feature_scale: float) -> int:
    """The channel count of a convolution under ``feature_scale``, rounded to the nearest, at least 1."""
    return max(1, round(channels * feature_scale))


def final_map(layout: str, image_shape: ImageShape) -> tuple[int, int]:
    """Height and width of the map that the output layer sees, for images of ``image_shape``.

    Raises:
        ValueError: The layout does not parse, or a pool meets a map with a side of 1.
    """
    height, width, _ = image_shape
    for position, layer in enumerate(parse_layout(layout), start=1):
        if isinstance(layer, int):
            continue
        if min(height, width) < 2:
            raise ValueError(
                f"a pool needs a map of at least 2x2, but in {layout!r} word {position} ({layer}, {POOL_NAMES[layer]}) "
                f"meets a {height}x{width} map for {image_shape[0]}x{image_shape[1]} images"
            )
        height, width = height // 2, width // 2
    return height, width
