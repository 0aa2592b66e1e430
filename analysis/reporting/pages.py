"""The summary as one HTML page that needs nothing else: figures inline, no script, light and dark, phone and paper."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.reporting import figures
from analysis.reporting.markdown import sections
from analysis.reporting.method import counts_in_words, design_lines, method_lines, unfinished_lines
from analysis.reporting.search_figures import search_figures
from analysis.reporting.tables import verdicts
from analysis.statistics.summary import Summary


def page(summary: Summary) -> str:
    """The whole page; every text that comes from a study or a run is escaped."""
    loader = PackageLoader("analysis.reporting", package_path="")
    template = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("page.html.jinja")
    return template.render(
        study=summary.study,
        counts=counts_in_words(summary),
        warnings=summary.warnings,
        verdicts=verdicts(summary),
        design=design_lines(summary.study),
        sections=sections(summary),
        figures=_figures(summary),
        unfinished=unfinished_lines(summary),
        method=method_lines(summary),
    )


def _figures(summary: Summary) -> list[tuple[str, str, str]]:
    """Heading, SVG and caption of every figure that the design has."""
    found = [
        (
            "Differences from the baseline",
            figures.differences(summary) if summary.effects else "",
            "Mean and 95 % interval; filled where the corrected p-value decides.",
        ),
        (
            "Accuracy against t",
            figures.accuracy_against_t(summary),
            "Validation accuracy of the spike counts up to step t; mean and 95 % interval over seeds.",
        ),
        *search_figures(summary),
    ]
    return [(heading, svg, caption) for heading, svg, caption in found if svg]
