"""The layout grammar."""

import re

import pytest

from trainables.networks.layouts import (
    NAMED_LAYOUTS,
    Convolution,
    FullyConnected,
    GlobalPool,
    Pool,
    canonical_layout,
    final_map,
    last_map,
    parse_layout,
    scaled_channels,
    scaled_layout,
)
from trainables.networks.rules import RuleError


def test_seed_layout() -> None:
    """The seed's layout is five convolutions and three pools, and leaves a 4x4 map of a 32x32 image."""
    layout = "64 64 M 128 M 256 512 M"
    c, pool = Convolution, Pool("M")
    assert parse_layout(layout) == [c(64), c(64), pool, c(128), pool, c(256), c(512), pool]
    assert parse_layout("bitnet") == parse_layout(layout)
    assert final_map(layout, (32, 32, 3)) == (4, 4)
    assert final_map("64 A", (7, 5, 1)) == (3, 2)


def test_scaled_channels() -> None:
    """Channels are rounded to the nearest and never vanish."""
    assert [scaled_channels(64, scale) for scale in (4, 0.5, 0.02, 0.001)] == [256, 32, 1, 1]


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("64 X", "got 'X' as word 2"),
        ("64 -3", "got '-3' as word 2"),
        ("64 0", "got '0' as word 2"),
        ("", "must have at least one convolution"),
        ("M 64", "starts with M"),
        ("F64 64", "starts with F64"),
        ("64 F32 64", "only fully connected layers may follow a fully connected layer; got '64' as word 3"),
        ("64 M S", "S must stand right after a convolution, to which it gives stride 2; got S as word 3"),
        ("64 S S", "got S as word 3"),
        ("G 64", "starts with G"),
        ("64 G G", "only fully connected layers may follow G, the global average pool; got 'G' as word 3"),
        ("64 G 64", "got '64' as word 3"),
        ("64 G M", "got 'M' as word 3"),
        ("64 G S", "got 'S' as word 3"),
        ("64 F32 G", "only fully connected layers may follow a fully connected layer; got 'G' as word 3"),
        ("64 M M M M", "word 5 (M, max pool) meets a 1x1 map for 8x8 images"),
    ],
)
def test_bad_layouts(layout: str, message: str) -> None:
    """A bad layout is refused with the word that is wrong."""
    with pytest.raises(RuleError, match=re.escape(message)):
        final_map(layout, (8, 8, 1))


def test_strides_and_fully_connected_layers() -> None:
    """S gives the convolution before it stride 2, which sees an odd last row where a pool leaves it out."""
    assert parse_layout("64 S F32") == [Convolution(64, stride=2), FullyConnected(32)]
    assert final_map("64 S", (7, 5, 1)) == (4, 3)


def test_global_average_pools() -> None:
    """Behind G the map has one pixel, and fully connected layers may follow; what it averages is the last map."""
    assert parse_layout("64 M G F32") == [Convolution(64), Pool("M"), GlobalPool(), FullyConnected(32)]
    assert canonical_layout(" 064 M  G F032") == "64 M G F32"
    assert scaled_layout("64 M G F32", 0.5) == "32 M G F16"
    for shape, last in (((9, 8, 3), (4, 4)), ((40, 13, 1), (20, 6))):
        assert final_map("64 M G", shape) == (1, 1)
        assert last_map("64 M G", shape) == final_map("64 M", shape) == last


def test_named_layouts() -> None:
    """Every named layout is one of the grammar, and fits the images that it was published for."""
    sizes = {name: final_map(name, (64, 64, 3) if name == "bitnet_64px" else (32, 32, 3)) for name in NAMED_LAYOUTS}
    assert sizes == {"bitnet": (4, 4), "bitnet_64px": (4, 4), "bitnet_v101": (4, 4)} | {
        f"vgg{n}": (1, 1) for n in (11, 13, 16, 19)
    }
