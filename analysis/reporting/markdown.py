"""The whole summary as Markdown."""

from analysis.reporting.configuration_tables import ranking_sections
from analysis.reporting.documents import list_lines as _list
from analysis.reporting.documents import table_lines as _table
from analysis.reporting.effect_tables import effect_sections
from analysis.reporting.method import counts_in_words, design_lines, method_lines, unfinished_lines
from analysis.reporting.sections import Section
from analysis.reporting.tables import verdicts
from analysis.reporting.tuning_tables import tuned_sections
from analysis.statistics.summary import Summary


def sections(summary: Summary) -> list[Section]:
    """All tables of a summary, in the order in which they are read."""
    return [*effect_sections(summary), *ranking_sections(summary), *tuned_sections(summary)]


def markdown(summary: Summary) -> str:
    """Counts, sentences, warnings, tables, what has not finished, method."""
    study = summary.study
    lines = [f"# {study.name}", "", study.question, "", counts_in_words(summary), ""]
    lines += [f"- {verdict}" for verdict in verdicts(summary)] + [""]
    lines += [f"**{warning}**\n" for warning in summary.warnings]
    lines += _list("Design", design_lines(study))
    for section in sections(summary):
        lines += _table(section)
    lines += _list("Not finished", unfinished_lines(summary))
    lines += _list("Method", method_lines(summary))
    return "\n".join(lines)
