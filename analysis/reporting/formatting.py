"""Numbers and levels in words, the same in every output."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from analysis.statistics.data.estimates import Estimate
from analysis.statistics.data.outcomes import Outcome
from analysis.statistics.effects.level_effects import LevelEffect
from analysis.statistics.effects.sign_flips import is_smallest, smallest_p
from analysis.words import counted, listed
from studies.label_texts import label_of, level_key
from studies.run_record import SHORT_NAMES, Level, StudyRecord, level_in_words

NONE = "–"
VERDICTS = {"small": "no large effect", "equal": "equal in every seed"}
"""Verdicts whose name is not what a table says."""
MOST_DECIMALS = 6
SMALLEST_PLAIN, LARGEST_PLAIN = 1e-4, 1e9
"""Numbers outside of these are written with a power of ten."""
SMALLEST_RATIO, LARGEST_RATIO = 0.1, 10.0
"""Ratios outside of these have four digits, others three decimals."""
SMALLEST_SHARE = 0.01
"""Of resamples or draws: what is below it, or as near to 1, is not told in whole percent."""


def plain_number(number: float, sign: str = "") -> str:
    """Four significant digits, written out: 12.35, 0.001235, 1235000; a sign before positive ones too where ``sign`` is +."""
    prefix = "+" if sign and number >= 0 else ""
    if number and not SMALLEST_PLAIN <= abs(number) < LARGEST_PLAIN:
        return f"{prefix}{number:.3e}"
    return prefix + np.format_float_positional(number, precision=4, unique=False, fractional=False, trim="-")


def number(outcome: Outcome, value: float, sign: str = "") -> str:
    """A value or a difference of an outcome: fractions in percent (or points) with two decimals, others as plain numbers."""
    return f"{100 * value:{sign}.2f}" if outcome.is_fraction else plain_number(value, sign)


def value(outcome: Outcome, estimate: Estimate | None) -> str:
    """A mean with its interval: ``96.12 (95.40 to 96.84)``."""
    return NONE if estimate is None else _with_interval(outcome, estimate, "")


def mean(outcome: Outcome, estimate: Estimate | None, sign: str = "") -> str:
    """A mean without its interval: ``96.12``."""
    return NONE if estimate is None else number(outcome, estimate.mean, sign)


def difference(outcome: Outcome, estimate: Estimate) -> str:
    """A difference with its interval, signed; of fractions in percentage points."""
    return _with_interval(outcome, estimate, "+")


def ratio(value: float) -> str:
    """A contrast of a count or a cost: how many times the reference's, ``×0.612``; ``×∞`` of a reference that is 0."""
    times = 1 + value
    if math.isinf(times):
        return "×∞"
    return f"×{times:.3f}" if SMALLEST_RATIO <= times < LARGEST_RATIO else f"×{plain_number(times)}"


def contrast_number(outcome: Outcome, value: float) -> str:
    """A mean or a bound of a contrast, as ``Contrast`` has it: signed points or numbers, of counts and costs a ratio."""
    return ratio(value) if outcome.is_ratio else number(outcome, value, "+")


def contrast(outcome: Outcome, estimate: Estimate) -> str:
    """A contrast with its interval: ``-2.76 (-4.09 to -1.43)``, ``×0.612 (×0.580 to ×0.645)``; without one where it has none."""
    text, *bounds = (contrast_number(outcome, value) for value in (estimate.mean, estimate.low, estimate.high))
    return f"{text} ({' to '.join(bounds)})" if math.isfinite(estimate.low) else text


def plus_minus(estimate: Estimate | None) -> str:
    """A mean ± half its interval, with as many decimals as give the half two digits: ``248714 ± 3852``, ``1.872 ± 0.059``."""
    if estimate is None:
        return NONE
    half = estimate.half_width
    if estimate.num_values < 2 or not half > 0:
        return plain_number(estimate.mean)
    num_decimals = max(0, 1 - math.floor(math.log10(half)))
    if num_decimals > MOST_DECIMALS:
        return f"{plain_number(estimate.mean)} ± {plain_number(half)}"
    return f"{estimate.mean:.{num_decimals}f} ± {half:.{num_decimals}f}"


def divided(estimate: Estimate | None, by: float) -> Estimate | None:
    """An estimate in a larger unit."""
    if estimate is None:
        return None
    return Estimate(estimate.mean / by, estimate.low / by, estimate.high / by, estimate.num_values)


def _with_interval(outcome: Outcome, estimate: Estimate, sign: str) -> str:
    text = number(outcome, estimate.mean, sign)
    if not math.isfinite(estimate.low):
        return text
    return f"{text} ({number(outcome, estimate.low, sign)} to {number(outcome, estimate.high, sign)})"


def unit(outcome: Outcome) -> str:
    """The unit behind an outcome's name: `` %`` for fractions, nothing for others."""
    return " %" if outcome.is_fraction else ""


def difference_unit(outcome: Outcome) -> str:
    """The unit behind a difference or a contrast: `` points`` (percentage points) for fractions, nothing for others."""
    return " points" if outcome.is_fraction else ""


def p_value(p: float) -> str:
    """A p-value with three decimals, or ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def factor_name(study: StudyRecord, factor: str) -> str:
    """What a factor is called in print: its label, or else its own name."""
    return label_of(study.labels, factor, factor)


def level_name(study: StudyRecord, factor: str, level: Level) -> str:
    """What a level is called in print: its label, or else as it is written; four digits if it is from a range."""
    words = tuned_value(level) if factor in study.ranges else level_in_words(level)
    return label_of(study.labels, level_key(factor, level), words)


def share_in_words(share: float) -> str:
    """A share in whole percent, never 0 or 100 of what was only drawn: ``42 %``, ``< 1 %``, ``> 99 %``; a dash for NaN."""
    if math.isnan(share):
        return NONE
    if share < SMALLEST_SHARE:
        return "< 1 %"
    return "> 99 %" if share > 1 - SMALLEST_SHARE else f"{100 * share:.0f} %"


def smallest_p_in_words(effects: Iterable[LevelEffect]) -> str:
    """A sentence where a p of effects is the smallest that the test can give with their seeds; else nothing."""
    contrasts = [effect.contrast for effect in effects if effect.contrast]
    reached = {one.difference.num_values for one in contrasts if is_smallest(one.p, one.difference.num_values)}
    if not reached:
        return ""
    known = [f"{p_value(smallest_p(num))} with {counted(num, 'seed')}" for num in sorted(reached)]
    return f" Before the correction the smallest p that the test can give is reached: {listed(known)}."


def level_of(study: StudyRecord, factor: str, levels: Mapping[str, Level]) -> str:
    """A configuration's level of a factor, as ``level_name`` has it; a dash if the factor is inactive."""
    return level_name(study, factor, levels[factor]) if factor in levels else NONE


def levels_named(study: StudyRecord, levels: Mapping[str, Level]) -> str:
    """Levels with their factors, as they are called in print: ``time_steps=8 feature_scale=0.5``."""
    return " ".join(f"{factor_name(study, factor)}={level_name(study, factor, level)}" for factor, level in levels.items())


def tuned_value(value: Level) -> str:
    """A value that a sampler chose: floating numbers with four digits, others as they are."""
    return plain_number(value) if isinstance(value, float) else level_in_words(value)


def configuration_in_words(study: StudyRecord, levels: Mapping[str, Level]) -> str:
    """A configuration's levels in the order of the factors, as ``level_of`` has them."""
    return levels_named(study, {factor: levels[factor] for factor in study.factors if factor in levels})


def cell_in_words(study: StudyRecord, levels: Mapping[str, Level]) -> str:
    """The levels in which a cell differs from the baseline, or ``baseline``."""
    return levels_named(study, _not_of_baseline(study, levels)) or "baseline"


def cell_in_short(study: StudyRecord, levels: Mapping[str, Level]) -> str:
    """A cell as it is called in a figure: as ``cell_in_words``, with the field's short names of factors without a label."""
    names = {factor: label_of(study.labels, factor, SHORT_NAMES.get(factor, factor)) for factor in levels}
    levels = _not_of_baseline(study, levels)
    said = {factor: level_name(study, factor, level) for factor, level in levels.items()}
    return " ".join(f"{names[factor]}={level}" if names[factor] else level for factor, level in said.items()) or "baseline"


def _not_of_baseline(study: StudyRecord, levels: Mapping[str, Level]) -> dict[str, Level]:
    return {name: level for name, level in levels.items() if study.baseline.get(name, ...) != level}


def factor_in_cell(study: StudyRecord, factor: str, in_cell: Mapping[str, Level]) -> str:
    """A factor, and the cell in which its levels are compared where that is not the baseline."""
    name = factor_name(study, factor)
    return f"{name}, in the cell {levels_named(study, in_cell)}" if in_cell else name


def term_name(study: StudyRecord, term: Sequence[str]) -> str:
    """A factor, or an interaction of several: ``time_steps × layout``."""
    return " × ".join(factor_name(study, factor) for factor in term)


def verdict_in_words(verdict: str) -> str:
    """A verdict on a level as tables have it."""
    return VERDICTS.get(verdict, verdict)


def seeds(num_finished: int, num_planned: int) -> str:
    """The number of seeds that finished: ``3``, ``2 of 3``, or a dash if none was planned."""
    if not num_planned:
        return NONE
    return str(num_finished) if num_finished == num_planned else f"{num_finished} of {num_planned}"


def named_seeds(numbers: Collection[int]) -> str:
    """The number of seeds and which they are: ``2 seeds (0, 1)``."""
    return f"{counted(len(numbers), 'seed')} ({', '.join(map(str, sorted(numbers)))})"


def setting(content: Any) -> str:
    """A value of a study's options: mappings and lists spelt out, e.g. ``name tpe, seed 0``."""
    if isinstance(content, Mapping):
        return ", ".join(f"{name} {_inner(inner)}" for name, inner in content.items())
    if isinstance(content, Sequence) and not isinstance(content, str):
        return ", ".join(_inner(inner) for inner in content)
    return level_in_words(content)


def _inner(content: Any) -> str:
    text = setting(content)
    return f"({text})" if isinstance(content, Mapping | Sequence) and not isinstance(content, str) else text
