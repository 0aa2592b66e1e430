"""The verdict on every factor in a sentence: what helps and by how much, what has no effect, what is undecided."""

import math
from collections.abc import Iterator, Sequence

from analysis.reporting import formatting
from analysis.statistics.data.effect_coding import Term
from analysis.statistics.data.estimates import Estimate
from analysis.statistics.data.outcomes import Outcome
from analysis.statistics.effects.interactions import aliases_of
from analysis.statistics.effects.level_effects import LevelEffect
from analysis.statistics.effects.verdicts import (
    MOST_SEEDS,
    direction_of_more,
    is_negligible,
    largest_possible,
    negligible_margin,
    num_more_seeds,
)
from analysis.statistics.summary import Summary
from studies.run_record import level_in_words, levels_in_words


def effect_sentences(summary: Summary) -> Iterator[str]:
    """One per factor and outcome."""
    for factor in summary.study.factors:
        for outcome, effects in summary.effects.items():
            aliases = aliases_of(summary.variances.get(outcome), factor)
            yield _sentence(outcome, [effect for effect in effects if effect.factor == factor], effects, aliases)


def _sentence(outcome: Outcome, effects: Sequence[LevelEffect], family: Sequence[LevelEffect], aliases: Sequence[Term]) -> str:
    margin = negligible_margin(effects, outcome)
    negligible = [effect for effect in effects if is_negligible(effect, margin)]
    undecided = [effect for effect in effects if effect.verdict == "undecided" and effect not in negligible]
    parts = [
        *_decided(outcome, effects),
        *_negligible(outcome, negligible, are_all=len(negligible) == sum(effect.is_contrast for effect in effects)),
        *_undecided(outcome, undecided, family),
        *_without(effects, "no data", "no data at"),
        *_without(effects, "not in the design", "not in the design:"),
    ]
    baseline = [f"baseline {level_in_words(effect.level)}" for effect in effects if effect.is_baseline]
    where = [f"in the cell {levels_in_words(effects[0].in_cell)}"] if effects and effects[0].in_cell else []
    shared = [f"together with {', '.join(' × '.join(term) for term in aliases)}"] if aliases else []
    context = f" ({', '.join([*baseline, *where, *shared])})" if baseline or where or shared else ""
    factor = effects[0].factor if effects else "no factor"
    return f"{outcome.name} by {factor}{context}: {'; '.join(parts) or 'nothing to compare'}."


def _decided(outcome: Outcome, effects: Sequence[LevelEffect]) -> list[str]:
    decided = [effect for effect in effects if effect.verdict in ("higher", "lower")]
    slope = direction_of_more(effects)
    if slope is not None:
        factor = effects[0].factor
        is_whole = all(isinstance(effect.level, int) for effect in effects)
        helps = _helps(outcome, slope > 0)
        subject = f"more {factor} {helps}" if is_whole else f"a larger {factor} {helps}s"
        found = [f"{_size(outcome, effect)} at {level_in_words(effect.level)}{_interval(outcome, effect)}" for effect in decided]
        return [f"{subject} ({'; '.join(found)})"]
    return [
        f"{level_in_words(effect.level)} {_helps(outcome, effect.verdict == 'higher')}s "
        f"({_size(outcome, effect)}{_interval(outcome, effect)})"
        for effect in decided
    ]


def _helps(outcome: Outcome, is_higher: bool) -> str:
    return "help" if is_higher == (outcome.direction == "maximize") else "hurt"


def _size(outcome: Outcome, effect: LevelEffect) -> str:
    return f"{formatting.number(outcome, _difference(effect).mean, '+')}{formatting.difference_unit(outcome)}"


def _interval(outcome: Outcome, effect: LevelEffect) -> str:
    return f", 95 % {_bounds(outcome, effect)}"


def _bounds(outcome: Outcome, effect: LevelEffect) -> str:
    difference = _difference(effect)
    return f"{formatting.number(outcome, difference.low, '+')} to {formatting.number(outcome, difference.high, '+')}"


def _difference(effect: LevelEffect) -> Estimate:
    if effect.contrast is None:
        raise ValueError(f"only a contrast has a difference, but {effect.factor} = {effect.level} is none")
    return effect.contrast.difference


def _negligible(outcome: Outcome, effects: Sequence[LevelEffect], *, are_all: bool) -> list[str]:
    if not effects:
        return []
    bound = max(largest_possible(effect) for effect in effects)
    where = "" if are_all else f" at {', '.join(level_in_words(effect.level) for effect in effects)}"
    if not bound:
        return [f"no difference in any seed{where}"]
    return [f"no effect larger than {_rounded_up(outcome, bound)}{formatting.difference_unit(outcome)}{where}"]


def _rounded_up(outcome: Outcome, bound: float) -> str:
    """So that what is claimed is true of the number that is shown."""
    if outcome.is_fraction:
        return f"{math.ceil(1e4 * bound) / 100:.2f}"
    unit = 10.0 ** (math.floor(math.log10(bound)) - 2)
    return formatting.plain_number(math.ceil(bound / unit) * unit)


def _undecided(outcome: Outcome, effects: Sequence[LevelEffect], family: Sequence[LevelEffect]) -> list[str]:
    found = []
    for place, effect in enumerate(effects):
        if _difference(effect).num_values < 2:
            found.append(f"{level_in_words(effect.level)} ({_size(outcome, effect)} in one seed, which says nothing of others)")
            continue
        more = _more_seeds(num_more_seeds(effect, family), is_first=not place)
        found.append(f"{level_in_words(effect.level)} ({_bounds(outcome, effect)}{formatting.difference_unit(outcome)}{more})")
    return [f"undecided at {', '.join(found)}"] if found else []


def _more_seeds(num: float, *, is_first: bool) -> str:
    if math.isnan(num):
        return ""
    if math.isinf(num):
        return f"; {MOST_SEEDS:,} seeds would not settle it" if is_first else f"; {MOST_SEEDS:,} would not"
    seeds = f"{int(num)} more seed{'s' if num > 1 else ''}"
    return f"; {seeds} would settle it if the difference is what it seems" if is_first else f"; {seeds}"


def _without(effects: Sequence[LevelEffect], verdict: str, before: str) -> list[str]:
    found = [level_in_words(effect.level) for effect in effects if effect.verdict == verdict]
    return [f"{before} {', '.join(found)}"] if found else []
