"""Counts the cells of a finite space, and finds the cell at a position without making the others."""

from collections.abc import Sequence
from itertools import pairwise

from search_spaces.language.factors import Factor, Level
from search_spaces.language.rules import RuleError

MOST_STATES = 20_000
"""Of sets of absent factors; 14 conditional factors that are independent of each other have 16,384."""

Run = tuple[int, int, int]
"""Neighbouring values of one domain: the first position, how many they are, and the factors absent with them (bits)."""


class Listing:
    """All cells of a finite space in order: the last factor changes fastest.

    What a cell's first factors leave possible depends only on which later factors they made absent. ``_ways`` counts, for
    every factor and every such set of absent ones that can be met, in how many ways a cell can go on; nothing is enumerated.

    Raises:
        RuleError: There are more than ``MOST_STATES`` such sets; its field is the factor by which they become too many.
    """

    def __init__(self, factors: Sequence[Factor]) -> None:
        self._factors = factors
        self._runs = [_runs(factor, factors) for factor in factors]
        self._conditional = [
            sum(1 << index for index, factor in enumerate(factors) if condition.name in factor.when) for condition in factors
        ]
        """For every factor, those that have a condition on it (bits)."""
        met = [{0}]
        for index, factor in enumerate(factors):
            met.append({_behind(index, absent | lost) for absent in met[-1] for _, _, lost in self._choices(index, absent)})
            if len(met[-1]) > MOST_STATES:
                rule = f"conditions must leave at most {MOST_STATES:,} combinations of factors that exist"
                raise RuleError(rule, "more", "put fewer conditions on different factors", factor.name)
        self._ways = [{0: 1}]
        for index in reversed(range(len(factors))):
            self._ways.insert(0, {absent: self._count(index, absent, self._ways[0]) for absent in met[index]})

    @property
    def num_cells(self) -> int:
        """How many cells there are."""
        return self._ways[0][0]

    def cell_at(self, position: int) -> dict[str, Level]:
        """The cell at a position, counted from 0.

        Raises:
            IndexError: There are fewer cells.
        """
        if not 0 <= position < self.num_cells:
            raise IndexError(f"position must be from 0 to {self.num_cells - 1}; got {position}")
        cell: dict[str, Level] = {}
        absent = 0
        for index, factor in enumerate(self._factors):
            if absent >> index & 1:
                absent |= self._conditional[index]
                continue
            for first, number, lost in self._runs[index]:
                each = self._ways[index + 1][_behind(index, absent | lost)]
                if position < number * each:
                    cell[factor.name] = factor.domain.value_at(first + position // each)
                    position, absent = position % each, absent | lost
                    break
                position -= number * each
        return cell

    def _choices(self, index: int, absent: int) -> list[Run]:
        return [(0, 1, self._conditional[index])] if absent >> index & 1 else self._runs[index]

    def _count(self, index: int, absent: int, ways: dict[int, int]) -> int:
        return sum(number * ways[_behind(index, absent | lost)] for _, number, lost in self._choices(index, absent))


def _behind(index: int, absent: int) -> int:
    """Of the absent factors those behind ``index``."""
    return absent >> (index + 1) << (index + 1)


def _runs(condition: Factor, factors: Sequence[Factor]) -> list[Run]:
    """A domain cut where what it makes absent changes."""
    domain = condition.domain
    conditions = {
        index: {domain.position(level) for level in factor.when[condition.name]}
        for index, factor in enumerate(factors)
        if condition.name in factor.when
    }
    named = {position for positions in conditions.values() for position in positions if position is not None}
    cuts = sorted({0, domain.num_values() or 0, *named, *(position + 1 for position in named)})
    return [
        (first, end - first, sum(1 << index for index, positions in conditions.items() if first not in positions))
        for first, end in pairwise(cuts)
    ]
