"""The answer of a study in one line, and in one paragraph.

For designs that compare levels: the factor that matters most for the primary outcome, by how much, how sure that is, and at what
cost; what else is decided, and what is not. For others the best configuration. Built of the verdicts alone.
"""

import math
from collections.abc import Iterator, Sequence

from analysis.reporting import formatting
from analysis.reporting.topics.claims.other_images import on_other_images
from analysis.reporting.topics.rank_stability import stability_verdicts
from analysis.reporting.topics.rankings import ranking_verdicts
from analysis.statistics.data.estimates import Estimate
from analysis.statistics.data.outcomes import ACCURACY_OUTCOME, SPIKES_OUTCOME, Outcome
from analysis.statistics.effects.contrasts import SIGNIFICANCE, Contrast, fewest_seeds
from analysis.statistics.effects.interactions import aliases_of
from analysis.statistics.effects.level_effects import LevelEffect
from analysis.statistics.effects.sign_flips import is_smallest
from analysis.statistics.effects.verdicts import matters_most
from analysis.statistics.summary import Summary
from analysis.words import counted, first_of, listed

MOST_NAMED = 6
"""Of the comparisons that a sentence names."""
MOST_ON_OTHER_IMAGES = 3
"""Of the comparisons of which other images say something else."""
OPEN = {"small": "Shown to be small", "equal": "Equal in every seed", "undecided": "Undecided"}
"""By verdict, how the sentence begins that names the comparisons with it."""


def headline(summary: Summary) -> str:
    """The answer in one line; empty where there is none."""
    if not summary.effects:
        return next(iter([*stability_verdicts(summary), *ranking_verdicts(summary)]), "")
    effects = _contrasts(summary)
    leading = _leading(effects)
    if leading is not None:
        return f"{_subject(summary, leading)}: {_instead(summary, leading)}."
    return _nothing_decided(summary.primary, effects)


def paragraph(summary: Summary) -> str:
    """How sure the answer is, what it costs, what else is decided and what is not."""
    if not summary.effects:
        return ""
    effects = _contrasts(summary)
    return " ".join(_sentences(summary, effects, _leading(effects)))


def _contrasts(summary: Summary) -> list[LevelEffect]:
    return [effect for effect in summary.effects[summary.primary] if effect.contrast is not None]


def _decided(effects: Sequence[LevelEffect]) -> list[LevelEffect]:
    """The largest difference first."""
    decided = [effect for effect in effects if effect.verdict in ("higher", "lower")]
    return sorted(decided, key=lambda effect: -abs(_of(effect).difference.mean))


def _leading(effects: Sequence[LevelEffect]) -> LevelEffect | None:
    return next(iter(_decided(effects)), None)


def _of(effect: LevelEffect) -> Contrast:
    if effect.contrast is None:
        raise ValueError(f"only a contrast has a difference, but {effect.factor} = {effect.level} is none")
    return effect.contrast


def _subject(summary: Summary, effect: LevelEffect) -> str:
    study = summary.study
    factor = formatting.factor_name(study, effect.factor)
    aliases = aliases_of(summary.variances.get(summary.primary), effect.factor)
    if aliases:
        factor += f" (or {', '.join(formatting.term_name(study, term) for term in aliases)})"
    most = " most" if matters_most(summary.effects[summary.primary]) == effect.factor else ""
    return f"{factor} matters{most} for {summary.primary.name}"


def _instead(summary: Summary, effect: LevelEffect) -> str:
    """A level instead of the baseline's, and what that does, e.g. ``2 instead of 8 lowers it by 2.76 points (95 % …)``."""
    study, difference = summary.study, _of(effect).difference
    references = [one for one in summary.effects[summary.primary] if one.is_baseline and one.factor == effect.factor]
    level, reference = (formatting.level_name(study, one.factor, one.level) for one in (effect, references[0]))
    where = f" (in the cell {formatting.levels_named(study, effect.in_cell)})" if effect.in_cell else ""
    verb = "raises" if difference.mean > 0 else "lowers"
    return f"{level} instead of {reference}{where} {verb} it {_by(summary.primary, difference)}"


def _by(outcome: Outcome, difference: Estimate) -> str:
    """How large a difference is, whose sign the verb tells: ``by 2.76 points (95 % 1.43 to 4.09)``, ``to ×0.61 (95 % …)``."""
    if outcome.is_ratio:
        text, bounds = formatting.ratio(difference.mean), [formatting.ratio(bound) for bound in (difference.low, difference.high)]
        text = f"to {text}"
    else:
        sign = 1.0 if difference.mean >= 0 else -1.0
        bounds = [formatting.number(outcome, bound) for bound in sorted((sign * difference.low, sign * difference.high))]
        text = f"by {formatting.number(outcome, sign * difference.mean)}{formatting.difference_unit(outcome)}"
    return f"{text} (95 % {' to '.join(bounds)})" if math.isfinite(difference.low) else text


def _nothing_decided(outcome: Outcome, effects: Sequence[LevelEffect]) -> str:
    if not effects:
        return f"Nothing is compared yet: no two levels of a factor have {outcome.name} of the same seed."
    num = max(_of(effect).difference.num_values for effect in effects)
    needed = fewest_seeds(len(effects))
    if num < needed:
        return (
            f"{counted(num, 'seed')} cannot decide {counted(len(effects), 'comparison')} on {outcome.name}; "
            f"that takes at least {needed}."
        )
    return f"No effect on {outcome.name} is decided with {counted(num, 'seed')}."


def _sentences(summary: Summary, effects: Sequence[LevelEffect], leading: LevelEffect | None) -> Iterator[str]:
    others = [effect for effect in _decided(effects) if effect is not leading]
    if leading is not None:
        yield _sureness(leading, len(effects))
        yield from _cost(summary, leading)
        yield from _interacting(summary, leading.factor)
        if matters_most(summary.effects[summary.primary]) is None and any(effect.factor != leading.factor for effect in effects):
            yield "Whether another factor matters more is not decided."
    if others:
        named = [f"{_named(summary, effect)} ({_signed(summary.primary, effect)})" for effect in others]
        yield f"Decided as well for {summary.primary.name}: {first_of(named, MOST_NAMED)}."
    for verdict, begin in OPEN.items():
        named = [_named(summary, effect) for effect in effects if effect.verdict == verdict]
        if named:
            yield f"{begin}: {first_of(named, MOST_NAMED)}."
    if summary.primary == ACCURACY_OUTCOME:
        said = [text for factor in summary.study.factors for text in on_other_images(summary, factor, with_factor=True)]
        if said:
            yield f"But {first_of(said, MOST_ON_OTHER_IMAGES, '; ')}."


def _sureness(effect: LevelEffect, num_contrasts: int) -> str:
    contrast = _of(effect)
    num = contrast.difference.num_values
    seeds = counted(num, "seed")
    over = f", the smallest that {seeds} can give" if is_smallest(contrast.p, num) else f" over {seeds}"
    corrected = f", corrected for {counted(num_contrasts, 'comparison')} {formatting.p_value(contrast.corrected_p)}"
    return f"The sign-flip test has p = {formatting.p_value(contrast.p)}{over}{corrected if num_contrasts > 1 else ''}."


def _cost(summary: Summary, effect: LevelEffect) -> Iterator[str]:
    """What the same change does to the spikes and the operations."""
    spikes = [
        one.contrast
        for outcome, effects in summary.effects.items()
        for one in effects
        if outcome == SPIKES_OUTCOME and (one.factor, one.level) == (effect.factor, effect.level)
    ]
    operations = summary.spiking.operation_contrasts.get((effect.factor, effect.level))
    costs = {"spikes per neuron": spikes[0] if spikes else None, "synaptic operations": operations}
    said = [f"the {name} by {_times(contrast.difference)}" for name, contrast in costs.items() if contrast]
    if said:
        yield f"The same change multiplies {listed(said)}."


def _times(ratio: Estimate) -> str:
    """What the verb multiplies by: ``0.612 (95 % 0.580 to 0.645)``."""
    text, *bounds = (formatting.ratio(value).removeprefix("×") for value in (ratio.mean, ratio.low, ratio.high))
    return f"{text} (95 % {' to '.join(bounds)})" if math.isfinite(ratio.low) else text


def _interacting(summary: Summary, factor: str) -> Iterator[str]:
    table = summary.variances.get(summary.primary)
    lines = [line for line in (table.lines if table else ()) if line.corrected_p < SIGNIFICANCE and not line.aliases]
    pairs = [line.term for line in lines if len(line.term) == 2]
    with_it = [formatting.factor_name(summary.study, name) for pair in pairs if factor in pair for name in pair if name != factor]
    if with_it:
        yield f"How much depends on {listed(with_it)}, with which it interacts."


def _named(summary: Summary, effect: LevelEffect) -> str:
    study = summary.study
    return f"{formatting.factor_name(study, effect.factor)} {formatting.level_name(study, effect.factor, effect.level)}"


def _signed(outcome: Outcome, effect: LevelEffect) -> str:
    return f"{formatting.contrast_number(outcome, _of(effect).difference.mean)}{formatting.difference_unit(outcome)}"
