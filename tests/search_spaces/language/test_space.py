"""Spaces allow exactly the cells that their factors, domains and conditions allow."""

import random
import time
from collections import Counter
from itertools import product
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.language.rules import RuleError
from search_spaces.language.space import (
    LARGEST_SEED,
    Cell,
    Factor,
    Levels,
    Range,
    Space,
    cell_key,
    cell_of_params,
    make_space,
    params_and_distributions,
)
from tests.search_spaces.language.strategies import assignments, spaces

optuna.logging.set_verbosity(optuna.logging.ERROR)

SURROGATES = make_space(
    [
        Factor("slope", Range(1.0, 2.0, step=0.5), {"surrogate": ("atan",)}),
        Factor("time_steps", Levels((2, 4))),
        Factor("surrogate", Levels(("atan", "triangle")), {"gradient": ("surrogate",)}),
        Factor("gradient", Levels(("straight_through", "surrogate"))),
    ]
)


def test_order() -> None:
    """Parents come before their children, otherwise factors stay in the order given."""
    assert SURROGATES.names() == ("time_steps", "gradient", "surrogate", "slope")


def test_cells_of_nested_conditions() -> None:
    """A factor is in a cell exactly if all its conditions hold there, its parents' too; the last factor changes fastest."""
    branches: list[Cell] = [
        {"gradient": "straight_through"},
        {"gradient": "surrogate", "surrogate": "atan", "slope": 1.0},
        {"gradient": "surrogate", "surrogate": "atan", "slope": 1.5},
        {"gradient": "surrogate", "surrogate": "atan", "slope": 2.0},
        {"gradient": "surrogate", "surrogate": "triangle"},
    ]
    assert list(SURROGATES.cells()) == [{"time_steps": T, **branch} for T in (2, 4) for branch in branches]
    assert SURROGATES.num_cells() == 10


@given(spaces())
def test_cells_are_what_a_full_enumeration_leaves(space: Space) -> None:
    """The cells are the active parts of all full assignments, each once, and as many as counted."""
    domains = [
        [domain.value_at(position) for position in range(domain.num_values() or 0)]
        for domain in (factor.domain for factor in space.factors)
    ]
    expected = {cell_key(space.active(dict(zip(space.names(), values, strict=True)))) for values in product(*domains)}
    cells = list(space.cells())
    assert len(cells) == len({cell_key(cell) for cell in cells}) == space.num_cells() == len(expected)
    assert {cell_key(cell) for cell in cells} == expected
    assert all(space.contains(cell) and list(cell) == [name for name in space.names() if name in cell] for cell in cells)


@given(spaces(continuous=True), st.integers())
def test_random_cells_are_contained(space: Space, seed: int) -> None:
    """A random cell is a cell of the space, its factors in the space's order."""
    cell = space.random_cell(random.Random(seed))
    assert space.contains(cell)
    assert list(cell) == [name for name in space.names() if name in cell]


@given(spaces(continuous=True).flatmap(lambda space: st.tuples(st.just(space), assignments(space))))
def test_active_part_is_contained(space_and_values: tuple[Space, dict[str, Any]]) -> None:
    """The active part of any full assignment is a cell; with a factor more or less, or a value of another type, it is none."""
    space, values = space_and_values
    cell = space.active(values)
    assert space.contains(cell)
    assert not space.contains({**cell, "unknown": 1})
    for name, level in cell.items():
        assert not space.contains({other: cell[other] for other in cell if other != name})
        assert not space.contains({**cell, name: f"not {level}"})
    for name in set(values) - set(cell):
        assert not space.contains({**cell, name: values[name]})


@settings(max_examples=30, deadline=None)
@given(spaces(continuous=True), st.sampled_from(["random", "tpe"]), st.integers(0, 2**32 - 1))
def test_suggested_cells_are_contained(space: Space, sampler: str, seed: int) -> None:
    """What an Optuna sampler proposes is a cell; the trial's params stand for it, and only active factors are among them."""
    samplers = {
        "random": optuna.samplers.RandomSampler(seed=seed),
        "tpe": optuna.samplers.TPESampler(seed=seed, n_startup_trials=2),
    }
    study = optuna.create_study(sampler=samplers[sampler])
    for number in range(5):
        trial = study.ask()
        cell = space.suggest(trial)
        assert space.contains(cell)
        assert trial.params.keys() == cell.keys()
        assert cell_key(cell_of_params(space, trial.params)) == cell_key(cell)
        study.tell(trial, float(number))


@settings(max_examples=30, deadline=None)
@given(spaces(continuous=True), st.integers(), st.integers(0, LARGEST_SEED))
def test_cells_return_from_the_ledger(space: Space, random_seed: int, seed: int) -> None:
    """A cell that is stored as an Optuna trial comes back as the same cell, with its seed, whatever the types of its levels."""
    cell = space.random_cell(random.Random(random_seed))
    params, distributions = params_and_distributions(space, cell, seed)
    study = optuna.create_study(storage="sqlite://")
    study.add_trial(optuna.create_trial(state=optuna.trial.TrialState.WAITING, params=params, distributions=distributions))
    (trial,) = study.get_trials()
    assert trial.params["seed"] == seed
    assert cell_key(cell_of_params(space, trial.params)) == cell_key(cell)


def test_distributions() -> None:
    """Levels are categories, a range is a range; the seed has one, so that seeds can be added."""
    space = make_space(
        [
            Factor("layout", Levels(("64 M", None, True))),
            Factor("lr", Range(1e-4, 1e-1, log=True)),
            Factor("dropout", Range(0.0, 0.5, step=0.1)),
            Factor("time_steps", Range(1, 9, step=2, integer=True)),
        ]
    )
    cell: Cell = {"layout": None, "lr": 1e-3, "dropout": 0.3, "time_steps": 7}
    assert params_and_distributions(space, cell, 12) == (
        {**cell, "seed": 12},
        {
            "layout": CategoricalDistribution(("64 M", None, True)),
            "lr": FloatDistribution(1e-4, 1e-1, log=True),
            "dropout": FloatDistribution(0.0, 0.5, step=0.1),
            "time_steps": IntDistribution(1, 9, step=2),
            "seed": IntDistribution(0, LARGEST_SEED),
        },
    )


def test_true_is_not_one() -> None:
    """Optuna, to which True and 1 are the same category, gets them as text."""
    space = make_space([Factor("a", Levels((True, 1, "1", None)))])
    assert space.distribution("a") == CategoricalDistribution(("true", "1", '"1"', "null"))
    assert [params_and_distributions(space, cell, 0)[0]["a"] for cell in space.cells()] == ["true", "1", '"1"', "null"]
    assert not make_space([Factor("a", Levels((1, 2)))]).contains({"a": True})


def test_stepped_ranges_are_decimal() -> None:
    """The numbers of a range are as one would write them, not sums of binary fractions; Optuna's are taken for them."""
    dropout = Range(0.0, 0.6, step=0.1)
    assert dropout.values() == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    assert dropout.contains(0.3)
    assert not dropout.contains(0.1 + 0.2)
    assert dropout.level(0.1 + 0.2) == 0.3
    assert not dropout.contains(0)
    assert Range(1, 9, step=4, integer=True).values() == (1, 5, 9)
    assert not Range(1, 9, step=4, integer=True).contains(5.0)


def test_levels_in_conditions_take_the_type_of_their_factor() -> None:
    """A condition may say 1 where the parent has 1.0, and so may an assignment."""
    space = make_space([Factor("b", Levels(("x",)), {"a": (1,)}), Factor("a", Levels((1.0, 2.0)))])
    assert [type(level) for level in space.factor("b").when["a"]] == [float]
    assert space.contains(space.active({"a": 1, "b": "x"}))
    assert space.num_cells() == 2


def test_counts_need_no_enumeration() -> None:
    """A space of many factors or long ranges is counted, and any of its cells found, at once."""
    chain = [Factor("x0", Range(0, 10**9, integer=True))]
    chain += [Factor(f"x{i}", Range(0, 10**9, integer=True), {f"x{i - 1}": (5,)}) for i in range(1, 60)]
    binary = [Factor(f"y{i}", Levels((False, True))) for i in range(60)]
    child = Factor("z", Levels((1, 2)), {factor.name: (True,) for factor in binary})
    assert make_space(chain).num_cells() == 59 * 10**9 + 10**9 + 1
    assert make_space([*binary, child]).num_cells() == 2**60 + 1
    space = make_space([*chain, *binary, child])
    assert space.num_cells() == (60 * 10**9 + 1) * (2**60 + 1)
    assert space.contains(space.cell_at((space.num_cells() or 0) // 2))
    assert len([cell for cell, _ in zip(space.cells(), range(3), strict=False)]) == 3


def test_conditions_that_are_too_many_to_count_are_refused() -> None:
    """Each of thirty factors with a condition on a factor of its own: a billion combinations, told at once."""
    parents = [Factor(f"x{number}", Levels((0, 1))) for number in range(30)]
    children = [Factor(f"y{number}", Levels((0, 1)), {f"x{number}": (1,)}) for number in range(30)]
    began = time.process_time()
    with pytest.raises(RuleError, match="at most 20,000 combinations of factors that exist"):
        make_space([*parents, *children])
    assert make_space([*parents[:14], *children[:14]]).num_cells() == 3**14
    assert time.process_time() - began < 5


def test_infinite_spaces_have_no_list() -> None:
    """With a continuous range there is no number of cells, and their list is refused."""
    space = make_space([Factor("a", Levels((1, 2))), Factor("lr", Range(0.0, 1.0), {"a": (2,)})])
    assert space.num_cells() is None
    with pytest.raises(ValueError, match="lr is a continuous range"):
        space.cells()


def test_positions_outside_are_refused() -> None:
    """There is no cell before the first or behind the last."""
    for position in (-1, 10):
        with pytest.raises(IndexError, match="from 0 to 9"):
            SURROGATES.cell_at(position)


def test_missing_values_are_named() -> None:
    """An assignment must have all active factors."""
    with pytest.raises(RuleError, match="surrogate: every active factor must have a value"):
        SURROGATES.active({"time_steps": 2, "gradient": "surrogate"})


@pytest.mark.parametrize("domain", [Range(1.0, 1000.0, log=True), Range(1, 1000, log=True, integer=True)])
def test_log_ranges_are_drawn_uniformly_in_the_logarithm(domain: Range) -> None:
    """Each decade is drawn as often as the others."""
    rng = random.Random(0)
    space = make_space([Factor("a", domain)])
    decades = Counter(len(str(int(float(str(space.random_cell(rng)["a"]))))) for _ in range(6000))
    assert all(1700 < decades[digits] < 2300 for digits in (1, 2, 3))


@pytest.mark.parametrize(
    ("factors", "name", "rule"),
    [
        ([Factor("a", Levels((1,)), {"b": (1,)})], "a", "a condition must name a factor of the space; got b"),
        ([Factor("a", Levels((1,)), {"a": (1,)})], "a", "conditions must not go in a circle; got a on a"),
        (
            [
                Factor("c", Levels((1,)), {"a": (1,)}),
                Factor("a", Levels((1,)), {"b": (1,)}),
                Factor("b", Levels((1,)), {"a": (1,)}),
            ],
            "a",
            "conditions must not go in a circle; got a on b on a",
        ),
        ([Factor("a", Levels((1,))), Factor("b", Levels((1,)), {"a": (True,)})], "b", "levels that a can have; got True"),
        ([Factor("a", Range(1, 9, step=2)), Factor("b", Levels((1,)), {"a": (2,)})], "b", "levels that a can have; got 2"),
        ([Factor("a", Levels((1,))), Factor("b", Levels((1,)), {"a": ()})], "b", "must name at least one level"),
        (
            [
                Factor("a", Levels((1, 2))),
                Factor("b", Levels((1,)), {"a": (1,)}),
                Factor("c", Levels((1,)), {"a": (2,), "b": (1,)}),
            ],
            "c",
            "a condition must be able to hold; got conditions that no level of a meets together",
        ),
        ([Factor("a", Levels((1,))), Factor("a", Levels((2,)))], "a", "different names"),
        ([Factor("seed", Levels((1,)))], "seed", "must not be named seed"),
        ([Factor("a", Levels(()))], "a", "at least one level"),
        ([Factor("a", Levels((1, 1.0)))], "a", "levels must differ; got 1 twice"),
        ([Factor("a", Levels((float("nan"),)))], "a", "levels must be finite"),
        ([Factor("a", Range(1, 1))], "a", "low must be less than high; got low=1, high=1"),
        ([Factor("a", Range(0, 1, log=True))], "a", "low must be positive on a log scale"),
        ([Factor("a", Range(1, 9, log=True, step=2))], "a", "a log scale or a step, not both"),
        ([Factor("a", Range(1, 9, log=True, step=2, integer=True))], "a", "a log scale or a step, not both"),
        ([Factor("a", Range(1, 9, step=0))], "a", "step must be positive; got step=0"),
        ([Factor("a", Range(0.0, 1.0, step=0.3))], "a", "step must divide high - low"),
        ([Factor("a", Range(0.0, 1.0, step=2.0))], "a", "step must divide high - low"),
        ([Factor("a", Range(0.0, float("inf")))], "a", "must be finite"),
        ([Factor("a", Range(-1e308, 1e308))], "a", "the difference of the bounds must be finite"),
        ([Factor("a", Range(0, 10**400))], "a", "must be finite"),
        ([Factor("a", Range(0, 1, step=float("nan")))], "a", "must be finite"),
        ([Factor("a", Range(1e17, 1e17 + 64, step=1))], "a", "larger than the precision"),
        ([Factor("a", Range(0.5, 4, integer=True))], "a", "whole bounds and steps"),
        ([Factor("a", Range(1, 4, step=1.5, integer=True))], "a", "whole bounds and steps"),
        ([Factor("a", Range(1, 2**53 + 1, integer=True))], "a", "up to 2**53"),
        ([Factor("a", Range(1, float("nan"), integer=True))], "a", "whole bounds and steps"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_rules(factors: list[Factor], name: str, rule: str) -> None:
    """What makes no space is refused with the factor and the rule."""
    with pytest.raises(RuleError) as caught:
        make_space(factors)
    assert caught.value.field == name
    assert rule in str(caught.value)
    assert str(caught.value).startswith(f"{name}: {caught.value.rule}")


@given(st.lists(st.sampled_from("abcdefg"), unique=True, min_size=1))
def test_factors_without_conditions_stay_in_order(names: list[str]) -> None:
    """Only conditions move factors."""
    assert make_space([Factor(name, Levels((1,))) for name in names]).names() == tuple(names)


def test_long_lists_of_levels_are_quick() -> None:
    """Fifty thousand levels, as of an enumeration of layouts, are checked and found without comparing each with each."""
    began = time.perf_counter()
    space = make_space([Factor("layout", Levels(tuple(f"layout {number}" for number in range(50_000))))])
    assert all(space.contains(cell) for cell in space.cells())
    assert time.perf_counter() - began < 10
