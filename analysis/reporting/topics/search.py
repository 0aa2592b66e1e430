"""Importance and partial dependence as tables, for all outputs."""

from rich.table import Table
from rich.text import Text

from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Line, Section
from analysis.reporting.topics.search_sentences import error_in_words, share_in_words
from analysis.statistics.search.importance import Importance, Share
from analysis.statistics.search.partial_dependence import Dependence, Surrogate
from analysis.statistics.summary import Summary


def search_sections(summary: Summary) -> list[Section]:
    """Importance of every factor for every objective, then where the partial dependence is highest and lowest; or none."""
    sections = [_importance_section(summary), _dependence_section(summary)]
    return [section for section in sections if section.lines]


def _importance_section(summary: Summary) -> Section:
    columns = [
        Column("objective", is_text=True),
        Column("factor", is_text=True),
        Column("fANOVA (%)"),
        Column("by chance"),
        Column("PED-ANOVA (%)"),
        Column("by chance"),
        Column("configurations"),
    ]
    lines = []
    for outcome, importances in (summary.exploration.importances if summary.exploration else {}).items():
        judged = [one for one in importances if one.fanova]
        for place, one in enumerate(by_importance(judged)):
            chances = _chance_in_words(one.fanova), _chance_in_words(one.ped_anova)
            shares = share_in_words(one.fanova), chances[0], share_in_words(one.ped_anova), chances[1]
            lines.append(Line([outcome.name, one.factor, *shares, str(one.num_configurations)], "first" if not place else ""))
    return Section("Importance of the factors", _importance_caption(summary), columns, lines)


def by_importance(importances: list[Importance]) -> list[Importance]:
    """The largest share by fANOVA first."""
    return sorted(importances, key=lambda one: -(one.fanova.value if one.fanova else 0.0))


def _importance_caption(summary: Summary) -> str:
    kind = "Associations, not effects. " if summary.study.design == "adaptive_search" else ""
    return (
        f"{kind}Shares of an objective's variance (fANOVA), and of being among its best tenth (PED-ANOVA), ± standard error; "
        f"beside each what a factor gets by chance.{_forests_in_words(summary)}"
    )


def _forests_in_words(summary: Summary) -> str:
    """How well the forest behind fANOVA predicts: what it cannot predict it cannot share out."""
    found = summary.exploration
    forests = [
        f"{outcome.name} {score.r_squared:.2f}"
        for outcome in (found.importances if found else {})
        for score in (found.surrogates[outcome].scores if found else ())
        if score.kind == "random forest"
    ]
    return f" The forest's cross-validated R²: {', '.join(forests)}." if forests else ""


def _chance_in_words(share: Share | None) -> str:
    return formatting.NONE if share is None else f"{100 * share.by_chance:.0f}"


def _dependence_section(summary: Summary) -> Section:
    columns = [Column("outcome", is_text=True), Column("factor", is_text=True)]
    columns += [Column("highest at", is_text=True), Column("predicted (95 %)"), Column("lowest at", is_text=True)]
    columns += [Column("predicted (95 %)")]
    lines, errors = [], []
    for learnt in summary.exploration.surrogates.values() if summary.exploration else ():
        if learnt.dependences:
            errors.append(f"{learnt.outcome.name}: {error_in_words(learnt)}.")
        for place, dependence in enumerate(learnt.dependences):
            cells = [
                *_at(learnt, dependence, int(dependence.mean.argmax())),
                *_at(learnt, dependence, int(dependence.mean.argmin())),
            ]
            lines.append(Line([learnt.outcome.name, dependence.axis.factor, *cells], "first" if not place else ""))
    caption = f"What a surrogate predicts on average over the other factors, at the best and the worst level. {' '.join(errors)}"
    return Section("Partial dependence", caption, columns, lines)


def _at(learnt: Surrogate, dependence: Dependence, place: int) -> list[str]:
    values = (float(bound[place]) for bound in (dependence.mean, dependence.low, dependence.high))
    mean, low, high = (formatting.number(learnt.outcome, value) for value in values)
    return [formatting.tuned_value(dependence.levels[place]), f"{mean}{formatting.unit(learnt.outcome)} ({low} to {high})"]


def search_terminal_tables(summary: Summary) -> list[Table]:
    """Every factor's share of every objective by fANOVA and PED-ANOVA, for 80 columns; none where there is nothing to say."""
    found = summary.exploration
    lines = [
        (outcome, one)
        for outcome, importances in (found.importances.items() if found else ())
        for one in by_importance([one for one in importances if one.fanova])
    ]
    if not lines:
        return []
    is_adaptive = summary.study.design == "adaptive_search"
    heading = "Associations in an adaptive sample, which are not effects:" if is_adaptive else None
    table = Table(title=heading, title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("Goes with", overflow="fold")
    table.add_column("factor", overflow="fold")
    for name in ("fANOVA %", "by chance", "PED-ANOVA %", "by chance"):
        table.add_column(name, justify="right", width=max(map(len, name.split())))
    for outcome, one in lines:
        fanova = share_in_words(one.fanova), _chance_in_words(one.fanova)
        cells = (outcome.name, one.factor, *fanova, share_in_words(one.ped_anova), _chance_in_words(one.ped_anova))
        table.add_row(*map(Text, cells))
    return [table]
