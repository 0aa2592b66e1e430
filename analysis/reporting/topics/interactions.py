"""Interactions: the analysis of variance of every outcome of a factorial design in a table, and a verdict on it."""

from collections.abc import Iterator, Sequence

from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Row, Table
from analysis.statistics.data.effect_coding import Term
from analysis.statistics.data.outcomes import Outcome
from analysis.statistics.effects.contrasts import SIGNIFICANCE
from analysis.statistics.effects.interactions import VarianceLine, VarianceTable
from analysis.statistics.effects.simple_effects import simple_effects
from analysis.statistics.effects.variance_shares import VarianceShare
from analysis.statistics.summary import Summary

COLUMNS = ("degrees of freedom", "sum of squares", "F", "p", "corrected p", "partial ω² (95 %)")
REST = "three or more factors"


def interaction_tables(summary: Summary) -> list[Table]:
    """An analysis of variance for every outcome that has one, and a table of simple effects where two factors interact."""
    tables = [_table(outcome, table) for outcome, table in summary.variances.items()]
    return tables + [
        _interacting(summary, outcome, pairs) for outcome in summary.variances if (pairs := _pairs(summary, outcome))
    ]


def _pairs(summary: Summary, outcome: Outcome) -> list[Term]:
    """Those that are decided, and that no alias leaves open."""
    lines = summary.variances[outcome].lines
    return [line.term for line in lines if len(line.term) == 2 and _is_decided(line) and not line.aliases]


def _interacting(summary: Summary, outcome: Outcome, pairs: Sequence[Term]) -> Table:
    columns = [Column(name, is_text=True) for name in ("effect of", "where", "has the level")]
    columns += [Column("seeds"), Column(f"difference{', points' if outcome.is_fraction else ''} (95 %)")]
    rows = []
    for pair in pairs:
        for place, effect in enumerate(simple_effects(summary.study, summary.runs, pair, outcome.metric)):
            found = effect.difference
            shown = formatting.difference(outcome, found) if found else formatting.NONE
            factor, beside = (formatting.factor_name(summary.study, name) for name in (effect.factor, effect.beside))
            level = formatting.level_name(summary.study, effect.factor, effect.level)
            beside_level = formatting.level_name(summary.study, effect.beside, effect.beside_level)
            cells = [f"{factor} = {level}", beside, beside_level]
            rows.append(Row([*cells, str(found.num_values if found else 0), shown], "" if place else "first"))
    caption = (
        "Simple effects of the pairs that interact: the paired difference from the first factor's baseline level at every level "
        "of the second, the mean over all other factors. The intervals are not corrected for their number."
    )
    return Table(f"How factors interact: {outcome.name}", caption, columns, rows, is_detail=True)


def _table(outcome: Outcome, table: VarianceTable) -> Table:
    is_aliased = any(line.aliases for line in table.lines)
    aliased = [Column("aliases", is_text=True)] if is_aliased else []
    columns = [Column("term", is_text=True), *aliased, *map(Column, COLUMNS), Column("verdict", is_text=True)]
    rows = [Row(_cells(line, is_aliased=is_aliased), "" if _is_decided(line) else "undecided") for line in table.lines]
    residual = ["residual (cells × seeds)", *([""] if is_aliased else []), str(table.residual_df)]
    residual += [
        formatting.plain_number(table.residual_mean_square * table.residual_df),
        *[""] * (len(columns) - len(residual) - 1),
    ]
    return Table(f"Analysis of variance: {outcome.name}", _caption(table), columns, [*rows, Row(residual)], is_detail=True)


def _caption(table: VarianceTable) -> str:
    said = [
        "Which factors matter, and which pairs interact: the effect of one depends on the level of the other. These F tests "
        "assume normal noise of equal size in all cells; the verdicts on single levels above do not."
    ]
    if any(line.aliases for line in table.lines):
        said.append("The fraction gives one estimate for the terms of one row: that of their sum.")
    if partial := [_name(line.term) for line in table.lines if line.term and line.df < line.full_df]:
        said.append(f"Estimated only in part, because cells are missing or other terms share it: {', '.join(partial)}.")
    if table.not_estimable:
        said.append(f"The cells give no estimate of {', '.join(map(_name, table.not_estimable))}.")
    if not table.has_interactions:
        said.append("The factors have too many levels for a model with interactions, so the table has none.")
    return " ".join(said)


def _cells(line: VarianceLine, *, is_aliased: bool) -> list[str]:
    return [
        _name(line.term),
        *([", ".join(map(_name, line.aliases)) or formatting.NONE] if is_aliased else []),
        str(line.df),
        formatting.plain_number(line.sum_of_squares),
        formatting.plain_number(line.f),
        formatting.p_value(line.p),
        formatting.p_value(line.corrected_p),
        _share(line.share),
        "there is an effect" if _is_decided(line) else "undecided",
    ]


def _name(term: Term) -> str:
    return " × ".join(term) or REST


def _is_decided(line: VarianceLine) -> bool:
    return line.corrected_p < SIGNIFICANCE


def _share(share: VarianceShare) -> str:
    return f"{max(0.0, share.value):.2f} ({share.low:.2f} to {share.high:.2f})"


def interaction_verdicts(summary: Summary) -> Iterator[str]:
    """A sentence for every outcome: which pairs of factors interact, as far as the design and the data tell."""
    for outcome, table in summary.variances.items():
        pairs = [line for line in table.lines if len(line.term) == 2]
        hidden = [term for line in table.lines if len(line.term) == 1 for term in line.aliases if len(term) == 2]
        said = [_pairs_in_words(pairs)] if pairs else []
        said += [f"not told apart from a factor's own effect: {', '.join(map(_name, hidden))}"] if hidden else []
        if said:
            yield f"{outcome.name}: {'; '.join(said)}."


def _pairs_in_words(pairs: Sequence[VarianceLine]) -> str:
    decided = [line for line in pairs if _is_decided(line)]
    others = len(pairs) - len(decided)
    if not decided:
        return f"none of the {others} tested interactions of two factors is decided"
    found = ", ".join(f"{_with_aliases(line)} (partial ω² {_share(line.share)})" for line in decided)
    rest = f"; {others} other pair{'s are' if others > 1 else ' is'} undecided" if others else ""
    return f"factors that interact, so that the effect of one depends on the other: {found}{rest}"


def _with_aliases(line: VarianceLine) -> str:
    return " or ".join(map(_name, (line.term, *line.aliases)))
