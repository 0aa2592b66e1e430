"""How many replicates a study trains: told of a checked study, and of a study file without its trainable, its data or torch."""

from search_spaces.language import designs
from search_spaces.language.pool_placements import pool_placements
from search_spaces.language.space import Cell, Factor, Level, Levels, Space, make_space
from studies.engine.definition.file_model import AdaptiveSearch, FactorEntry, FractionalFactorial, RandomDesign, StudyFile


def replicates_of_cells(num_cells: int, num_seeds: int, num_tuning_trials: int) -> int:
    """The replicates of a design: every cell with every seed, after ``num_tuning_trials`` of its own where cells are tuned."""
    return num_cells * (num_seeds + num_tuning_trials)


def replicates_of_search(num_trials: int, seeds_per_trial: int, finalists: int, num_seeds: int) -> int:
    """The replicates of a search: its trials, and for every finalist the seeds that its trial has not trained yet."""
    return num_trials * seeds_per_trial + finalists * (num_seeds - seeds_per_trial)


def num_replicates(content: StudyFile) -> int | None:
    """How many replicates a study file asks for, as far as can be said without its trainable and its data.

    Constraints are not looked at, nor which placements of pools its images allow. None where the file is wrong about it.
    """
    design, seeds = content.design, content.seeds
    num_seeds = seeds if isinstance(seeds, int) else len(seeds)
    if isinstance(design, AdaptiveSearch):
        return replicates_of_search(design.num_trials, design.seeds_per_trial, design.finalists, num_seeds)
    num_cells = design.num_cells if isinstance(design, RandomDesign) else _num_cells(content)
    return num_cells and replicates_of_cells(num_cells, num_seeds, content.tuning.num_trials if content.tuning else 0)


def is_upper_bound(content: StudyFile) -> bool:
    """Whether ``num_replicates`` may be too many: constraints leave out cells, unless the file gives the number of cells."""
    return bool(content.constraints) and not isinstance(content.design, RandomDesign | AdaptiveSearch)


def _num_cells(content: StudyFile) -> int | None:
    factors = [_factor(name, entry) for name, entry in content.factors.items()]
    on = {factor.name: True for factor in factors if designs.is_switch(factor)} if content.design.name == "leave_one_out" else {}
    baseline = {**on, **content.baseline}
    try:
        space = make_space(factors)
        return len(
            _cells(content, space, {factor.name: factor.domain.canonical(baseline.get(factor.name)) for factor in factors})
        )
    except ValueError:
        return None


def _cells(content: StudyFile, space: Space, baseline: Cell) -> list[Cell]:
    if isinstance(content.design, FractionalFactorial):
        return list(designs.fractional_factorial(space, baseline, resolution=content.design.resolution).cells)
    return designs.ENUMERATED[content.design.name](space, baseline)


def _factor(name: str, entry: FactorEntry) -> Factor:
    when = {} if isinstance(entry, list) else entry.when
    conditions = {other: tuple(value) if isinstance(value, list) else (value,) for other, value in when.items()}
    return Factor(name, Levels(_levels(entry)), conditions)


def _levels(entry: FactorEntry) -> tuple[Level, ...]:
    if isinstance(entry, list):
        return tuple(entry)
    if entry.layouts is None:
        return tuple(entry.levels or ())
    pools = [entry.layouts.pools] if isinstance(entry.layouts.pools, int) else entry.layouts.pools
    return tuple(pool_placements(entry.layouts.convolutions.split(), pools, entry.layouts.kinds, mixed=entry.layouts.mixed))
