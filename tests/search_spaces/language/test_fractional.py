"""Fractions of factorials have the fewest runs, the least aberration, and the aliases that they say."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.language.designs import Fraction, fractional_factorial, full_factorial
from search_spaces.language.factors import same_level
from search_spaces.language.fractional import aliased_effects, resolution_of, smallest_columns
from search_spaces.language.rules import RuleError
from search_spaces.language.space import Cell, Factor, Level, Levels, Space, cell_key, make_space
from tests.search_spaces.language.strategies import assignments, levels

LARGEST_WORD_DISTANCES = {  # Brouwer & Verhoeff 1993: of binary linear codes of length k and dimension 1, 2, …, down to 3
    3: [3],
    4: [4],
    5: [5, 3],
    6: [6, 4, 3],
    7: [7, 4, 4, 3],
    8: [8, 5, 4, 4],
    9: [9, 6, 4, 4, 3],
    10: [10, 6, 5, 4, 4, 3],
    11: [11, 7, 6, 5, 4, 4, 3],
    12: [12, 8, 6, 6, 4, 4, 4, 3],
    13: [13, 8, 7, 6, 5, 4, 4, 4, 3],
    14: [14, 9, 8, 7, 6, 5, 4, 4, 4, 3],
    15: [15, 10, 8, 8, 7, 6, 5, 4, 4, 4, 3],
}


def two_level_space(num_factors: int) -> tuple[Space, dict[str, Level]]:
    """Factors a, b, c, …, on or off, and the baseline that has all of them on."""
    names = "abcdefghijklmnopqrstuvwxyz"[:num_factors]
    return make_space([Factor(name, Levels((True, False))) for name in names]), dict.fromkeys(names, True)


def word_lengths(columns: Sequence[int]) -> Counter[int]:
    """The number of words by length, from all subsets of the columns."""
    found: Counter[int] = Counter()
    products = np.zeros(1, dtype=np.int64)
    sizes = np.zeros(1, dtype=np.int64)
    for column in columns:
        products, sizes = np.concatenate([products, products ^ column]), np.concatenate([sizes, sizes + 1])
    found.update(int(size) for size in sizes[products == 0] if size)
    return found


@pytest.mark.parametrize(
    ("num_factors", "asked", "num_runs", "words"),
    [
        (3, 3, 4, {3: 1}),
        (4, 3, 8, {4: 1}),
        (4, 4, 8, {4: 1}),
        (5, 3, 8, {3: 2, 4: 1}),
        (5, 4, 16, {5: 1}),
        (5, 5, 16, {5: 1}),
        (6, 3, 8, {3: 4, 4: 3}),
        (6, 4, 16, {4: 3}),
        (7, 3, 8, {3: 7, 4: 7, 7: 1}),
        (7, 4, 16, {4: 7}),
        (7, 5, 64, {7: 1}),
        (8, 4, 16, {4: 14, 8: 1}),
        (8, 3, 16, {4: 14, 8: 1}),
        (8, 5, 64, {5: 2, 6: 1}),
        (9, 3, 16, {3: 4, 4: 14, 5: 8}),
        (9, 4, 32, {4: 6, 5: 8}),
        (10, 3, 16, {3: 8, 4: 18, 5: 16}),
        (10, 4, 32, {4: 10, 5: 16}),
        (10, 5, 128, {5: 3, 6: 3, 7: 1}),
        (11, 3, 16, {3: 12, 4: 26, 5: 28}),
        (11, 4, 32, {4: 25, 6: 27}),
        (11, 5, 128, {5: 6, 6: 6, 7: 2, 8: 1}),
        (12, 4, 32, {4: 38, 6: 52}),
        (13, 3, 16, {3: 22, 4: 55, 5: 72}),
        (14, 4, 32, {4: 77, 6: 168}),
        (15, 3, 16, {3: 35, 4: 105, 5: 168}),
        (15, 4, 32, {4: 105, 6: 280}),
        (16, 4, 32, {4: 140, 6: 448}),
    ],
)
def test_minimum_aberration(num_factors: int, asked: int, num_runs: int, words: dict[int, int]) -> None:
    """Runs and numbers of short words are those of the published designs (Chen, Sun & Wu 1993; Block & Mee 2005)."""
    columns = smallest_columns(num_factors, asked, 10**6)
    assert 1 << sum(column.bit_count() == 1 for column in columns) == num_runs
    found = word_lengths(columns)
    assert {length: found[length] for length in range(1, max(words) + 1) if found[length]} == words


@pytest.mark.parametrize("num_factors", LARGEST_WORD_DISTANCES)
def test_fewest_runs(num_factors: int) -> None:
    """Up to 15 factors the number of runs is the least: no better linear code is there."""
    for resolution in range(3, num_factors + 1):
        most_generators = sum(distance >= resolution for distance in LARGEST_WORD_DISTANCES[num_factors])
        columns = smallest_columns(num_factors, resolution, 10**6)
        assert sum(column.bit_count() > 1 for column in columns) == most_generators


@given(st.integers(1, 9).flatmap(lambda m: st.lists(st.integers(1, 2**m - 1), min_size=1, max_size=9)))
def test_resolution(columns: list[int]) -> None:
    """The resolution is the length of the shortest word; with no word it is one more than there are factors."""
    assert resolution_of(columns) == min(word_lengths(columns), default=len(columns) + 1)


def test_fraction() -> None:
    """A half fraction of four factors, spelt out."""
    space, baseline = two_level_space(4)
    fraction = fractional_factorial(space, baseline, resolution=4)
    assert ["".join("-+"[bool(level)] for level in cell.values()) for cell in fraction.cells] == (
        ["++++", "-++-", "+-+-", "--++", "++--", "-+-+", "+--+", "----"]
    )
    assert fraction.resolution == 4
    assert fraction.generators == ("d = a × b × c",)
    assert fraction.aliases == ("a × b = c × d", "a × c = b × d", "a × d = b × c")


def test_saturated_fraction() -> None:
    """Seven factors in eight runs: every main effect is confounded with three interactions."""
    space, baseline = two_level_space(7)
    fraction = fractional_factorial(space, baseline, resolution=3)
    assert (len(fraction.cells), fraction.resolution, len(fraction.generators)) == (8, 3, 4)
    assert [alias.count("=") for alias in fraction.aliases] == [3] * 7


@pytest.mark.parametrize(("num_factors", "resolution"), [(0, 3), (1, 3), (2, 3), (3, 4), (4, 5), (5, 9)])
def test_full_where_no_fraction_will_do(num_factors: int, resolution: int) -> None:
    """Where no proper fraction has the resolution, it is the full factorial, and nothing is confounded."""
    space, baseline = two_level_space(num_factors)
    fraction = fractional_factorial(space, baseline, resolution=resolution)
    assert {cell_key(cell) for cell in fraction.cells} == {cell_key(cell) for cell in full_factorial(space, baseline)}
    assert len(fraction.cells) == 2**num_factors
    assert fraction == Fraction(fraction.cells, (), num_factors + 1, (), ())


def test_factors_of_more_levels_are_crossed_with_the_fraction() -> None:
    """The fraction of the factors of two levels is there once for each combination of the others' levels, the baseline first."""
    of_two = [Factor(name, Levels((True, False))) for name in "abcd"]
    space = make_space([Factor("time_steps", Levels((1, 2, 4))), *of_two, Factor("pool", Levels(("M", "A", "none")))])
    baseline: dict[str, Level] = {"time_steps": 2, **dict.fromkeys("abcd", True), "pool": "A"}
    crossed = fractional_factorial(space, baseline, resolution=4)
    alone = fractional_factorial(*two_level_space(4), resolution=4)
    assert (crossed.crossed, crossed.generators, crossed.aliases) == (("time_steps", "pool"), alone.generators, alone.aliases)
    assert cell_key(crossed.cells[0]) == cell_key(baseline)
    assert len({cell_key(cell) for cell in crossed.cells}) == len(crossed.cells) == 9 * 8
    parts: dict[tuple[Level, Level], list[Cell]] = {}
    for cell in crossed.cells:
        parts.setdefault((cell["time_steps"], cell["pool"]), []).append({name: cell[name] for name in "abcd"})
    assert len(parts) == 9
    assert all(part == list(alone.cells) for part in parts.values())


def signs(cells: Sequence[Cell], baseline: dict[str, Level]) -> dict[str, list[int]]:
    """Every factor's column of signs: 1 at its baseline."""
    return {name: [1 if same_level(cell[name], baseline[name]) else -1 for cell in cells] for name in baseline}


@settings(deadline=None, max_examples=40)
@given(st.lists(levels(2, 2), min_size=1, max_size=9), st.integers(3, 6), st.data())
def test_fractions_in_general(domains: list[Levels], resolution: int, data: st.DataObject) -> None:
    """Runs are distinct, the baseline first; columns are balanced, any two of them orthogonal; generators and aliases hold,
    and no other two effects are confounded.
    """
    space = make_space([Factor("abcdefghi"[index], domain) for index, domain in enumerate(domains)])
    baseline = data.draw(assignments(space))
    fraction = fractional_factorial(space, baseline, resolution=resolution)
    assert len({cell_key(cell) for cell in fraction.cells}) == len(fraction.cells)
    assert cell_key(fraction.cells[0]) == cell_key(baseline)
    assert all(space.contains(cell) for cell in fraction.cells)
    assert fraction.resolution >= min(resolution, len(domains) + 1)
    column = signs(fraction.cells, baseline)
    for name, other in combinations(space.names(), 2):
        pairs = Counter(zip(column[name], column[other], strict=True))
        assert set(pairs.values()) == {len(fraction.cells) // 4}

    def product(effect: str) -> tuple[int, ...]:
        return tuple(map(prod, zip(*(column[name] for name in effect.split(" × ")), strict=True)))

    for generator in fraction.generators:
        factor, word = generator.split(" = ")
        assert product(factor) == product(word)
    effects = [*space.names(), *(" × ".join(pair) for pair in combinations(space.names(), 2))]
    same: dict[tuple[int, ...], list[str]] = {}
    for effect in effects:
        same.setdefault(product(effect), []).append(effect)
    assert list(fraction.aliases) == [" = ".join(group) for group in same.values() if len(group) > 1]


def test_aliases_of_a_large_design() -> None:
    """Aliases of 15 factors in 32 runs, of resolution 4: only interactions, all 105 of them."""
    groups = aliased_effects(smallest_columns(15, 4, 10**6))
    assert sorted(effect for group in groups for effect in group) == list(combinations(range(15), 2))


def test_more_factors_than_are_refined() -> None:
    """Beyond 20 factors fractions still have the resolution asked for."""
    assert [resolution_of(smallest_columns(number, 4, 10**6)) for number in (21, 32, 40)] == [4, 4, 4]
    assert [max(smallest_columns(number, 3, 10**6)).bit_length() for number in (31, 32, 63)] == [5, 6, 6]


NESTED = make_space([Factor("a", Levels((1, 2))), Factor("b", Levels((1, 2)), {"a": (1,)})])


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (
            lambda: fractional_factorial(make_space([Factor("a", Levels((1,)))]), {"a": 1}, resolution=3),
            "fractional_factorial needs factors of two levels or more; got a, which has one",
        ),
        (
            lambda: fractional_factorial(make_space([Factor("a", Levels(tuple(range(10_001))))]), {"a": 1}, resolution=3),
            "at most 10,000 cells; got 10,001",
        ),
        (
            lambda: fractional_factorial(NESTED, {"a": 1, "b": 1}, resolution=3),
            "fractional_factorial needs factors without conditions; got b, which has one",
        ),
        (lambda: fractional_factorial(*two_level_space(4), resolution=2), "must be at least 3; got 2"),
        (lambda: fractional_factorial(two_level_space(2)[0], {"a": True, "b": 1}, resolution=3), "one of its levels; got b: 1"),
        (
            lambda: fractional_factorial(*two_level_space(24), resolution=30),
            "at most 10,000 cells; got more, for 24 factors at resolution 30",
        ),
        (lambda: smallest_columns(24, 5, 2**8), "at most 256 cells; got more, for 24 factors at resolution 5"),
    ],
)
def test_rules(make: Callable[[], object], rule: str) -> None:
    """What has no such fraction is refused with the rule."""
    with pytest.raises(RuleError, match=rule):
        make()
