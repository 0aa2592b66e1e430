"""The effects of the factors: a table for every outcome, and a verdict on every factor."""

import math
from collections.abc import Iterator, Sequence
from functools import partial

from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Row, Table, estimate_column, heading
from analysis.reporting.topics.claims.families import family_in_words
from analysis.reporting.topics.claims.other_images import on_other_images
from analysis.statistics.data.effect_coding import Term
from analysis.statistics.data.estimates import Estimate
from analysis.statistics.data.level_cells import FACTORIAL
from analysis.statistics.data.outcomes import ACCURACY_OUTCOME, SPARSITY_OUTCOME, SPIKES_OUTCOME, TEST_OUTCOME, Outcome, named
from analysis.statistics.effects.interactions import aliases_of
from analysis.statistics.effects.level_effects import LevelEffect
from analysis.statistics.effects.verdicts import MOST_SEEDS, direction_of_more, largest_effect, num_more_seeds
from analysis.statistics.summary import Summary
from analysis.words import counted
from studies.run_record import StudyRecord

DIGITS_OF_ROUNDING = 9
"""Beyond these only rounding is left, which must not be rounded up."""


def verdict_class(verdict: str, outcome: Outcome) -> str:
    """The CSS class of a verdict: ``better`` or ``worse`` for higher and lower, by the outcome's direction, else its words."""
    if verdict in ("higher", "lower"):
        return "better" if (verdict == "higher") == (outcome.direction == "maximize") else "worse"
    return verdict.replace(" ", "-")


def effect_tables(summary: Summary) -> list[Table]:
    """A table of all levels for every outcome."""
    is_factorial = summary.study.design in FACTORIAL
    return [
        Table(
            heading(outcome),
            _caption(summary, outcome, effects),
            _columns(summary.study, outcome, is_factorial=is_factorial),
            _rows(summary.study, outcome, effects, is_factorial=is_factorial),
        )
        for outcome, effects in summary.effects.items()
    ]


def _caption(summary: Summary, outcome: Outcome, effects: Sequence[LevelEffect]) -> str:
    table = summary.variances.get(outcome)
    aliases = {factor: aliases_of(table, factor) for factor in summary.study.factors}
    name = partial(formatting.term_name, summary.study)
    shared = [f"{name([factor])} from {', '.join(map(name, terms))}" for factor, terms in aliases.items() if terms]
    fraction = f" The fraction cannot separate {'; '.join(shared)}." if shared else ""
    compared = _what_is_compared(summary, effects) + formatting.smallest_p_in_words(effects)
    return f"{family_in_words(summary, outcome)} {compared}{fraction}"


def _what_is_compared(summary: Summary, effects: Sequence[LevelEffect]) -> str:
    return f"{_differences_of(summary, effects)} {_intervals_in_words(effects)}{_collapse_in_words(effects)}"


def _collapse_in_words(effects: Sequence[LevelEffect]) -> str:
    """Why means have no intervals: those of seeds that did not collapse say nothing of how often seeds do."""
    if not any(effect.num_collapsed for effect in effects):
        return ""
    return " Some replicates collapse. So means have no intervals: where none has collapsed yet, another seed may."


def _intervals_in_words(effects: Sequence[LevelEffect]) -> str:
    """Where the intervals of the differences come from, and how many have none."""
    lacking = [effect for effect in effects if effect.contrast and not effect.contrast.has_interval]
    if lacking and len(lacking) == sum(effect.contrast is not None for effect in effects):
        return "There are too few seeds for an interval of any difference."
    said = "The interval of a difference is what its corrected test does not reject, so it holds 0 where nothing is decided."
    return said + (" A difference without one has too few seeds." if lacking else "")


def _differences_of(summary: Summary, effects: Sequence[LevelEffect]) -> str:
    if any(effect.is_adjusted for effect in effects):
        return (
            "Every level's mean over the levels of the other factors, adjusted by a linear model of main effects because cells "
            "or replicates are missing; differences from the baseline level's mean, paired by seed."
        )
    if summary.study.design in FACTORIAL:
        return "Every level's mean over all cells that have it; differences from the baseline level's mean, paired by seed."
    elsewhere = " (or in the cell that is named, where a factor is only active there)" if any(e.in_cell for e in effects) else ""
    return (
        f"Simple effects: every level with the other factors at their baseline{elsewhere}; differences paired by seed. The "
        "design does not measure interactions, so the effects may differ at other levels of the other factors."
    )


def _columns(study: StudyRecord, outcome: Outcome, *, is_factorial: bool) -> list[Column]:
    difference = "ratio" if outcome.is_ratio else f"difference{', points' if outcome.is_fraction else ''}"
    return [
        Column("factor", is_text=True, only="wide"),
        Column("level", is_text=True),
        *([Column("cells", only="wide")] if is_factorial else []),
        Column("seeds"),
        Column(f"mean{formatting.unit(outcome)}", only="narrow"),
        estimate_column(outcome, only="wide"),
        *([estimate_column(named(study, TEST_OUTCOME), only="wide")] if outcome.metric == ACCURACY_OUTCOME.metric else []),
        Column(f"{difference} (95 %)"),
        Column("Hedges' g", only="wide"),
        Column("p", only="wide"),
        Column("corrected p", short_title="Holm p"),
        Column("verdict", is_text=True),
    ]


def _rows(study: StudyRecord, outcome: Outcome, effects: Sequence[LevelEffect], *, is_factorial: bool) -> list[Row]:
    rows, last_factor = [], ""
    for effect in effects:
        first = " first" if effect.factor != last_factor else ""
        cells = _cells(study, effect, outcome, is_factorial=is_factorial)
        rows.append(Row(cells, verdict_class(effect.verdict, outcome) + first, group=factor_and_cell(study, effect)))
        last_factor = effect.factor
    return rows


def _cells(study: StudyRecord, effect: LevelEffect, outcome: Outcome, *, is_factorial: bool) -> list[str]:
    contrast = effect.contrast
    compared = [formatting.NONE] * 4
    if contrast:
        p_values = [formatting.p_value(contrast.p), formatting.p_value(contrast.corrected_p)]
        compared = [formatting.contrast(outcome, contrast.difference), _effect_size(contrast.effect_size), *p_values]
    return [
        factor_and_cell(study, effect),
        _level(study, effect),
        *([str(effect.num_cells)] if is_factorial else []),
        formatting.seeds(effect.num_finished, effect.num_planned),
        formatting.mean(outcome, effect.estimate),
        formatting.value(outcome, effect.estimate),
        *([formatting.value(TEST_OUTCOME, effect.test_estimate)] if outcome.metric == ACCURACY_OUTCOME.metric else []),
        *compared,
        formatting.verdict_in_words(effect.verdict),
    ]


def _effect_size(size: float) -> str:
    return f"{size:+.2f}" if math.isfinite(size) else formatting.NONE


def factor_and_cell(study: StudyRecord, effect: LevelEffect) -> str:
    """The factor of an effect, and the cell in which its levels are compared where that is not the baseline."""
    return formatting.factor_in_cell(study, effect.factor, effect.in_cell)


def effect_verdicts(summary: Summary, *, are_confirmatory: bool | None = None) -> Iterator[str]:
    """What is higher or lower and by how much, what has no large effect, what is undecided: a sentence a factor and outcome.

    Sparsity has none where spikes were counted: its points say little about their number. ``are_confirmatory``: those of the
    primary outcome alone, or of all others; all of them where it is None.
    """
    asked = (True, False) if are_confirmatory is None else (are_confirmatory,)
    outcomes = {outcome: found for outcome, found in summary.effects.items() if (outcome == summary.primary) in asked}
    if SPIKES_OUTCOME in summary.effects and summary.primary != SPARSITY_OUTCOME:
        outcomes.pop(SPARSITY_OUTCOME, None)
    for factor in summary.study.factors:
        for outcome, effects in outcomes.items():
            aliases = aliases_of(summary.variances.get(outcome), factor)
            others = on_other_images(summary, factor) if outcome.metric == ACCURACY_OUTCOME.metric else []
            yield _verdict(summary.study, outcome, [effect for effect in effects if effect.factor == factor], aliases, others)


def _verdict(
    study: StudyRecord, outcome: Outcome, effects: Sequence[LevelEffect], aliases: Sequence[Term], others: Sequence[str]
) -> str:
    parts = [
        *_decided(study, outcome, effects),
        *_small(study, outcome, effects),
        *_without(study, effects, "equal", "equal in every seed at"),
        *_undecided(study, outcome, effects),
        *_without(study, effects, "no data", "no data at"),
        *_without(study, effects, "not in the design", "not in the design:"),
        *_collapsed(study, outcome, effects),
        *others,
    ]
    baseline = [f"baseline {_level(study, effect)}" for effect in effects if effect.is_baseline]
    where = [f"in the cell {formatting.levels_named(study, effects[0].in_cell)}"] if effects and effects[0].in_cell else []
    shared = [f"together with {', '.join(formatting.term_name(study, term) for term in aliases)}"] if aliases else []
    context = f" ({', '.join([*baseline, *where, *shared])})" if baseline or where or shared else ""
    factor = formatting.factor_name(study, effects[0].factor) if effects else "no factor"
    return f"{outcome.name} by {factor}{context}: {'; '.join(parts) or 'nothing to compare'}."


def _decided(study: StudyRecord, outcome: Outcome, effects: Sequence[LevelEffect]) -> list[str]:
    decided = [effect for effect in effects if effect.verdict in ("higher", "lower")]
    slope = direction_of_more(effects, outcome)
    if slope is not None:
        found = [f"{_size(outcome, effect)} at {_level(study, effect)}{_interval(outcome, effect)}" for effect in decided]
        factor = formatting.factor_name(study, effects[0].factor)
        return [f"{'rises' if slope > 0 else 'falls'} with {factor} ({'; '.join(found)})"]
    return [
        f"{effect.verdict} at {_level(study, effect)} ({_size(outcome, effect)}{_interval(outcome, effect)})"
        for effect in decided
    ]


def _level(study: StudyRecord, effect: LevelEffect) -> str:
    return formatting.level_name(study, effect.factor, effect.level)


def _size(outcome: Outcome, effect: LevelEffect) -> str:
    return f"{formatting.contrast_number(outcome, _difference(effect).mean)}{formatting.difference_unit(outcome)}"


def _interval(outcome: Outcome, effect: LevelEffect) -> str:
    return f", 95 % {_bounds(outcome, _difference(effect))}"


def _bounds(outcome: Outcome, difference: Estimate) -> str:
    return " to ".join(formatting.contrast_number(outcome, bound) for bound in (difference.low, difference.high))


def _difference(effect: LevelEffect) -> Estimate:
    if effect.contrast is None:
        raise ValueError(f"only a contrast has a difference, but {effect.factor} = {effect.level} is none")
    return effect.contrast.difference


def _small(study: StudyRecord, outcome: Outcome, effects: Sequence[LevelEffect]) -> list[str]:
    small = [effect for effect in effects if effect.verdict == "small"]
    if not small:
        return []
    are_all = len(small) == sum(effect.is_contrast for effect in effects)
    where = "" if are_all else f" at {', '.join(_level(study, effect) for effect in small)}"
    return [f"no effect larger than {_largest_in_words(outcome, largest_effect(small))}{where}"]


def _largest_in_words(outcome: Outcome, bound: float) -> str:
    """Rounded up, so that what is claimed is true of the number that is shown."""
    if outcome.is_fraction or outcome.is_ratio:
        shown = f"{math.ceil(round(1e4 * bound, DIGITS_OF_ROUNDING)) / 100:.2f}"
        return f"{shown} %" if outcome.is_ratio else f"{shown} points"
    unit = 10.0 ** (math.floor(math.log10(bound)) - 2)
    return formatting.plain_number(math.ceil(round(bound / unit, DIGITS_OF_ROUNDING)) * unit)


def _undecided(study: StudyRecord, outcome: Outcome, effects: Sequence[LevelEffect]) -> list[str]:
    references = [effect for effect in effects if effect.is_baseline]
    found: list[str] = []
    for effect in (one for one in effects if one.verdict == "undecided"):
        difference, level = _difference(effect), _level(study, effect)
        if difference.num_values < 2:
            found.append(f"{level} ({_size(outcome, effect)} in one seed, which says nothing about other seeds)")
            continue
        shown = _size(outcome, effect)
        if math.isfinite(difference.low):
            shown = f"{_bounds(outcome, difference)}{formatting.difference_unit(outcome)}"
        more = _more_seeds(num_more_seeds(effect, references[0], outcome), is_first=not found)
        found.append(f"{level} ({shown}{more})")
    return [f"undecided at {', '.join(found)}"] if found else []


def _more_seeds(num: float, *, is_first: bool) -> str:
    if math.isnan(num):
        return ""
    if math.isinf(num):
        return f"; {MOST_SEEDS:,} seeds would not settle it" if is_first else f"; {MOST_SEEDS:,} would not"
    seeds = f"{int(num)} more seed{'s' if num > 1 else ''}"
    return f"; {seeds} would settle it if the true difference is the measured one" if is_first else f"; {seeds}"


def _collapsed(study: StudyRecord, outcome: Outcome, effects: Sequence[LevelEffect]) -> list[str]:
    """Which levels have replicates that collapse, and what the differences are without their seeds."""
    found = []
    for effect in effects:
        if num := effect.num_collapsed:
            of_all = counted(effect.num_values, "replicate")
            found.append(f"{num} of {of_all} collapse{'s' if num == 1 else ''} at {_level(study, effect)}")
    without = [
        f"{formatting.contrast_number(outcome, effect.without_collapsed.mean)}{formatting.difference_unit(outcome)} at "
        f"{_level(study, effect)}"
        for effect in effects
        if effect.without_collapsed
    ]
    if found and without:
        found.append(f"without the seeds of these the difference is {', '.join(without)}")
    return found


def _without(study: StudyRecord, effects: Sequence[LevelEffect], verdict: str, before: str) -> list[str]:
    found = [_level(study, effect) for effect in effects if effect.verdict == verdict]
    return [f"{before} {', '.join(found)}"] if found else []
