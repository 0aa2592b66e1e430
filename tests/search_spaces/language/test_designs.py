"""Designs have exactly the promised cells."""

from collections import Counter
from collections.abc import Callable, Mapping
from math import comb

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from search_spaces.language.designs import full_factorial, leave_one_out, one_factor_at_a_time, random_cells, reference_cell
from search_spaces.language.rules import RuleError
from search_spaces.language.space import Cell, Factor, Level, Levels, Range, Space, cell_key, make_space
from tests.search_spaces.language.strategies import assignments, levels, spaces, spaces_with_baselines

GRADIENTS = make_space(
    [
        Factor("gradient", Levels(("straight_through", "surrogate"))),
        Factor("surrogate", Levels(("atan", "triangle")), {"gradient": ("surrogate",)}),
        Factor("slope", Levels((1, 2)), {"surrogate": ("triangle", "atan")}),
    ]
)
BASELINE: dict[str, Level] = {"gradient": "straight_through", "surrogate": "atan", "slope": 1}


def two_level_space(num_factors: int) -> Space:
    """Factors a, b, c, …, each off or on."""
    return make_space([Factor("abcdefghijklmnopqrst"[index], Levels((False, True))) for index in range(num_factors)])


def accept_all(_: Cell) -> bool:
    return True


def test_one_factor_at_a_time() -> None:
    """The baseline comes first, then every other level alone, in the order written."""
    space = make_space([Factor("time_steps", Levels((4, 8, 16))), Factor("layout", Levels(("a", "b")))])
    assert one_factor_at_a_time(space, {"time_steps": 8, "layout": "a"}) == [
        {"time_steps": 8, "layout": "a"},
        {"time_steps": 4, "layout": "a"},
        {"time_steps": 16, "layout": "a"},
        {"time_steps": 8, "layout": "b"},
    ]


def test_one_factor_at_a_time_with_conditions() -> None:
    """A factor that the baseline lacks is varied where its ancestors let it exist, and is compared with its own level there."""
    assert one_factor_at_a_time(GRADIENTS, BASELINE) == [
        {"gradient": "straight_through"},
        {"gradient": "surrogate", "surrogate": "atan", "slope": 1},
        {"gradient": "surrogate", "surrogate": "triangle", "slope": 1},
        {"gradient": "surrogate", "surrogate": "atan", "slope": 2},
    ]
    assert reference_cell(GRADIENTS, BASELINE, "gradient") == {"gradient": "straight_through"}
    assert reference_cell(GRADIENTS, BASELINE, "slope") == {"gradient": "surrogate", "surrogate": "atan", "slope": 1}


def test_reference_cells_satisfy_all_conditions_at_once() -> None:
    """An ancestor with several conditions on it gets a level that satisfies them all, not just the nearest."""
    space = make_space(
        [
            Factor("a", Levels((0, 1, 2))),
            Factor("b", Levels((1, 2)), {"a": (2, 1)}),
            Factor("c", Levels(("x", "y")), {"b": (2,), "a": (0, 1)}),
        ]
    )
    assert reference_cell(space, {"a": 0, "b": 1, "c": "x"}, "c") == {"a": 1, "b": 2, "c": "x"}
    assert reference_cell(space, {"a": 0, "b": 1, "c": "x"}, "b") == {"a": 2, "b": 1}


def num_differences(cell: Mapping[str, Level], other: Mapping[str, Level]) -> int:
    """In how many factors two cells have other levels; True is not 1."""
    return sum(repr(cell[name]) != repr(other[name]) for name in cell)


@given(spaces_with_baselines(conditions=False))
def test_one_factor_at_a_time_without_conditions(space_and_baseline: tuple[Space, dict[str, Level]]) -> None:
    """Without conditions: one cell a level beside the baseline, all distinct, none off the baseline in more than one factor."""
    space, baseline = space_and_baseline
    cells = one_factor_at_a_time(space, baseline)
    assert len(cells) == 1 + sum((factor.domain.num_values() or 0) - 1 for factor in space.factors)
    assert len({cell_key(cell) for cell in cells}) == len(cells)
    assert all(num_differences(cell, cells[0]) <= 1 for cell in cells)


@given(spaces_with_baselines())
def test_one_factor_at_a_time_in_general(space_and_baseline: tuple[Space, dict[str, Level]]) -> None:
    """Every level of every factor is there once in the surroundings of the factor's reference cell, and nothing else is."""
    space, baseline = space_and_baseline
    cells = one_factor_at_a_time(space, baseline)
    expected = {cell_key(space.active(baseline))}
    for factor in space.factors:
        reference = reference_cell(space, baseline, factor.name)
        assert reference[factor.name] == baseline[factor.name]
        unmoved = set(space.names()) - space.requirements(factor.name).keys()
        assert all(reference[name] == baseline[name] for name in unmoved & reference.keys())
        for position in range(factor.domain.num_values() or 0):
            expected.add(cell_key(space.active({**baseline, **reference, factor.name: factor.domain.value_at(position)})))
    assert cell_key(cells[0]) == cell_key(space.active(baseline))
    assert len(cells) == len(expected)
    assert {cell_key(cell) for cell in cells} == expected
    assert all(space.contains(cell) for cell in cells)


def test_leave_one_out() -> None:
    """All components on, then each one off alone; what needs the one that is off is gone with it."""
    space = make_space(
        [
            Factor("batch_norm", Levels((False, True))),
            Factor("flip", Levels((True, False))),
            Factor("momentum", Levels((0.0, 0.1)), {"batch_norm": (True,)}),
        ]
    )
    assert leave_one_out(space, {"batch_norm": True, "flip": True, "momentum": 0.1}) == [
        {"batch_norm": True, "flip": True, "momentum": 0.1},
        {"batch_norm": False, "flip": True},
        {"batch_norm": True, "flip": False, "momentum": 0.1},
        {"batch_norm": True, "flip": True, "momentum": 0.0},
    ]


@given(st.lists(levels(2, 2), max_size=6), st.data())
def test_leave_one_out_in_general(domains: list[Levels], data: st.DataObject) -> None:
    """Of k components there are k + 1 distinct cells, each but the first off the baseline in one."""
    space = make_space([Factor(f"f{index}", domain) for index, domain in enumerate(domains)])
    baseline = data.draw(assignments(space))
    cells = leave_one_out(space, baseline)
    assert len({cell_key(cell) for cell in cells}) == len(cells) == len(domains) + 1
    assert cell_key(cells[0]) == cell_key(baseline)
    assert all(num_differences(cell, baseline) == 1 for cell in cells[1:])


@given(spaces_with_baselines(max_factors=4))
def test_full_factorial(space_and_baseline: tuple[Space, dict[str, Level]]) -> None:
    """All cells of the space, the baseline's first, the others in the space's order."""
    space, baseline = space_and_baseline
    keys = [cell_key(cell) for cell in full_factorial(space, baseline)]
    assert keys[0] == cell_key(space.active(baseline))
    assert keys[1:] == [cell_key(cell) for cell in space.cells() if cell_key(cell) != keys[0]]


@given(spaces(continuous=True), st.integers(1, 5), st.integers())
def test_random_cells_are_distinct_and_accepted(space: Space, num_cells: int, seed: int) -> None:
    """Random cells are distinct cells of the space that were accepted; more of them begin with the same ones."""
    num_there = space.num_cells()
    assume(num_there is None or num_there >= num_cells)
    cells = random_cells(space, num_cells, seed=seed, accept=accept_all)
    assert len({cell_key(cell) for cell in cells}) == num_cells
    assert all(space.contains(cell) for cell in cells)
    assert random_cells(space, 1, seed=seed, accept=accept_all) == cells[:1]


def test_all_random_cells() -> None:
    """Asked for all accepted cells there are, it gives them all; asked for more, it says how many there are."""
    space = two_level_space(5)

    def accept(cell: Cell) -> bool:
        return sum(map(bool, cell.values())) == 2

    cells = random_cells(space, comb(5, 2), seed=0, accept=accept)
    assert {cell_key(cell) for cell in cells} == {cell_key(cell) for cell in space.cells() if accept(cell)}
    with pytest.raises(RuleError, match="there must be 11 distinct cells that may be trained; got only 10 in the whole space"):
        random_cells(space, 11, seed=0, accept=accept)


def test_random_cells_of_large_spaces() -> None:
    """Where cells are too many to list, accepted ones are found by trying, for so long as is said."""
    space = two_level_space(20)
    assert len(random_cells(space, 50, seed=0, accept=lambda cell: bool(cell["a"]))) == 50
    with pytest.raises(RuleError, match="there must be 2 distinct cells that may be trained; got only 0 in 2,000 draws"):
        random_cells(space, 2, seed=0, accept=lambda _: False)


@pytest.mark.parametrize("num_factors", [0, 17])
def test_random_cells_favour_none(num_factors: int) -> None:
    """Each cell is as likely as the others, also where conditions give branches different numbers of cells."""
    space = make_space([*GRADIENTS.factors, *two_level_space(num_factors).factors])  # listed, or drawn one by one
    branches = {cell_key(cell): 0 for cell in GRADIENTS.cells()}
    for seed in range(2500):
        (cell,) = random_cells(space, 1, seed=seed, accept=accept_all)
        branches[cell_key({name: level for name, level in cell.items() if name in BASELINE})] += 1
    assert len(branches) == 5
    assert all(400 < number < 600 for number in branches.values())


def test_designs_know_true_from_one() -> None:
    """True and 1 are two levels, in every design."""
    space = make_space([Factor("a", Levels((True, 1)))])
    for design in (one_factor_at_a_time, leave_one_out, full_factorial):
        assert [type(cell["a"]) for cell in design(space, {"a": 1})] == [int, bool]
    drawn = Counter(type(random_cells(space, 1, seed=seed, accept=accept_all)[0]["a"]) for seed in range(100))
    assert min(drawn[bool], drawn[int]) > 30


CONTINUOUS = make_space([Factor("lr", Range(1e-4, 1e-1, log=True))])
LONG = make_space([Factor("a", Range(1, 10**9, integer=True))])
PAIR = two_level_space(2)
THREE = make_space([Factor("time_steps", Levels((1, 2, 4)))])


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (
            lambda: one_factor_at_a_time(CONTINUOUS, {"lr": 0.01}),
            "one_factor_at_a_time needs factors of finitely many levels; got lr, a continuous range",
        ),
        (lambda: one_factor_at_a_time(LONG, {"a": 1}), "at most 10,000 levels; got 1,000,000,000"),
        (lambda: one_factor_at_a_time(PAIR, {"a": True}), "b: every active factor must have a value"),
        (lambda: one_factor_at_a_time(GRADIENTS, {"gradient": "surrogate"}), "surrogate: every active factor must have a value"),
        (
            lambda: reference_cell(GRADIENTS, {"gradient": "straight_through"}, "slope"),
            "surrogate: the baseline must give every factor one of its levels",
        ),
        (
            lambda: one_factor_at_a_time(PAIR, {"a": True, "b": 1}),
            "b: the baseline must give .* one of its levels; got b: 1",
        ),
        (
            lambda: reference_cell(GRADIENTS, {**BASELINE, "slope": 3}, "gradient"),
            "slope: the baseline must .*; got slope: 3",
        ),
        (
            lambda: leave_one_out(CONTINUOUS, {"lr": 0.01}),
            "leave_one_out needs .* of finitely many levels; got lr, ",
        ),
        (
            lambda: leave_one_out(THREE, {"time_steps": 1}),
            "leave_one_out needs factors of two levels; got time_steps, .* 3",
        ),
        (lambda: leave_one_out(GRADIENTS, BASELINE), "needs a baseline with all components on; got surrogate, which is inactive"),
        (
            lambda: full_factorial(CONTINUOUS, {"lr": 0.01}),
            "full_factorial needs .* of finitely many levels; got lr, ",
        ),
        (lambda: full_factorial(two_level_space(20), {}), "at most 10,000 cells; got 1,048,576"),
        (lambda: full_factorial(PAIR, {"a": True, "b": "x"}), "one of its levels; got b: 'x'"),
        (lambda: random_cells(PAIR, 0, seed=0, accept=accept_all), "must be positive; got 0"),
    ],
)
def test_rules(make: Callable[[], object], rule: str) -> None:
    """What a design cannot be made of is refused with the rule."""
    with pytest.raises(RuleError, match=rule):
        make()
