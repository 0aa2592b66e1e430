"""Enumerated layouts are all that there are, each once."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.language.pool_placements import num_pool_placements, pool_placements
from search_spaces.language.rules import RuleError


def test_placements() -> None:
    """One kind a layout: places from the front, for each place every kind."""
    assert list(pool_placements(["64", "128", "256"], [2, 0], ["M", "A"], mixed=False)) == [
        "64 M 128 M 256",
        "64 A 128 A 256",
        "64 M 128 256 M",
        "64 A 128 256 A",
        "64 128 M 256 M",
        "64 128 A 256 A",
        "64 128 256",
    ]


def test_mixed_placements() -> None:
    """Mixed kinds: every combination; fully connected layers stay at the end and get no pool."""
    assert list(pool_placements(["64", "128", "F100", "F10"], [2], ["M", "S"], mixed=True)) == [
        "64 M 128 M F100 F10",
        "64 M 128 S F100 F10",
        "64 S 128 M F100 F10",
        "64 S 128 S F100 F10",
    ]
    assert list(pool_placements(["64", "128", "G", "F10"], [1], ["M"], mixed=False)) == ["64 M 128 G F10", "64 128 M G F10"]


def test_the_seeds_layout_is_among_them() -> None:
    """Three pools behind six convolutions stand in 20 ways, one of which is BITnet's; of three kinds, mixed, in 540."""
    convolutions = "64 64 128 256 512 512".split()
    layouts = list(pool_placements(convolutions, [3], ["M"], mixed=False))
    assert len(layouts) == 20
    assert "64 64 M 128 M 256 512 M 512" in layouts
    assert num_pool_placements(convolutions, [3], ["M", "A", "S"], mixed=True) == 20 * 27


@given(
    st.lists(st.sampled_from(["8", "16", "32"]), min_size=1, max_size=6),
    st.lists(st.sampled_from(["F10", "F128"]), max_size=2),
    st.lists(st.sampled_from(["M", "A", "S"]), min_size=1, unique=True),
    st.booleans(),
    st.data(),
)
def test_all_placements(convolutions: list[str], rest: list[str], kinds: list[str], mixed: bool, data: st.DataObject) -> None:
    """The layouts are what remains of all choices of a pool or none behind every convolution, and as many as counted."""
    num_pools = data.draw(st.lists(st.integers(0, len(convolutions)), min_size=1, unique=True))
    expected = set()
    for pools in product(["", *kinds], repeat=len(convolutions)):
        chosen = [kind for kind in pools if kind]
        if len(chosen) in num_pools and (mixed or len(set(chosen)) <= 1):
            words = [word for pair in zip(convolutions, pools, strict=True) for word in pair if word]
            expected.add(" ".join([*words, *rest]))
    layouts = list(pool_placements([*convolutions, *rest], num_pools, kinds, mixed=mixed))
    assert len(layouts) == len(set(layouts)) == num_pool_placements([*convolutions, *rest], num_pools, kinds, mixed=mixed)
    assert set(layouts) == expected


def test_counts_need_no_enumeration() -> None:
    """Layouts are made one by one and counted in closed form."""
    convolutions = ["64"] * 50
    assert num_pool_placements(convolutions, range(51), ["M", "A"], mixed=True) == 3**50
    assert next(pool_placements(convolutions, [25], ["M"], mixed=False)).startswith("64 M 64 M")


@pytest.mark.parametrize(
    ("convolutions", "num_pools", "kinds", "rule"),
    [
        (["64"], [1], ["X"], "must be one of M, A, S; got 'X'"),
        (["64"], [1], ["M", "M"], "must differ; got \\[1\\] and \\['M', 'M'\\]"),
        (["64"], [1, 1], ["M"], "must differ"),
        (["64", "G", "F10"], [2], ["M"], "from 0 to the number of convolutions \\(1\\); got 2"),
        (["64"], [-1], ["M"], "from 0 to the number of convolutions \\(1\\); got -1"),
        ([], [1], ["M"], "at least one convolution to stand behind; got none"),
        (["F10"], [1], ["M"], "at least one convolution to stand behind; got F10"),
        (["64", "M", "64"], [1], ["M"], "must be channel counts, .*; got 'M'"),
        (["64", "F10", "64"], [1], ["M"], "must be channel counts, .*; got 'F10'"),
        (["64"], [], ["M"], "at least one number and one kind of pools; got \\[\\]"),
        (["64"], [1], [], "at least one number and one kind of pools"),
    ],
)
def test_rules(convolutions: list[str], num_pools: list[int], kinds: list[str], rule: str) -> None:
    """What names no layouts is refused with the rule, whether they are counted or made."""
    for function in (pool_placements, num_pool_placements):
        with pytest.raises(RuleError, match=rule):
            function(convolutions, num_pools, kinds, mixed=False)
