"""Where to pool and how: all layouts that put pools behind the convolutions of a network.

A layout is a row of words, like ``"64 64 M 128 M 256 512 M"``: channel counts of convolutions, ``M`` for a max pool, ``A`` for
an average pool, ``S`` for a strided convolution in a pool's stead. ``G``, a global average pool, and fully connected layers
(``F128``) may end it.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from math import comb

from search_spaces.language.rules import RuleError

POOL_KINDS = ("M", "A", "S")


def pool_placements(convolutions: Sequence[str], num_pools: Sequence[int], kinds: Sequence[str], *, mixed: bool) -> Iterator[str]:
    """All layouts with the given numbers of pools, each pool behind a convolution of its own.

    They are in the order of ``num_pools``; of one number those with early pools come first.

    Args:
        convolutions: Channel counts as words, then G and fully connected layers if there are any; those stay at the end.
        num_pools: How many pools; 0 is the bare convolutions.
        kinds: The kinds of pools, of ``POOL_KINDS``.
        mixed: Whether the pools of one layout may be of different kinds.

    Raises:
        RuleError: There are no convolutions, numbers or kinds; a kind is unknown; a number or kind is there twice; a number is
            negative or larger than that of the convolutions.
    """
    num_convolutions = _check(convolutions, num_pools, kinds)
    return (
        _layout(convolutions, dict(zip(places, pools, strict=True)))
        for number in num_pools
        for places in combinations(range(num_convolutions), number)
        for pools in _pools(number, kinds, mixed=mixed)
    )


def num_pool_placements(convolutions: Sequence[str], num_pools: Sequence[int], kinds: Sequence[str], *, mixed: bool) -> int:
    """How many layouts ``pool_placements`` gives: for k pools behind n convolutions C(n, k) places, times the kinds.

    Raises:
        RuleError: As there.
    """
    num_convolutions = _check(convolutions, num_pools, kinds)
    return sum(comb(num_convolutions, number) * _num_kinds(number, kinds, mixed=mixed) for number in num_pools)


def _pools(number: int, kinds: Sequence[str], *, mixed: bool) -> Iterator[tuple[str, ...]]:
    """The kinds of the pools, in the order of their places."""
    if mixed or number == 0:
        return product(kinds, repeat=number)
    return ((kind,) * number for kind in kinds)


def _num_kinds(number: int, kinds: Sequence[str], *, mixed: bool) -> int:
    if mixed or number == 0:
        return int(len(kinds) ** number)
    return len(kinds)


def _layout(convolutions: Sequence[str], pools: dict[int, str]) -> str:
    return " ".join(f"{word} {pools[place]}" if place in pools else word for place, word in enumerate(convolutions))


def _check(convolutions: Sequence[str], num_pools: Sequence[int], kinds: Sequence[str]) -> int:
    """The number of convolutions, if no rule is broken."""
    num_convolutions = _num_convolutions(convolutions)
    if not num_pools or not kinds:
        raise RuleError("there must be at least one number and one kind of pools", f"{list(num_pools)} and {list(kinds)}")
    for kind in kinds:
        if kind not in POOL_KINDS:
            raise RuleError(f"the kind of a pool must be one of {', '.join(POOL_KINDS)}", repr(kind))
    if len(set(kinds)) < len(kinds) or len(set(num_pools)) < len(num_pools):
        raise RuleError("numbers and kinds of pools must differ", f"{list(num_pools)} and {list(kinds)}")
    for number in num_pools:
        if not 0 <= number <= num_convolutions:
            raise RuleError(f"the number of pools must be from 0 to the number of convolutions ({num_convolutions})", str(number))
    return num_convolutions


def _num_convolutions(convolutions: Sequence[str]) -> int:
    words = list(convolutions)
    while words and words[-1].startswith("F"):
        words.pop()
    if words and words[-1] == "G":
        words.pop()
    if not words:
        raise RuleError("pools need at least one convolution to stand behind", " ".join(convolutions) or "none")
    for word in words:
        if not (word.isascii() and word.isdigit()):
            raise RuleError("convolutions must be channel counts, G and fully connected layers (F128) at the end", repr(word))
    return len(words)
