"""Rankings in tables and verdicts: the best cells of a random design, the finalists and the Pareto front of a search."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Row, Table, estimate_column, mean_column
from analysis.statistics.data.outcomes import TEST_OUTCOME, Outcome, has_several_objectives, named, objectives_of, outcomes_of
from analysis.statistics.search.rankings import Configuration, Ranking
from analysis.statistics.summary import Summary
from analysis.words import counted
from studies.run_record import PRUNED

NUM_BEST = 10
NUM_ON_FRONT = 30
SURE = 0.5
HEADINGS = {"cell": "Best cells", "search": "Best of the search", "finalist": "Finalists"}
CONFIGURATIONS = {"cell": "cells", "search": "searched configurations", "finalist": "finalists"}
REPLICATES = {"cell": "replicates", "search": "trials of the search", "finalist": "replicates of finalists"}


def shown(ranking: Ranking) -> Sequence[Configuration]:
    """The configurations that a table shows: every finalist, else the ten best."""
    return ranking.configurations if ranking.kind == "finalist" else ranking.configurations[:NUM_BEST]


def ranking_tables(summary: Summary) -> list[Table]:
    """The first ranking, then with several objectives the Pareto front of what was tried."""
    tables = [
        _table(summary, ranking, HEADINGS[ranking.kind], _caption(summary, ranking), shown(ranking))
        for ranking in summary.rankings[:1]
    ]
    fronts = [
        ranking
        for ranking in summary.rankings
        if ranking.kind != "finalist" and ranking.front and has_several_objectives(summary.study)
    ]
    return tables + [_front_table(summary, ranking) for ranking in fronts]


def _front_table(summary: Summary, ranking: Ranking) -> Table:
    table = _table(summary, ranking, "Pareto front", _front_caption(summary, ranking), ranking.front[:NUM_ON_FRONT])
    shares = [formatting.share_in_words(configuration.front_probability) for configuration in ranking.front]
    rows = [Row([*row.cells, share]) for row, share in zip(table.rows, shares, strict=False)]
    return replace(table, columns=[*table.columns, Column("on it in")], rows=rows, is_detail=True)


def _table(summary: Summary, ranking: Ranking, title: str, caption: str, configurations: Sequence[Configuration]) -> Table:
    rows = [Row(_cells(summary, ranking, configuration)) for configuration in configurations]
    return Table(title, caption, _columns(summary, ranking), rows)


def _caption(summary: Summary, ranking: Ranking) -> str:
    primary, num = summary.primary.name, len(ranking.configurations)
    if ranking.kind == "finalist":
        seeds = formatting.named_seeds({run.seed for run in summary.asked if run.role == "finalist"})
        return (
            f"The configurations that the search chose, trained again with {seeds} that had no part in choosing them; ranked by "
            f"the mean of {primary}. Intervals do not allow for the choice of the first. “Selected on” is the value that the "
            "search saw."
        )
    return (
        f"The best {min(NUM_BEST, num)} of {num} configurations by the mean of {primary} over their seeds. They are ranked on "
        "the value that is shown, which makes the first ones look better than they are; the intervals do not allow for that."
    )


def _front_caption(summary: Summary, ranking: Ranking) -> str:
    names = ", ".join(f"{objective.name} ({objective.direction})" for objective in objectives_of(summary.study))
    num = len(ranking.front)
    most = f" The first {NUM_ON_FRONT} of {num}." if num > NUM_ON_FRONT else ""
    how = {
        "seeds": f"“On it in” is the share of the {draws_in_words(ranking)}.",
        "noise of the finalists": f"“On it in” is the share of {draws_in_words(ranking)} that the finalists show.",
        "": "One seed each does not say how certain that is.",
    }[ranking.front_basis]
    what = CONFIGURATIONS[ranking.kind].capitalize()
    limits = " and that keep the limits" if summary.study.options.get("limits") else ""
    return f"{what} that no other dominates, being at least as good in all of {names} and better in one{limits}. {how}{most}"


def _columns(summary: Summary, ranking: Ranking) -> list[Column]:
    is_finalist = ranking.kind == "finalist"
    primary, second, *others = outcomes_of(summary.study)
    return [
        Column("rank", short_title=""),
        *(Column(factor, is_text=True, only="wide") for factor in summary.study.factors),
        Column("configuration", is_text=True, only="narrow"),
        Column("seeds"),
        estimate_column(primary),
        *(estimate_column(outcome, only="wide") for outcome in (second, *others)),
        *([Column(f"selected on{formatting.unit(primary)}")] if is_finalist else []),
        mean_column(second),
        estimate_column(named(summary.study, TEST_OUTCOME), only="wide"),
        *(
            [Column("Pareto front (share of resamples)", is_text=True, only="wide")]
            if is_finalist and has_several_objectives(summary.study)
            else []
        ),
    ]


def _cells(summary: Summary, ranking: Ranking, configuration: Configuration) -> list[str]:
    study, primary, is_finalist = summary.study, summary.primary, ranking.kind == "finalist"
    _, second, *_ = outcomes_of(study)
    on_front = "on it" if configuration.on_front else "not on it"
    front = [f"{on_front}, {formatting.share_in_words(configuration.front_probability)}"]
    return [
        str(configuration.rank or formatting.NONE),
        *(formatting.level_of(study, factor, configuration.levels) for factor in study.factors),
        formatting.configuration_in_words(study, configuration.levels),
        formatting.seeds(configuration.num_finished(primary), configuration.num_planned),
        *(formatting.value(outcome, configuration.estimates.get(outcome)) for outcome in outcomes_of(study)),
        *([_selected_on(primary, configuration)] if is_finalist else []),
        formatting.mean(second, configuration.estimates.get(second)),
        formatting.value(TEST_OUTCOME, configuration.test_estimate),
        *(front if is_finalist and has_several_objectives(summary.study) else []),
    ]


def _selected_on(primary: Outcome, configuration: Configuration) -> str:
    value = configuration.selected_on.get(primary)
    return formatting.NONE if value is None else formatting.number(primary, value)


def ranking_verdicts(summary: Summary) -> Iterator[str]:
    """The best configuration where no seeds tell how sure that is, the number of replicates by state, the size of the fronts."""
    for ranking in summary.rankings[:1] if summary.stability is None else ():
        for configuration in (found for found in ranking.configurations if found.rank == 1):
            yield _best_in_words(summary, ranking, configuration)
    for ranking in summary.rankings:
        yield _counts_in_words(summary, ranking)
        if ranking.kind == "cell":
            yield "No level is compared with another: drawn at random, they meet the other factors' levels in unequal shares."
    if fronts := [ranking for ranking in summary.rankings if ranking.front and has_several_objectives(summary.study)]:
        names = ", ".join(objective.name for objective in objectives_of(summary.study))
        yield f"On the Pareto front of {names}: {' and '.join(_front_in_words(ranking) for ranking in fronts)}."


def _front_in_words(ranking: Ranking) -> str:
    """How many are on the front of their kind, and how many of them in at least half of the resamples."""
    num_sure = sum(configuration.front_probability >= SURE for configuration in ranking.front)
    sure = (
        f" ({num_sure} in at least half of the {draws_in_words(ranking)})"
        if ranking.front_basis
        else " (one seed does not say how certain that is)"
    )
    return f"{len(ranking.front)} of {len(ranking.configurations)} {CONFIGURATIONS[ranking.kind]}{sure}"


def draws_in_words(ranking: Ranking) -> str:
    """What was drawn to see how often each is on the front."""
    return "resamples of the seeds" if ranking.front_basis == "seeds" else "draws of the noise between replicates"


def _counts_in_words(summary: Summary, ranking: Ranking) -> str:
    states = [run.status for run in summary.asked if run.role == ranking.kind]
    counts = {"complete": states.count("FINISHED"), "pruned": states.count(PRUNED), "failed": states.count("FAILED")}
    counts["not finished"] = len(states) - sum(counts.values())
    parts = [f"{count} {state}" for state, count in counts.items() if count or state == "complete"]
    return f"{len(states)} {REPLICATES[ranking.kind]}, {len(ranking.configurations)} configurations: {', '.join(parts)}."


def _best_in_words(summary: Summary, ranking: Ranking, configuration: Configuration) -> str:
    primary = summary.primary
    extreme = "highest" if primary.direction == "maximize" else "lowest"
    num = configuration.num_finished(primary)
    value = f"{formatting.mean(primary, configuration.estimates[primary])}{formatting.unit(primary)}"
    fresh = "fresh " if ranking.kind == "finalist" else ""
    searched = f"; by the search on {_selected_on(primary, configuration)}" if configuration.selected_on else ""
    levels = formatting.configuration_in_words(summary.study, configuration.levels)
    return f"{extreme} {primary.name}: {levels}: {value} over {counted(num, f'{fresh}seed')}, selected on this value{searched}."
