"""The grammar of layouts, such as ``"64 64 M 128 M 256 512 M"``.

A layout is a sequence of words. A whole number is a 3x3 convolution with that many output channels (before
``feature_scale``); ``M`` is a 2x2 max pool and ``A`` a 2x2 average pool, both with stride 2; ``S`` gives the convolution
before it stride 2, instead of a pool; ``G`` averages every channel over its whole map, which no convolution follows; ``F4096``
is a fully connected layer. A name of ``NAMED_LAYOUTS`` stands for its words.
"""

from dataclasses import dataclass
from typing import Literal

from trainables.networks.rules import RuleError

ImageShape = tuple[int, int, int]
"""Height, width, channels."""

MOST_DIGITS = 6
"""A channel count has fewer digits; no memory would hold a layer of more channels."""

GLOBAL_POOL = "G"
POOL_NAMES = {"M": "max pool", "A": "average pool", "S": "strided convolution"}

NAMED_LAYOUTS = {
    "bitnet": "64 64 M 128 M 256 512 M",  # Reddy, BITnet README
    "bitnet_64px": "64 M 64 M 128 M 256 512 M",  # the same for 64x64 images: one more pool, after the first convolution
    "bitnet_v101": "64 64 M 128 256 M 512 M",  # its second published layout: the pools moved
    "vgg11": "64 M 128 M 256 256 M 512 512 M 512 512 M F4096 F4096",  # Simonyan & Zisserman 2015, table 1
    "vgg13": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M F4096 F4096",
    "vgg16": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M F4096 F4096",
    "vgg19": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M F4096 F4096",
}


@dataclass(frozen=True)
class Convolution:
    """A 3x3 convolution with padding 1; ``channels`` are its output channels before ``feature_scale``."""

    channels: int
    stride: int = 1


@dataclass(frozen=True)
class FullyConnected:
    """A fully connected layer; ``width`` are its units before ``feature_scale``."""

    width: int


PoolKind = Literal["M", "A"]


@dataclass(frozen=True)
class Pool:
    """A 2x2 pool with stride 2: M for max, A for average."""

    kind: PoolKind


@dataclass(frozen=True)
class GlobalPool:
    """The mean of every channel over its whole map."""


Layer = Convolution | FullyConnected | Pool | GlobalPool


def parse_layout(layout: str) -> list[Layer]:
    """The layers of a layout, in order.

    Raises:
        RuleError: A word is not of the grammar, or stands where it cannot.
    """
    layers: list[Layer] = []
    for position, word in enumerate(words_of(layout), start=1):
        if not layers and (word in POOL_NAMES or word == GLOBAL_POOL or word.startswith("F")):
            raise RuleError("a layout must start with a convolution", f"{layout!r}, which starts with {word}")
        if layers and isinstance(layers[-1], FullyConnected) and not word.startswith("F"):
            raise RuleError("only fully connected layers may follow a fully connected layer", f"{word!r} as word {position}")
        if layers and isinstance(layers[-1], GlobalPool) and not word.startswith("F"):
            raise RuleError("only fully connected layers may follow G, the global average pool", f"{word!r} as word {position}")
        if word == "S":
            layers.append(_strided(layers.pop(), position))
        else:
            layers.append(_layer(word, position))
    if not any(isinstance(layer, Convolution) for layer in layers):
        raise RuleError("a layout must have at least one convolution", repr(layout))
    return layers


def _layer(word: str, position: int) -> Layer:
    if word in ("M", "A"):
        return Pool("M" if word == "M" else "A")
    if word == GLOBAL_POOL:
        return GlobalPool()
    if _is_count(word):
        return Convolution(int(word))
    if word.startswith("F") and _is_count(word[1:]):
        return FullyConnected(int(word[1:]))
    rule = "every word of a layout must be a channel count, a pool (M, A, S, G) or a fully connected layer (F128)"
    raise RuleError(rule, f"{word!r} as word {position}")


def _strided(layer: Layer, position: int) -> Convolution:
    if isinstance(layer, Convolution) and layer.stride == 1:
        return Convolution(layer.channels, stride=2)
    raise RuleError("S must stand right after a convolution, to which it gives stride 2", f"S as word {position}")


def words_of(layout: str) -> list[str]:
    """The words of a layout, or of the one that it names."""
    return NAMED_LAYOUTS.get(layout.strip(), layout).split()


def has_pools(layout: str, *kinds: PoolKind) -> bool:
    """Whether a layout has a pool of one of these kinds."""
    return any(word in kinds for word in words_of(layout))


def canonical_layout(layout: str) -> str:
    """The canonical form of a layout: words with one space between them, names replaced by their words, counts without leading
    zeros. A text that is no layout of the grammar is returned as it is.
    """
    try:
        return " ".join(_word(layer) for layer in parse_layout(layout))
    except RuleError:
        return layout


def _word(layer: Layer) -> str:
    if isinstance(layer, Pool):
        return layer.kind
    if isinstance(layer, FullyConnected):
        return f"F{layer.width}"
    if isinstance(layer, GlobalPool):
        return GLOBAL_POOL
    return str(layer.channels) if layer.stride == 1 else f"{layer.channels} S"


def _is_count(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < MOST_DIGITS and int(word) > 0


def scaled_channels(channels: int, feature_scale: float) -> int:
    """The channel count of a convolution under ``feature_scale``, rounded to the nearest, at least 1."""
    return max(1, round(channels * feature_scale))


def scaled_layout(layout: str, feature_scale: float) -> str:
    """The layout that is built under ``feature_scale``: its channel counts and widths are those of the network.

    Raises:
        RuleError: It is no layout of the grammar.
    """
    return " ".join(_word(_scaled(layer, feature_scale)) for layer in parse_layout(layout))


def _scaled(layer: Layer, feature_scale: float) -> Layer:
    match layer:
        case Convolution(channels, stride):
            return Convolution(scaled_channels(channels, feature_scale), stride)
        case FullyConnected(width):
            return FullyConnected(scaled_channels(width, feature_scale))
    return layer


def convolution_channels(layout: str, feature_scale: float) -> list[int]:
    """The channel counts of a layout's convolutions under ``feature_scale``.

    Raises:
        RuleError: It is no layout of the grammar.
    """
    layers = parse_layout(layout)
    return [scaled_channels(layer.channels, feature_scale) for layer in layers if isinstance(layer, Convolution)]


def final_map(layout: str, image_shape: ImageShape) -> tuple[int, int]:
    """Height and width of the map that the first fully connected layer sees, for images of ``image_shape``.

    Raises:
        RuleError: The layout does not parse, or a pool meets a map with a side of 1.
    """
    last = last_map(layout, image_shape)
    return (1, 1) if has_global_pool(layout) else last


def last_map(layout: str, image_shape: ImageShape) -> tuple[int, int]:
    """The same where every map is looked at as it is, before a global average pool.

    Raises:
        RuleError: As there.
    """
    parse_layout(layout)
    height, width, _ = image_shape
    for position, word in enumerate(words_of(layout), start=1):
        if word in POOL_NAMES:
            if min(height, width) < 2:
                pool = f"word {position} ({word}, {POOL_NAMES[word]}) meets a {height}x{width} map"
                images = f"{image_shape[0]}x{image_shape[1]} images"
                raise RuleError("a pool needs a map of at least 2x2", f"{layout!r}, in which {pool} for {images}")
            # a pool leaves out an odd last row, a strided convolution with padding 1 sees it
            height, width = ((height + 1) // 2, (width + 1) // 2) if word == "S" else (height // 2, width // 2)
    return height, width


def downsized_shape(image_shape: ImageShape, side: int) -> ImageShape:
    """The shape of images whose shorter side becomes ``side``, as torchvision's ``resize`` has it: the longer one is rounded
    down.
    """
    height, width, channels = image_shape
    shorter = min(height, width)
    return side * height // shorter, side * width // shorter, channels


def has_global_pool(layout: str) -> bool:
    """Whether a layout has a global average pool, so that its weights fit images of any size."""
    return GLOBAL_POOL in words_of(layout)


def has_one_convolution(layout: str) -> bool:
    """Whether a layout has no second convolution."""
    return sum(word.isdecimal() for word in words_of(layout)) < 2


def has_hidden_linear_layers(layout: str) -> bool:
    """Whether a layout has fully connected layers before its output layer."""
    return any(word.startswith("F") for word in words_of(layout))
