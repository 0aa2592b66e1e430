"""Designs: from factors with levels and a baseline to the cells that are trained."""

from collections.abc import Callable, Mapping, Sequence

Level = bool | int | float | str
Cell = dict[str, Level]
"""The level of every factor."""


def one_factor_at_a_time(factors: Mapping[str, Sequence[Level]], baseline: Cell) -> list[Cell]:
    """The baseline, then every other level of each factor with the other factors at their baseline.

    It answers with simple effects (at the baseline of the others) and says nothing of interactions.
    """
    cells = [dict(baseline)]
    for factor, levels in factors.items():
        cells += [{**baseline, factor: level} for level in levels if level != baseline[factor]]
    return cells


DESIGNS: dict[str, Callable[[Mapping[str, Sequence[Level]], Cell], list[Cell]]] = {
    "one_factor_at_a_time": one_factor_at_a_time,
}
