"""Rankings in words: the best cells of a random design, the finalists and the Pareto front of a search."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.table import Table
from rich.text import Text

from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Line, Section, estimate_column, title
from analysis.reporting.topics.effects import TEST_OUTCOME
from analysis.statistics.data.outcomes import Outcome, objectives_of, outcomes_of
from analysis.statistics.search.rankings import Configuration, Ranking
from analysis.statistics.summary import Summary
from studies.run_record import PRUNED

NUM_BEST = 10
NUM_ON_FRONT = 30
SURE = 0.5
CONFIGURATIONS = {"cell": "cells", "search": "searched configurations", "finalist": "finalists"}
REPLICATES = {"cell": "replicates", "search": "trials of the search", "finalist": "replicates of finalists"}


def shown(ranking: Ranking) -> Sequence[Configuration]:
    """Those that a table shows: every finalist, else the best."""
    return ranking.configurations if ranking.kind == "finalist" else ranking.configurations[:NUM_BEST]


def ranking_sections(summary: Summary) -> list[Section]:
    """The first ranking, then with several objectives the Pareto front of what was tried."""
    sections = [
        _section(summary, ranking, _title(ranking), _caption(summary, ranking), shown(ranking))
        for ranking in summary.rankings[:1]
    ]
    fronts = [ranking for ranking in summary.rankings if ranking.kind != "finalist" and ranking.front and _has_front(summary)]
    return sections + [_front_section(summary, ranking) for ranking in fronts]


def _front_section(summary: Summary, ranking: Ranking) -> Section:
    section = _section(summary, ranking, "Pareto front", _front_caption(summary, ranking), ranking.front[:NUM_ON_FRONT])
    probabilities = [_probability(configuration) for configuration in ranking.front]
    lines = [Line([*line.cells, probability]) for line, probability in zip(section.lines, probabilities, strict=False)]
    return replace(section, columns=[*section.columns, Column("on it (probability)")], lines=lines)


def _probability(configuration: Configuration) -> str:
    """How surely a configuration is on the front; a dash where nothing is known of it."""
    probability = configuration.front_probability
    return formatting.NONE if math.isnan(probability) else f"{100 * probability:.0f} %"


def _has_front(summary: Summary) -> bool:
    return len(objectives_of(summary.study)) > 1


def _section(summary: Summary, ranking: Ranking, heading: str, caption: str, configurations: Sequence[Configuration]) -> Section:
    lines = [Line(_cells(summary, ranking, configuration)) for configuration in configurations]
    return Section(heading, caption, _columns(summary, ranking), lines)


def _title(ranking: Ranking) -> str:
    return {"cell": "Best cells", "search": "Best of the search", "finalist": "Finalists"}[ranking.kind]


def _caption(summary: Summary, ranking: Ranking) -> str:
    primary, num = summary.primary.name, len(ranking.configurations)
    if ranking.kind == "finalist":
        seeds = formatting.named_seeds({run.seed for run in summary.asked if run.role == "finalist"})
        return (
            f"What the search chose, trained again with {seeds} that are fresh, not those that selected it; ranked by "
            f"the mean of {primary}. “Selected on” is what the search saw."
        )
    return (
        f"The best {min(NUM_BEST, num)} of {num} configurations by the mean of {primary} over their seeds. They are ranked on "
        "the value that is shown, which flatters the first ones."
    )


def _front_caption(summary: Summary, ranking: Ranking) -> str:
    names = ", ".join(f"{objective.name} ({objective.direction})" for objective in objectives_of(summary.study))
    num = len(ranking.front)
    most = f" The first {NUM_ON_FRONT} of {num}." if num > NUM_ON_FRONT else ""
    how = {
        "seeds": "The probability is over resampled seeds.",
        "noise of the finalists": "The probability is over the noise between replicates that the finalists show.",
        "": "One seed each does not tell how surely.",
    }[ranking.front_basis]
    what = CONFIGURATIONS[ranking.kind].capitalize()
    limits = " and that keep the limits" if summary.study.options.get("limits") else ""
    return f"{what} that no other beats, by being as good in all of {names} and better in one{limits}. {how}{most}"


def _columns(summary: Summary, ranking: Ranking) -> list[Column]:
    is_finalist = ranking.kind == "finalist"
    return [
        Column("rank"),
        *(Column(factor, is_text=True) for factor in summary.study.factors),
        Column("seeds"),
        *(estimate_column(outcome) for outcome in outcomes_of(summary.study)),
        *([Column(f"selected on{formatting.unit(summary.primary)}")] if is_finalist else []),
        estimate_column(TEST_OUTCOME),
        *([Column("Pareto front (probability)", is_text=True)] if is_finalist and _has_front(summary) else []),
    ]


def _cells(summary: Summary, ranking: Ranking, configuration: Configuration) -> list[str]:
    study, primary, is_finalist = summary.study, summary.primary, ranking.kind == "finalist"
    front = [f"{'on it' if configuration.on_front else 'not on it'}, {_probability(configuration)}"]
    return [
        str(configuration.rank or formatting.NONE),
        *(formatting.level_of(study, factor, configuration.levels) for factor in study.factors),
        formatting.seeds(configuration.num_finished(primary), configuration.num_planned),
        *(formatting.value(outcome, configuration.estimates.get(outcome)) for outcome in outcomes_of(study)),
        *([_selected_on(primary, configuration)] if is_finalist else []),
        formatting.value(TEST_OUTCOME, configuration.test_estimate),
        *(front if is_finalist and _has_front(summary) else []),
    ]


def _selected_on(primary: Outcome, configuration: Configuration) -> str:
    value = configuration.selected_on.get(primary)
    return formatting.NONE if value is None else formatting.number(primary, value)


def ranking_sentences(summary: Summary) -> Iterator[str]:
    """The best configuration, how many replicates of each kind came to what, how large the fronts are."""
    for ranking in summary.rankings[:1]:
        for configuration in (found for found in ranking.configurations if found.rank == 1):
            yield _best_in_words(summary, ranking, configuration)
    for ranking in summary.rankings:
        yield _counts_in_words(summary, ranking)
        if ranking.kind == "cell":
            yield "No level is contrasted with another: drawn at random, they meet the other factors' levels in unequal shares."
    if fronts := [ranking for ranking in summary.rankings if ranking.front and _has_front(summary)]:
        names = ", ".join(objective.name for objective in objectives_of(summary.study))
        yield f"On the Pareto front of {names}: {' and '.join(_front_in_words(ranking) for ranking in fronts)}."


def _front_in_words(ranking: Ranking) -> str:
    """How many are on the front of their kind, and how many of them rather surely."""
    num_sure = sum(configuration.front_probability >= SURE for configuration in ranking.front)
    sure = (
        f" ({num_sure} with a probability of {100 * SURE:.0f} % or more)"
        if ranking.front_basis
        else " (how surely, one seed does not tell)"
    )
    return f"{len(ranking.front)} of {len(ranking.configurations)} {CONFIGURATIONS[ranking.kind]}{sure}"


def _counts_in_words(summary: Summary, ranking: Ranking) -> str:
    states = [run.status for run in summary.asked if run.role == ranking.kind]
    counts = {"complete": states.count("FINISHED"), "pruned": states.count(PRUNED), "failed": states.count("FAILED")}
    counts["not finished"] = len(states) - sum(counts.values())
    parts = [f"{count} {state}" for state, count in counts.items() if count or state == "complete"]
    return f"{len(states)} {REPLICATES[ranking.kind]}, {len(ranking.configurations)} configurations: {', '.join(parts)}."


def _best_in_words(summary: Summary, ranking: Ranking, configuration: Configuration) -> str:
    primary = summary.primary
    fresh = "fresh " if ranking.kind == "finalist" else ""
    num = configuration.num_finished(primary)
    value = f"{formatting.value(primary, configuration.estimates[primary])}{formatting.unit(primary)}"
    selected = f"; selected on {_selected_on(primary, configuration)}" if configuration.selected_on else ""
    levels = formatting.configuration_in_words(summary.study, configuration.levels)
    return f"best by {primary.name}: {levels}: {value} over {num} {fresh}seed{'s' if num != 1 else ''}{selected}."


def ranking_terminal_tables(summary: Summary) -> list[Table]:
    """The first ranking, for 80 columns: the primary outcome with its interval, the mean of the next."""
    return [_terminal_table(summary, ranking) for ranking in summary.rankings[:1]]


def _terminal_table(summary: Summary, ranking: Ranking) -> Table:
    primary, *others = outcomes_of(summary.study)
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("", justify="right", no_wrap=True)
    table.add_column(_title(ranking), overflow="fold")
    table.add_column("seeds", justify="right", no_wrap=True)
    table.add_column(f"{title(primary)}{formatting.unit(primary)}", justify="right", min_width=len("96.12 (95.40 to 96.84)"))
    if ranking.kind == "finalist":
        table.add_column("selected on", justify="right", width=len("selected"))
    table.add_column(
        f"{others[0].name}{formatting.unit(others[0])}", justify="right", width=max(map(len, others[0].name.split()))
    )
    for configuration in shown(ranking):
        selected = [_selected_on(primary, configuration)] if ranking.kind == "finalist" else []
        other = configuration.estimates.get(others[0])
        row = [
            str(configuration.rank or formatting.NONE),
            formatting.configuration_in_words(summary.study, configuration.levels),
            formatting.seeds(configuration.num_finished(primary), configuration.num_planned),
            formatting.value(primary, configuration.estimates.get(primary)),
            *selected,
            formatting.number(others[0], other.mean) if other else formatting.NONE,
        ]
        table.add_row(*map(Text, row))
    return table
