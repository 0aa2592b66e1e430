"""Factors: what varies, over which levels or range, under which conditions, and as which distribution of Optuna's.

``True`` and ``1`` are different levels, ``1`` and ``1.0`` are the same one. Python says otherwise of the first pair, and so
does Optuna: where both stand in one list, Optuna is given the levels as JSON text.
"""

import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import TypeGuard

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.language.exact_numbers import as_written
from search_spaces.language.rules import RuleError

Level = bool | int | float | str | None

LARGEST_INTEGER = 2**53
"""The largest integer of a range: Optuna stores numbers as doubles, which hold all integers up to here exactly."""


def same_level(first: Level, second: Level) -> bool:
    """Whether two values are one level: equal, and both truth values or neither."""
    return isinstance(first, bool) == isinstance(second, bool) and first == second


@dataclass(frozen=True)
class Levels:
    """A list of levels, in the order written."""

    values: tuple[Level, ...]

    def problem(self) -> RuleError | None:
        """The rule that the levels break; None if they break none."""
        if not self.values:
            return RuleError("a factor must have at least one level", "none")
        for level in self.values:
            if isinstance(level, float) and not math.isfinite(level):
                return RuleError("levels must be finite", str(level))
        for position, level in enumerate(self.values):
            if self.position(level) != position:
                return RuleError("levels must differ", f"{level!r} twice")
        return None

    def num_values(self) -> int:
        """How many levels there are."""
        return len(self.values)

    def value_at(self, position: int) -> Level:
        """The level at a position, counted from 0."""
        return self.values[position]

    def position(self, value: Level) -> int | None:
        """The position of a level, counted from 0; None if the value is not one of the levels."""
        return self._positions.get((isinstance(value, bool), value))

    def canonical(self, value: Level) -> Level:
        """A value in the type of the level that it equals (1 becomes 1.0 where the level is 1.0); unchanged if it equals none."""
        position = self.position(value)
        return value if position is None else self.values[position]

    def contains(self, value: Level) -> bool:
        """Whether a value is a level, type included."""
        return self.position(value) is not None and type(self.canonical(value)) is type(value)

    def draw(self, rng: random.Random) -> Level:
        """A level, each as likely as the others."""
        return rng.choice(self.values)

    @cached_property
    def distribution(self) -> CategoricalDistribution:
        """The levels as Optuna's categories."""
        return CategoricalDistribution([self.param(level) for level in self.values])

    def param(self, level: Level) -> Level:
        """A level as the parameter value that Optuna stores."""
        return json.dumps(level) if self._optuna_confuses else level

    def level(self, param: Level) -> Level:
        """The level of a parameter value that Optuna stores."""
        return json.loads(str(param)) if self._optuna_confuses else self.canonical(param)

    @cached_property
    def _positions(self) -> dict[tuple[bool, Level], int]:
        """By what ``same_level`` compares; of a repeated level the last."""
        return {(isinstance(level, bool), level): position for position, level in enumerate(self.values)}

    @cached_property
    def _optuna_confuses(self) -> bool:
        return len(set(self.values)) < len(self.values)


@dataclass(frozen=True)
class Range:
    """The numbers from ``low`` to ``high``, both included: all of them, or those at the distance ``step`` from each other.

    An integer range has a step of 1 unless told otherwise. ``log`` says how values are drawn: uniformly in their logarithm.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    integer: bool = False

    def problem(self) -> RuleError | None:
        """The rule that the numbers break, with the key (``low``, ``high``, ``step``) it is about; None if they break none."""
        numbers = {"low": self.low, "high": self.high} | ({} if self.step is None else {"step": self.step})
        for key, number in numbers.items():
            if self.integer and not (abs(number) <= LARGEST_INTEGER and number == int(number)):
                return RuleError("an integer range must have whole bounds and steps up to 2**53", f"{key}={number}", field=key)
            if not abs(number) < math.inf:
                return RuleError("bounds and step must be finite", f"{key}={number}", field=key)
        bounds = f"low={self.low}, high={self.high}"
        if not _is_finite_float(self.low, self.high):
            return RuleError("the difference of the bounds must be finite", bounds)
        if self.low >= self.high:
            return RuleError("low must be less than high", bounds)
        if self.log and self.low <= 0:
            return RuleError("low must be positive on a log scale", bounds, field="low")
        return self._step_problem(bounds)

    def _step_problem(self, bounds: str) -> RuleError | None:
        if self.step is None:
            return None
        step = f"step={self.step}"
        if self.log:
            return RuleError("a range has a log scale or a step, not both", f"log=True, {step}", field="step")
        if self.step <= 0:
            return RuleError("step must be positive", step, field="step")
        if (as_written(self.high) - as_written(self.low)) % as_written(self.step):
            return RuleError("step must divide high - low", f"{bounds}, {step}", field="step")
        if self.step <= math.ulp(max(abs(self.low), abs(self.high))):
            return RuleError("step must be larger than the precision of floats near the bounds", step, field="step")
        return None

    def num_values(self) -> int | None:
        """How many numbers there are; None if infinitely many."""
        step = self._spacing()
        return None if step is None else int((as_written(self.high) - as_written(self.low)) / step) + 1

    def value_at(self, position: int) -> float:
        """The number at a position, counted from 0; of a finite range. ``low`` + ``position`` steps in decimal arithmetic.

        Raises:
            ValueError: The range is continuous.
        """
        step = self._spacing()
        if step is None:
            raise ValueError(f"only a range with a step can be listed; got {self}")
        value = as_written(self.low) + position * step
        return int(value) if self.integer else float(value)

    def values(self) -> tuple[float, ...]:
        """All numbers of a finite range, ascending.

        Raises:
            ValueError: The range is continuous.
        """
        return (self.value_at(0), *(self.value_at(position) for position in range(1, self.num_values() or 1)))

    def position(self, value: Level) -> int | None:
        """The position of a number in a finite range, counted from 0; None if it is not in the range."""
        step = self._spacing()
        if step is None or not self._is_between(value):
            return None
        position = round((as_written(value) - as_written(self.low)) / step)
        return position if self.value_at(position) == value else None

    def canonical(self, value: Level) -> Level:
        """A number in the range's own type (1 becomes 1.0); unchanged if it is outside."""
        if self._spacing() is None:
            return float(value) if self._is_between(value) else value
        position = self.position(value)
        return value if position is None else self.value_at(position)

    def contains(self, value: Level) -> bool:
        """Whether a number is in the range, type included: ints in an integer range, floats in another."""
        if type(value) is not (int if self.integer else float):
            return False
        return self._is_between(value) if self._spacing() is None else self.position(value) is not None

    def draw(self, rng: random.Random) -> float:
        """A number, drawn uniformly, or uniformly in its logarithm (an integer then by rounding, as in Optuna)."""
        num_values = self.num_values()
        if num_values is not None and not self.log:
            return self.value_at(rng.randrange(num_values))
        margin = 0.5 if self.integer else 0.0
        if self.log:
            value = math.exp(rng.uniform(math.log(self.low - margin), math.log(self.high + margin)))
        else:
            value = rng.uniform(self.low, self.high)
        value = min(max(value, self.low), self.high)
        return round(value) if self.integer else float(value)

    @cached_property
    def distribution(self) -> FloatDistribution | IntDistribution:
        """The range as Optuna's."""
        if self.integer:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def param(self, level: Level) -> Level:
        """A number as the parameter value that Optuna stores: unchanged."""
        return level

    def level(self, param: Level) -> Level:
        """The number of a parameter value of Optuna, which may be 0.30000000000000004 for 0.3: it adds steps in binary."""
        step = self._spacing()
        if step is None or not _is_number(param):
            return self.canonical(param)
        return self.value_at(round((as_written(param) - as_written(self.low)) / step))

    def _spacing(self) -> Fraction | None:
        if self.step is not None:
            return as_written(self.step)
        return Fraction(1) if self.integer else None

    def _is_between(self, value: Level) -> TypeGuard[float]:
        return _is_number(value) and self.low <= value <= self.high


Domain = Levels | Range


@dataclass(frozen=True)
class Factor:
    """What varies: a name, its domain, and its conditions.

    ``when`` gives the conditions: other factors by name, and the levels that each of them may have. Where one of them has
    another level, this factor is inactive: a cell has no value of it.
    """

    name: str
    domain: Domain
    when: Mapping[str, tuple[Level, ...]] = field(default_factory=dict)


def _is_number(value: Level) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite_float(low: float, high: float) -> bool:
    try:
        return math.isfinite(float(high) - float(low))
    except OverflowError:
        return False
