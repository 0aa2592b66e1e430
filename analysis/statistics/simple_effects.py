"""How two factors interact: the effect of one at every level of the other."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.statistics.cells import block_means, group_by_levels
from analysis.statistics.coding import Term
from analysis.statistics.intervals import Estimate, mean_interval
from studies.run_record import Level, RunRecord, StudyRecord


@dataclass(frozen=True)
class SimpleEffect:
    """A level minus its factor's baseline level, where another factor has one level; None where no seed has all its cells."""

    factor: str
    level: Level
    beside: str
    beside_level: Level
    difference: Estimate | None


def simple_effects(study: StudyRecord, runs: Sequence[RunRecord], pair: Term, metric: str) -> list[SimpleEffect]:
    """Of the pair's first factor at every level of the second: paired by seed, the mean over the levels of all other factors.

    Cells of which the design lacks the counterpart at the baseline level are left out; levels without any are not in the list.
    """
    factor, beside = pair
    cells = group_by_levels(run for run in runs if run.role == "cell")
    baseline = study.baseline.get(factor)
    found = []
    for beside_level in study.factors[beside]:
        for level in study.factors[factor]:
            with_level = [
                cell
                for cell in cells.values()
                if cell[0].levels.get(beside, ...) == beside_level and cell[0].levels.get(factor, ...) == level != baseline
            ]
            counterparts = [cells.get(frozenset({**cell[0].levels, factor: baseline}.items())) for cell in with_level]
            pairs = [(cell, other) for cell, other in zip(with_level, counterparts, strict=True) if other]
            if pairs:
                values = block_means([cell for cell, _ in pairs], metric)
                references = block_means([other for _, other in pairs], metric)
                differences = [values[seed] - references[seed] for seed in values if seed in references]
                estimate = mean_interval(differences) if differences else None
                found.append(SimpleEffect(factor, level, beside, beside_level, estimate))
    return found
