"""Designs: from a space and a baseline to the cells that are trained.

A baseline gives every factor a level, also those that are inactive in its own cell: they have it where they become active.
"""

import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from search_spaces.language.factors import same_level
from search_spaces.language.fractional import aliased_effects, resolution_of, smallest_columns
from search_spaces.language.rules import RuleError
from search_spaces.language.space import Cell, Factor, Level, Levels, Space, cell_key

MOST_CELLS = 10_000
"""The largest number of cells of a design; more are a slip. Every one of them is looked at before anything runs."""

LARGEST_SHUFFLED_SPACE = 100_000
"""The largest space whose cells are shuffled for a random design, so that it can have all of them."""

TRIES_PER_CELL = 1000
"""How many cells of a larger space are drawn, at most, for each random cell asked for."""


def reference_cell(space: Space, baseline: Mapping[str, Level], factor: str) -> Cell:
    """The cell that a factor's other levels are compared with.

    It is the baseline. Where the factor is inactive there, its conditions are met first: each factor that they name, and that
    has another level in the baseline, gets the first level that they allow.

    Raises:
        RuleError: The baseline lacks a factor, or has one outside of its domain.
    """
    return space.active(_reference(space, baseline, factor))


def one_factor_at_a_time(space: Space, baseline: Mapping[str, Level]) -> list[Cell]:
    """The baseline's cell, then for every factor its reference cell and that cell with each of its other levels; each cell once.

    It shows simple effects, at the baseline of the other factors, and no interactions.

    Raises:
        RuleError: A factor is a continuous range; there are more than ``MOST_CELLS`` levels; the baseline lacks a factor, or
            has one outside of its domain.
    """
    num_levels = sum(_num_levels(space, name, "one_factor_at_a_time") for name in space.names())
    if num_levels > MOST_CELLS:
        raise RuleError(f"one_factor_at_a_time takes at most {MOST_CELLS:,} levels", f"{num_levels:,}")
    cells = [_baseline_cell(space, baseline)]
    for name in space.names():
        reference = _reference(space, baseline, name)
        cells.append(space.active(reference))
        cells += [space.active({**reference, name: level}) for level in _levels(space, name)]
    return _distinct(cells)


def is_switch(factor: Factor) -> bool:
    """Whether a factor turns a component on and off: its levels are true and false, and no others."""
    return isinstance(factor.domain, Levels) and {repr(level) for level in factor.domain.values} == {"True", "False"}


def leave_one_out(space: Space, baseline: Mapping[str, Level]) -> list[Cell]:
    """The baseline, in which all components are on, then a cell for each component in which it alone is off.

    Factors that exist only while a component is on are inactive where it is off.

    Raises:
        RuleError: A factor has not two levels, or is not active in the baseline, or outside of its domain there.
    """
    check_two_levels(space, "leave_one_out")
    cells = [_baseline_cell(space, baseline)]
    for name in space.names():
        if name not in cells[0]:
            raise RuleError("leave_one_out needs a baseline with all components on", f"{name}, which is inactive in it")
        cells.append(space.active({**baseline, name: other_level(space, name, cells[0][name])}))
    return cells


def full_factorial(space: Space, baseline: Mapping[str, Level]) -> list[Cell]:
    """All cells: the baseline's first, the others in the order of the space.

    Raises:
        RuleError: There are infinitely many or more than ``MOST_CELLS``, or the baseline is none of them.
    """
    for name in space.names():
        _num_levels(space, name, "full_factorial")
    num_cells = space.num_cells() or 0
    if num_cells > MOST_CELLS:
        raise RuleError(f"full_factorial makes at most {MOST_CELLS:,} cells", f"{num_cells:,}")
    return _distinct([_baseline_cell(space, baseline), *space.cells()])


ENUMERATED: Mapping[str, Callable[[Space, Mapping[str, Level]], list[Cell]]] = {
    "one_factor_at_a_time": one_factor_at_a_time,
    "leave_one_out": leave_one_out,
    "full_factorial": full_factorial,
}
"""The designs that follow from a space and a baseline alone, by name."""


@dataclass(frozen=True)
class Fraction:
    """A part of a full factorial. In its products a factor counts 1 at its baseline and -1 at its other level."""

    cells: tuple[Cell, ...]
    """The baseline's first; then in standard order, where the first factor changes fastest."""
    crossed: tuple[str, ...]
    """The factors of more than two levels, with each combination of whose levels the whole fraction of the others is trained."""
    resolution: int
    """Of the factors of two levels. 3: main effects are confounded with two-factor interactions; 4: those with each other; 5 or
    more: neither.

    One more than there are factors of two levels if all their combinations are trained.
    """
    generators: tuple[str, ...]
    """How the levels of some factors follow from others: ``d = a × b × c``."""
    aliases: tuple[str, ...]
    """Main effects and two-factor interactions that the cells cannot tell apart: ``a × b = c × d``."""


def fractional_factorial(space: Space, baseline: Mapping[str, Level], *, resolution: int) -> Fraction:
    """The regular two-level fraction with the fewest cells of at least this resolution (Box, Hunter & Hunter 2005).

    Of those it is one of minimum aberration (Fries & Hunter 1980) as far as a short search finds it, see ``smallest_columns``.
    Where no proper fraction has the resolution, all combinations are trained. Factors of more than two levels are crossed with
    the fraction: it is trained with each combination of their levels, so that their effects, and their interactions with each
    effect of the fraction, are kept as far apart as these effects are.

    Raises:
        RuleError: A factor has a single level or a condition; the resolution is less than 3; there are more than ``MOST_CELLS``
            cells; the baseline lacks a factor, or has one outside of its domain.
    """
    num_levels = {name: _num_levels(space, name, "fractional_factorial") for name in space.names()}
    for factor in space.factors:
        if num_levels[factor.name] < 2:
            raise RuleError("fractional_factorial needs factors of two levels or more", f"{factor.name}, which has one")
        if factor.when:
            raise RuleError("fractional_factorial needs factors without conditions", f"{factor.name}, which has one")
    names = [name for name in space.names() if num_levels[name] == 2]
    crossed = [name for name in space.names() if num_levels[name] > 2]
    if resolution < 3:
        raise RuleError("the resolution of a fractional factorial must be at least 3", str(resolution))
    first = _baseline_cell(space, baseline)
    num_crossed = math.prod(num_levels[name] for name in crossed)
    columns = smallest_columns(len(names), resolution, MOST_CELLS)
    levels = {name: (first[name], other_level(space, name, first[name])) for name in names}
    basic = [name for name, column in zip(names, columns, strict=True) if column.bit_count() == 1]
    if (num_cells := num_crossed << len(basic)) > MOST_CELLS:
        raise RuleError(f"a design has at most {MOST_CELLS:,} cells", f"{num_cells:,}")
    others = [_baseline_first(_levels(space, name), first[name]) for name in reversed(crossed)]
    return Fraction(
        cells=tuple(
            space.active(
                dict(zip(reversed(crossed), combination, strict=True))
                | {name: levels[name][(run & column).bit_count() % 2] for name, column in zip(names, columns, strict=True)}
            )
            for combination in itertools.product(*others)
            for run in range(1 << len(basic))
        ),
        crossed=tuple(crossed),
        resolution=resolution_of(columns),
        generators=tuple(
            f"{name} = {' × '.join(factor for index, factor in enumerate(basic) if column >> index & 1)}"
            for name, column in zip(names, columns, strict=True)
            if column.bit_count() > 1
        ),
        aliases=tuple(
            " = ".join(" × ".join(names[index] for index in effect) for effect in effects) for effects in aliased_effects(columns)
        ),
    )


def _baseline_first(levels: Sequence[Level], baseline: Level) -> list[Level]:
    return [baseline, *(level for level in levels if not same_level(level, baseline))]


def random_cells(space: Space, num_cells: int, *, seed: int, accept: Callable[[Cell], bool]) -> list[Cell]:
    """Distinct cells that ``accept`` takes, drawn at random. In a finite space all accepted cells are equally likely.

    Where a factor is a continuous range, factors are drawn one by one, see ``Space.random_cell``. Asked for more cells with
    the same seed, it gives the same ones first.

    Raises:
        RuleError: There are fewer accepted cells than that, or fewer were found in ``TRIES_PER_CELL`` tries for each.
    """
    if num_cells < 1:
        raise RuleError("the number of random cells must be positive", str(num_cells))
    found: dict[object, Cell] = {}
    for cell in _candidates(space, seed, TRIES_PER_CELL * num_cells):
        if accept(cell):
            found.setdefault(cell_key(cell), cell)
        if len(found) == num_cells:
            return list(found.values())
    where = "in the whole space" if _is_shuffled(space) else f"in {TRIES_PER_CELL * num_cells:,} draws"
    raise RuleError(f"there must be {num_cells} distinct cells that may be trained", f"only {len(found)} {where}")


def check_two_levels(space: Space, design: str) -> None:
    """Check that every factor has two levels.

    Raises:
        RuleError: One has not; the message names the design.
    """
    for name in space.names():
        num_levels = _num_levels(space, name, design)
        if num_levels != 2:
            raise RuleError(f"{design} needs factors of two levels", f"{name}, which has {num_levels}")


def other_level(space: Space, name: str, level: Level) -> Level:
    """The other one of a factor's two levels."""
    first, second = _levels(space, name)
    return second if same_level(first, level) else first


def _is_shuffled(space: Space) -> bool:
    num_cells = space.num_cells()
    return num_cells is not None and num_cells <= LARGEST_SHUFFLED_SPACE


def _candidates(space: Space, seed: int, tries: int) -> Iterator[Cell]:
    rng = random.Random(seed)  # noqa: S311  # a design, not a secret
    num_cells = space.num_cells()
    if num_cells is None:
        return (space.random_cell(rng) for _ in range(tries))
    if _is_shuffled(space):
        return (space.cell_at(position) for position in rng.sample(range(num_cells), num_cells))
    return (space.cell_at(rng.randrange(num_cells)) for _ in range(tries))


def _num_levels(space: Space, name: str, design: str) -> int:
    num_levels = space.factor(name).domain.num_values()
    if num_levels is None:
        value, repair = f"{name}, a continuous range", f"give {name} a step or levels, or choose another design"
        raise RuleError(f"{design} needs factors of finitely many levels", value, repair)
    return num_levels


def _levels(space: Space, name: str) -> list[Level]:
    domain = space.factor(name).domain
    return [domain.value_at(position) for position in range(domain.num_values() or 0)]


def _baseline_cell(space: Space, baseline: Mapping[str, Level]) -> Cell:
    cell = space.active(baseline)
    for name, level in cell.items():
        _check_level(space, name, level)
    return cell


def _check_level(space: Space, name: str, level: Level) -> None:
    domain = space.factor(name).domain
    if not domain.contains(domain.canonical(level)):
        raise RuleError("the baseline must give every factor one of its levels", f"{name}: {level!r}", field=name)


def _reference(space: Space, baseline: Mapping[str, Level], factor: str) -> dict[str, Level]:
    """The full assignment of which ``reference_cell`` is the active part."""
    values = {}
    for name in space.names():
        if name not in baseline:
            raise RuleError("the baseline must give every factor one of its levels", "none", field=name)
        _check_level(space, name, baseline[name])
        values[name] = baseline[name]
    for condition, levels in space.requirements(factor).items():
        if not any(same_level(level, values[condition]) for level in levels):
            values[condition] = levels[0]
    return values


def _distinct(cells: Iterable[Cell]) -> list[Cell]:
    first: dict[object, Cell] = {}
    for cell in cells:
        first.setdefault(cell_key(cell), cell)
    return list(first.values())
