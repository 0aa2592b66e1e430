"""The summary as one HTML page that needs nothing else: figures inline, no script, light and dark, phone and paper."""

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.reporting.figures.all_figures import gallery
from analysis.reporting.figures.style import Plate, inline_svg
from analysis.reporting.formats.markdown import sections
from analysis.reporting.formats.terminal import verdicts
from analysis.reporting.topics.method import counts_in_words, design_lines, method_lines, recipe_sections, unfinished_lines
from analysis.statistics.summary import Summary

MOST_UNFINISHED_SHOWN = 12
"""With more the page folds their list."""


def page(summary: Summary, plates: Sequence[Plate] | None = None) -> str:
    """The whole page: the answer, figures, tables, method; every text that comes from a study or a run is escaped.

    Args:
        summary: What is said.
        plates: Its gallery, if that is drawn already.
    """
    loader = PackageLoader("analysis.reporting.formats")
    template = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("page.html.jinja")
    drawn = gallery(summary) if plates is None else plates
    unfinished = unfinished_lines(summary)
    return template.render(
        study=summary.study,
        counts=counts_in_words(summary),
        warnings=summary.warnings,
        verdicts=verdicts(summary),
        figures=[(plate.heading, inline_svg(plate.figure, plate.heading), plate.caption) for plate in drawn],
        sections=sections(summary),
        unfinished=unfinished,
        folds_unfinished=len(unfinished) > MOST_UNFINISHED_SHOWN,
        design=design_lines(summary.study),
        method=method_lines(summary),
        recipe=recipe_sections(summary),
    )
