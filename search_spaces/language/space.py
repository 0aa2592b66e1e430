"""Search spaces: factors with domains and conditions, the cells that they allow, and their Optuna distributions."""

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import BaseTrial

from search_spaces.language.enumeration import Listing
from search_spaces.language.factors import Domain, Factor, Level, Levels, Range, same_level
from search_spaces.language.rules import RuleError

__all__ = [
    "LARGEST_SEED",
    "Cell",
    "Domain",
    "Factor",
    "Level",
    "Levels",
    "Range",
    "Space",
    "cell_key",
    "cell_of_params",
    "make_space",
    "params_and_distributions",
]

LARGEST_SEED = 2**31 - 1

_SEED = "seed"
_SEEDS = IntDistribution(0, LARGEST_SEED)

Cell = dict[str, Level]
"""The level of every active factor, in the order of the space."""


@dataclass(frozen=True)
class Space:
    """Factors in an order in which each stands behind those that its conditions name.

    ``make_space`` makes a space of factors in any order, and checks them.
    """

    factors: tuple[Factor, ...]

    def names(self) -> tuple[str, ...]:
        """The factors' names, in the order of the space."""
        return tuple(factor.name for factor in self.factors)

    def factor(self, name: str) -> Factor:
        """The factor of a name.

        Raises:
            KeyError: There is none.
        """
        return self._by_name[name]

    def distribution(self, name: str) -> BaseDistribution:
        """A factor's domain as Optuna's distribution."""
        return self.factor(name).domain.distribution

    def suggest(self, trial: BaseTrial) -> Cell:
        """A cell that Optuna's sampler chooses. Only active factors are suggested, each behind its conditions."""
        cell: Cell = {}
        for factor in self.factors:
            if _is_active(factor, cell):
                cell[factor.name] = factor.domain.level(_suggest(trial, factor))
        return cell

    def active(self, values: Mapping[str, Level]) -> Cell:
        """The cell of a full assignment: its active factors, numbers in the type of their domain (1 or 1.0).

        Raises:
            RuleError: An active factor has no value.
        """
        cell: Cell = {}
        for factor in self.factors:
            if _is_active(factor, cell):
                if factor.name not in values:
                    raise RuleError("every active factor must have a value", "none", field=factor.name)
                cell[factor.name] = factor.domain.canonical(values[factor.name])
        return cell

    def contains(self, cell: Mapping[str, Level]) -> bool:
        """Whether a cell has exactly its active factors, and each value is in its domain, type included."""
        known: Cell = {}
        for factor in self.factors:
            if _is_active(factor, known):
                if factor.name not in cell or not factor.domain.contains(cell[factor.name]):
                    return False
                known[factor.name] = cell[factor.name]
        return known.keys() == cell.keys()

    def requirements(self, name: str) -> dict[str, tuple[Level, ...]]:
        """The levels that other factors may have where this one is active: its conditions, then theirs, and so on."""
        allowed: dict[str, tuple[Level, ...]] = {}
        waiting = [name]
        for conditional in waiting:  # grows while it is gone through
            for condition, levels in self.factor(conditional).when.items():
                known = allowed.get(condition, levels)
                allowed[condition] = tuple(level for level in known if _is_among(level, levels))
                if condition not in waiting:
                    waiting.append(condition)
        return allowed

    def num_cells(self) -> int | None:
        """How many cells there are, counted without making them; None if infinitely many."""
        return None if self._listing is None else self._listing.num_cells

    def cells(self) -> Iterator[Cell]:
        """All cells, made one by one; the last factor changes fastest.

        Raises:
            ValueError: There are infinitely many.
        """
        listing = self._finite()
        return (listing.cell_at(position) for position in range(listing.num_cells))

    def cell_at(self, position: int) -> Cell:
        """The cell at a position of ``cells()``, without making the others.

        Raises:
            ValueError: There are infinitely many cells.
            IndexError: There are fewer.
        """
        return self._finite().cell_at(position)

    def random_cell(self, rng: random.Random) -> Cell:
        """A random cell: active factors are drawn one by one, each uniformly from its domain, or uniformly in the logarithm."""
        cell: Cell = {}
        for factor in self.factors:
            if _is_active(factor, cell):
                cell[factor.name] = factor.domain.draw(rng)
        return cell

    def _finite(self) -> Listing:
        if self._listing is None:
            continuous = next(factor.name for factor in self.factors if factor.domain.num_values() is None)
            raise ValueError(f"only a finite space has a list of cells; {continuous} is a continuous range")
        return self._listing

    @cached_property
    def _by_name(self) -> dict[str, Factor]:
        return {factor.name: factor for factor in self.factors}

    @cached_property
    def _listing(self) -> Listing | None:
        if any(factor.domain.num_values() is None for factor in self.factors):
            return None  # every factor can be active, see make_space
        return Listing(self.factors)


def make_space(factors: Iterable[Factor]) -> Space:
    """A space of factors in any order: each is put behind those that its conditions name, otherwise they stay as given.

    Raises:
        RuleError: Two factors of one name, or one named ``seed``; levels that are empty, repeated or not finite; a range
            without numbers, or whose step does not fit; a condition on an unknown factor, on a level that it cannot have,
            in a circle, or that can never hold; too many combinations of conditions.
    """
    given = list(factors)
    by_name: dict[str, Factor] = {}
    for factor in given:
        if factor.name in by_name:
            raise RuleError("factors must have different names", f"{factor.name} twice", field=factor.name)
        if factor.name == _SEED:
            raise RuleError("a factor must not be named seed: every cell is trained with all seeds of the study", field=_SEED)
        if problem := factor.domain.problem():
            raise RuleError(problem.rule, problem.value, field=factor.name)
        by_name[factor.name] = factor
    space = Space(tuple(_sorted([_checked(factor, by_name) for factor in given])))
    for name in space.names():
        for condition, levels in space.requirements(name).items():
            if not levels:
                rule, value = "a condition must be able to hold", f"conditions that no level of {condition} meets together"
                raise RuleError(rule, value, field=name)
    space.num_cells()  # raises an error where they are too many to count
    return space


def cell_key(cell: Mapping[str, Level]) -> str:
    """A text that only equal cells share, fit as a key; it tells True from 1."""
    return repr(sorted(cell.items()))


def params_and_distributions(space: Space, cell: Cell, seed: int) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """The params and distributions of the Optuna trial of a replicate; the seed is among them, so that seeds can be added."""
    params = {name: space.factor(name).domain.param(level) for name, level in cell.items()}
    distributions = {name: space.distribution(name) for name in cell}
    return {**params, _SEED: seed}, {**distributions, _SEED: _SEEDS}


def cell_of_params(space: Space, params: Mapping[str, Any]) -> Cell:
    """The cell that an Optuna trial's params stand for; see ``params_and_distributions``."""
    return {name: space.factor(name).domain.level(params[name]) for name in space.names() if name in params}


def _suggest(trial: BaseTrial, factor: Factor) -> Level:
    name, domain = factor.name, factor.domain
    if isinstance(domain, Levels):
        return trial.suggest_categorical(name, domain.distribution.choices)
    if domain.integer:
        return trial.suggest_int(name, int(domain.low), int(domain.high), step=int(domain.step or 1), log=domain.log)
    return float(trial.suggest_float(name, domain.low, domain.high, step=domain.step, log=domain.log))


def _is_among(level: Level, levels: Iterable[Level]) -> bool:
    return any(same_level(level, other) for other in levels)


def _is_active(factor: Factor, cell: Mapping[str, Level]) -> bool:
    return all(name in cell and _is_among(cell[name], levels) for name, levels in factor.when.items())


def _checked(factor: Factor, by_name: Mapping[str, Factor]) -> Factor:
    """The factor, the levels of its conditions being written as the factors that they name have them."""
    when = {}
    for name, levels in factor.when.items():
        if name not in by_name:
            raise RuleError("a condition must name a factor of the space", name, field=factor.name)
        if not levels:
            raise RuleError("a condition must name at least one level", f"{name} without any", field=factor.name)
        when[name] = tuple(by_name[name].domain.canonical(level) for level in levels)
        for level in when[name]:
            if not by_name[name].domain.contains(level):
                rule = f"a condition must name levels that {name} can have"
                raise RuleError(rule, repr(level), field=factor.name)
    return replace(factor, when=when)


def _sorted(factors: list[Factor]) -> list[Factor]:
    """Each factor behind those that its conditions name, otherwise as given."""
    placed: dict[str, Factor] = {}
    while len(placed) < len(factors):
        waiting = [factor for factor in factors if factor.name not in placed]
        ready = next((factor for factor in waiting if factor.when.keys() <= placed.keys()), None)
        if ready is None:
            raise _circle({factor.name: factor for factor in waiting})
        placed[ready.name] = ready
    return list(placed.values())


def _circle(waiting: Mapping[str, Factor]) -> RuleError:
    """What is wrong where conditions go in a circle; each of ``waiting`` has a condition on another of them."""
    path = [next(iter(waiting))]
    while len(set(path)) == len(path):
        path.append(next(name for name in waiting[path[-1]].when if name in waiting))
    circle = path[path.index(path[-1]) :]
    return RuleError("conditions must not go in a circle", " on ".join(circle), field=circle[0])
