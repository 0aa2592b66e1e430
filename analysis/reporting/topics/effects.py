"""Effects in tables: one for every outcome, for files and for the terminal."""

import math
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Line, Section, estimate_column, title
from analysis.statistics.data.level_cells import FACTORIAL
from analysis.statistics.data.outcomes import ACCURACY_OUTCOME, Outcome
from analysis.statistics.effects.interactions import aliases_of
from analysis.statistics.effects.level_effects import LevelEffect
from analysis.statistics.summary import Summary
from studies.run_record import TEST_ACCURACY, level_in_words, levels_in_words

TEST_OUTCOME = Outcome(TEST_ACCURACY, "test accuracy")
STYLES = {"better": "green", "worse": "red", "undecided": "yellow", "no-data": "red", "baseline": "dim"}
"""Colours of a terminal, by the class that ``verdict_class`` gives."""
LEAST_WIDTH = 20
"""Of a terminal's first column, whose longer names wrap."""


def verdict_class(effect: LevelEffect, outcome: Outcome) -> str:
    """How a verdict looks: whether higher is better depends on the outcome."""
    if effect.verdict in ("higher", "lower"):
        return "better" if (effect.verdict == "higher") == (outcome.direction == "maximize") else "worse"
    return effect.verdict.replace(" ", "-")


def effect_sections(summary: Summary) -> list[Section]:
    """A section for every outcome."""
    is_factorial = summary.study.design in FACTORIAL
    return [
        Section(
            title(outcome),
            _caption(summary, outcome, effects),
            _columns(outcome, is_factorial=is_factorial),
            _lines(summary, outcome),
        )
        for outcome, effects in summary.effects.items()
    ]


def _caption(summary: Summary, outcome: Outcome, effects: Sequence[LevelEffect]) -> str:
    table = summary.variances.get(outcome)
    aliases = {factor: aliases_of(table, factor) for factor in summary.study.factors}
    shared = [f"{factor} from {', '.join(' × '.join(term) for term in terms)}" for factor, terms in aliases.items() if terms]
    return _what_is_compared(summary, effects) + (f" The fraction does not tell {'; '.join(shared)}." if shared else "")


def _what_is_compared(summary: Summary, effects: Sequence[LevelEffect]) -> str:
    if any(effect.is_adjusted for effect in effects):
        return (
            "Every level's mean over the levels of the other factors, adjusted by a linear model of main effects since cells or "
            "replicates are missing; differences from the baseline level's mean, paired by seed."
        )
    if summary.study.design in FACTORIAL:
        return "Every level's mean over all cells that have it; differences from the baseline level's mean, paired by seed."
    elsewhere = " (or in the cell that is named, where a factor is only active there)" if any(e.in_cell for e in effects) else ""
    return (
        f"Simple effects: every level with the other factors at their baseline{elsewhere}; differences paired by seed. The "
        "design does not tell whether they would be the same elsewhere: it has no interactions."
    )


def _columns(outcome: Outcome, *, is_factorial: bool) -> list[Column]:
    points = ", points" if outcome.is_fraction else ""
    return [
        Column("factor", is_text=True),
        Column("level", is_text=True),
        *([Column("cells")] if is_factorial else []),
        Column("seeds"),
        estimate_column(outcome),
        *([estimate_column(TEST_OUTCOME)] if outcome.metric == ACCURACY_OUTCOME.metric else []),
        Column(f"difference{points} (95 %)"),
        Column("Hedges' g"),
        Column("p"),
        Column("corrected p"),
        Column("verdict", is_text=True),
    ]


def _lines(summary: Summary, outcome: Outcome) -> list[Line]:
    lines, last_factor = [], ""
    for effect in summary.effects[outcome]:
        first = " first" if effect.factor != last_factor else ""
        cells = _cells(effect, outcome, is_factorial=summary.study.design in FACTORIAL)
        lines.append(Line(cells, verdict_class(effect, outcome) + first))
        last_factor = effect.factor
    return lines


def _cells(effect: LevelEffect, outcome: Outcome, *, is_factorial: bool) -> list[str]:
    contrast = effect.contrast
    compared = [formatting.NONE] * 4
    if contrast:
        p_values = [formatting.p_value(contrast.p), formatting.p_value(contrast.corrected_p)]
        compared = [formatting.difference(outcome, contrast.difference), _effect_size(contrast.effect_size), *p_values]
    return [
        _factor(effect),
        level_in_words(effect.level),
        *([str(effect.num_cells)] if is_factorial else []),
        formatting.seeds(effect.num_finished, effect.num_planned),
        formatting.value(outcome, effect.estimate),
        *([formatting.value(TEST_OUTCOME, effect.test_estimate)] if outcome.metric == ACCURACY_OUTCOME.metric else []),
        *compared,
        effect.verdict,
    ]


def _effect_size(size: float) -> str:
    return f"{size:+.2f}" if math.isfinite(size) else formatting.NONE


def _factor(effect: LevelEffect) -> str:
    """The factor, and where it is compared if that is not the baseline."""
    return f"{effect.factor}, in the cell {levels_in_words(effect.in_cell)}" if effect.in_cell else effect.factor


def effect_terminal_tables(summary: Summary) -> list[Table]:
    """A table for every outcome, for 80 columns."""
    return [_terminal_table(outcome, effects) for outcome, effects in summary.effects.items()]


def _terminal_table(outcome: Outcome, effects: Sequence[LevelEffect]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    percent = " (%)" if outcome.is_fraction else ""
    longest = max(len(text) for effect in effects for text in (effect.factor, f" {level_in_words(effect.level)}"))
    least = min(longest, LEAST_WIDTH)
    table.add_column(f"{title(outcome)}{percent}", overflow="fold", min_width=least)  # long names wrap, percentages never
    for name in ("seeds", "mean", "from baseline (95 %)", "Holm p"):
        table.add_column(name, justify="right", no_wrap=outcome.is_fraction or name != "from baseline (95 %)")
    table.add_column("", no_wrap=True)
    last_factor = ""
    for effect in effects:
        if effect.factor != last_factor:
            table.add_row(Text(_factor(effect), "bold"))
        last_factor = effect.factor
        verdict = Text(effect.verdict if effect.num_cells else "", STYLES.get(verdict_class(effect, outcome), "dim"))
        table.add_row(*_terminal_cells(effect, outcome), verdict)
    return table


def _terminal_cells(effect: LevelEffect, outcome: Outcome) -> list[Text]:
    mean = formatting.number(outcome, effect.estimate.mean) if effect.estimate else formatting.NONE
    contrast = effect.contrast
    compared = ["" if effect.num_cells else effect.verdict, ""]
    if contrast:
        compared = [formatting.difference(outcome, contrast.difference), formatting.p_value(contrast.corrected_p)]
    seeds = formatting.seeds(effect.num_finished, effect.num_planned)
    return [Text(cell) for cell in (f" {level_in_words(effect.level)}", seeds, mean, *compared)]
