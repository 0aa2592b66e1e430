"""The layout grammar."""

import re

import pytest

from trainables.networks.layouts import final_map, parse_layout, scaled_channels


def test_seed_layout() -> None:
    """The seed's layout is five convolutions and three pools, and leaves a 4x4 map of a 32x32 image."""
    layout = "64 64 M 128 M 256 512 M"
    assert parse_layout(layout) == [64, 64, "M", 128, "M", 256, 512, "M"]
    assert final_map(layout, (32, 32, 3)) == (4, 4)
    assert final_map("64 A", (7, 5, 1)) == (3, 2)


def test_scaled_channels() -> None:
    """Channels are rounded to the nearest and never vanish."""
    assert [scaled_channels(64, scale) for scale in (4, 0.5, 0.02, 0.001)] == [256, 32, 1, 1]


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("64 X", "word 2 is 'X'"),
        ("64 -3", "word 2 is '-3'"),
        ("64 0", "word 2 is '0'"),
        ("", "must hold at least one convolution"),
        ("M 64", "starts with a pool"),
        ("64 M M M M", "word 5 (M, max pool) meets a 1x1 map for 8x8 images"),
    ],
)
def test_bad_layouts(layout: str, message: str) -> None:
    """A bad layout is refused with the word that is wrong."""
    with pytest.raises(ValueError, match=re.escape(message)):
        final_map(layout, (8, 8, 1))
