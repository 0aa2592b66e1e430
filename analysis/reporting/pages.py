"""The summary as one HTML page that needs nothing else: figures inline, no script, light and dark, phone and paper."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.reporting import figures, tables
from analysis.statistics.effects import Outcome, Summary


def page(summary: Summary) -> str:
    """The whole page; every text that comes from a study or a run is escaped."""
    loader = PackageLoader("analysis.reporting", package_path="")
    template = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("page.html.jinja")
    return template.render(
        study=summary.study,
        num_finished=len(summary.runs) - len(summary.not_finished),
        num_replicates=len(summary.runs),
        warnings=summary.warnings,
        verdicts=list(tables.verdicts(summary)),
        tables=[_table(summary, outcome) for outcome in summary.effects],
        differences=figures.differences(summary),
        accuracy_against_t=figures.accuracy_against_t(summary),
        unfinished=tables.unfinished_lines(summary),
        method=tables.method_lines(summary),
    )


def _table(summary: Summary, outcome: Outcome) -> dict[str, object]:
    lines, last_factor = [], ""
    for effect in summary.effects[outcome]:
        first = " first" if effect.factor != last_factor else ""
        lines.append({"classes": effect.verdict.replace(" ", "-") + first, "cells": tables.row(effect, outcome)})
        last_factor = effect.factor
    return {"title": outcome.name.capitalize(), "header": tables.header(outcome), "lines": lines}
