"""Factors as numbers between 0 and 1, for models of what a search has tried; inactive factors are NaN."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from studies.run_record import Level, StudyRecord

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FactorAxis:
    """A factor's scale: a range from ``low`` to ``high``, or levels; levels that are numbers have an order."""

    factor: str
    levels: Sequence[Level] = ()
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    is_integer: bool = False
    num_values: int | None = None
    """Of an ordered axis, how many values there are; None where there is no end of them."""

    @property
    def is_ordered(self) -> bool:
        """Whether a value may lie between two others."""
        return all(_is_number(level) for level in self.levels)

    @property
    def num_columns(self) -> int:
        """Of a model's input: one, or an indicator for every level that has no order."""
        return 1 if self.is_ordered else len(self.levels)

    @property
    def margin(self) -> float:
        """Half the distance between neighbouring places, 0 on a continuous range: a place represents what is so near."""
        return 0.5 / (self.num_values - 1) if self.num_values and self.num_values > 1 else 0.0

    def place(self, level: Level) -> float:
        """Where a level stands: from 0 to 1 where there is an order, else its number; NaN of what is none of the range."""
        if self.levels:
            index = next(i for i, other in enumerate(self.levels) if _is_same(level, other))
            return index / max(1, len(self.levels) - 1) if self.is_ordered else float(index)
        if not _is_number(level) or self.low == self.high:
            return 0.5 if _is_number(level) else math.nan
        low, high, value = (math.log(number) if self.is_log else number for number in (self.low, self.high, float(level or 0)))
        return (value - low) / (high - low)

    def level(self, place: float) -> Level:
        """The level at a place of ``grid``."""
        if self.levels:
            return self.levels[round(place * (len(self.levels) - 1)) if self.is_ordered else round(place)]
        value = self.low + place * (self.high - self.low)
        if self.is_log:
            value = math.exp(math.log(self.low) + place * (math.log(self.high) - math.log(self.low)))
        return round(value) if self.is_integer else value

    def grid(self, num: int) -> list[float]:
        """Places that cover the axis: every level, or ``num`` places of a range, fewer if it has fewer values."""
        if self.levels:
            return [self.place(level) for level in self.levels]
        places = [float(place) for place in np.linspace(0, 1, min(num, self.num_values or num))]
        return list({self.level(place): self.place(self.level(place)) for place in places}.values())

    def columns(self, places: Array) -> Array:
        """A model's input: places as they are, or an indicator for each level; inactive ones are in the middle of all.

        Args:
            places: One for each row; NaN where the factor is inactive.

        Returns:
            Rows × ``num_columns``.
        """
        if self.is_ordered:
            return np.where(np.isnan(places), 0.5, places)[:, None]
        indicators: Array = (places[:, None] == np.arange(len(self.levels))).astype(np.float64)
        indicators[np.isnan(places)] = 1 / len(self.levels)
        return indicators


def factor_axes(study: StudyRecord, configurations: Iterable[dict[str, Level]]) -> list[FactorAxis]:
    """An axis for every factor that some configuration has; a level that the study does not name counts too.

    Records from before ranges were kept as numbers have only words: their ranges are what was tried, from least to most.
    """
    tried: dict[str, list[Level]] = {}
    for levels in configurations:
        for name, level in levels.items():
            tried.setdefault(name, []).append(level)
    return [_axis(study, name, tried[name]) for name in study.factors if name in tried]


def _axis(study: StudyRecord, name: str, tried: Sequence[Level]) -> FactorAxis:
    if name in study.ranges:
        return _range_axis(study, name, [float(level) for level in tried if _is_number(level)])  # type: ignore[arg-type]
    levels = list(study.factors[name])
    for level in tried:
        if not any(_is_same(level, other) for other in levels):
            levels.append(level)
    if all(_is_number(level) for level in levels):
        levels.sort(key=float)  # type: ignore[arg-type]
        return FactorAxis(name, levels, num_values=len(levels))
    return FactorAxis(name, levels)


def _range_axis(study: StudyRecord, name: str, tried: Sequence[float]) -> FactorAxis:
    """As wide as what was tried where that is wider than the range, which an earlier file of the study may have had."""
    bounds = study.bounds.get(name)
    if bounds is None:
        low, high = (min(tried), max(tried)) if tried else (0.0, 1.0)
        return FactorAxis(name, low=low, high=high, is_log=", log" in study.ranges[name] and low > 0)
    low, high, is_integer = min([bounds["low"], *tried]), max([bounds["high"], *tried]), bounds["integer"]
    is_log = bounds["log"] and low > 0
    step = bounds["step"] or (1 if is_integer and not is_log else None)
    num_values = round((high - low) / step) + 1 if step else None
    return FactorAxis(name, low=low, high=high, is_log=is_log, is_integer=is_integer, num_values=num_values)


def _is_number(level: Level) -> bool:
    return isinstance(level, int | float) and not isinstance(level, bool)


def _is_same(one: Level, other: Level) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other
