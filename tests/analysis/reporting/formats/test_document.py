"""One document in every format: what is wide or narrow, grouped, cut, coloured and escaped."""

import io
from dataclasses import replace

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from analysis.reporting.document_model import CaptionedFigure, Column, Document, ItemList, Row, Table, filled
from analysis.reporting.formats.html import to_html
from analysis.reporting.formats.latex import to_latex
from analysis.reporting.formats.markdown import to_markdown, to_markdown_note
from analysis.reporting.formats.terminal import MOST_LINES, to_terminal

COLUMNS = [
    Column("factor", is_text=True, only="wide"),
    Column("level", is_text=True),
    Column("mean (95 %)", only="wide"),
    Column("mean", only="narrow"),
    Column("corrected p", short_title="Holm p"),
    Column("verdict", is_text=True),
]


def row(level: str, verdict: str, classes: str = "", group: str = "T") -> Row:
    return Row([group, level, "1.5 (1.0 to 2.0)", "1.5", "0.014", verdict], classes, group=group)


def table_of(*rows: Row, title: str = "Accuracy", is_detail: bool = False) -> Table:
    return Table(title, "Means over seeds.", COLUMNS, rows, is_detail=is_detail, label="demo-accuracy")


def document_of(*sections: Table | ItemList) -> Document:
    return Document(
        title="demo",
        lead="Does <T> matter?",
        verdicts=["T helps.", "best: T=8."],
        warnings=["One | seed."],
        sections=sections,
        figures=[CaptionedFigure("Means against t", "Over seeds.", Figure())],
        status="2 of 2 replicates finished.",
        headline="T=8 is best.",
        summary="Undecided: T=4.",
    )


def shown(document: Document, **options: object) -> str:
    console = Console(width=80, record=True, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(to_terminal(document))
    return console.export_text(**options)  # type: ignore[arg-type]


def test_a_terminal_has_the_narrow_columns_and_the_groups() -> None:
    """Groups are headings, the columns of pages are left out, and the answer comes last."""
    lines = [line.rstrip() for line in shown(document_of(table_of(row("4", "lower"), row("8", "", group="S")))).splitlines()]
    place = next(i for i, line in enumerate(lines) if line.startswith("level"))
    assert [line.split() for line in lines[place : place + 5]] == [
        ["level", "mean", "Holm", "p", "verdict"],
        ["T"],
        ["4", "1.5", "0.014", "lower"],
        ["S"],
        ["8", "1.5", "0.014"],
    ]
    assert lines[-3:] == ["T=8 is best.", "Undecided: T=4.", "One | seed."]
    without = replace(document_of(), headline="", summary="")
    assert [line.rstrip() for line in shown(without).splitlines()][-3:] == ["• T helps.", "• best: T=8.", "One | seed."]


def test_pages_and_markdown_have_the_wide_columns() -> None:
    """A narrow column is in neither, a group is no row of its own."""
    document = document_of(table_of(row("4", "lower", "worse first"), Row(["hidden cell"] * 6, only="narrow")))
    text = to_markdown(document)
    assert "| factor | level | mean (95 %) | corrected p | verdict |\n| --- | --- | ---: | ---: | --- |\n| T | 4 | 1.5 (1" in text
    assert (
        text.index("2 of 2")
        < text.index("T=8 is best.")
        < text.index("Undecided: T=4.")
        < text.index("(figures/means_against_t.svg)")
        < text.index("| factor")
    )
    page = to_html(document)
    assert page.count("<tr") == 2
    assert '<tr class="worse first">' in page
    assert "Does &lt;T&gt; matter?" in page
    assert "hidden cell" not in text + page


def test_details_are_for_files() -> None:
    """A terminal has neither their title nor their items; a list that is folded is so on the page."""
    document = document_of(
        table_of(row("4", "lower"), title="Ranks", is_detail=True), ItemList("Lost (1)", ["a"], is_folded=True)
    )
    text = shown(document)
    assert "Ranks" not in text
    assert "Lost (1)\n  a\n" in "\n".join(line.rstrip() for line in text.splitlines())
    assert "## Ranks" in to_markdown(document)
    assert "<summary><h2>Lost (1)</h2></summary>" in to_html(document)


def test_a_terminal_cuts_what_is_long_and_says_so() -> None:
    """The files have all of it; a caption that two tables share stands once."""
    many = table_of(*(row(str(i), "") for i in range(MOST_LINES + 2)))
    document = document_of(many, table_of(row("1", ""), title="Sparsity"), ItemList("Lost", ["x"] * (MOST_LINES + 1)))
    text = shown(document)
    assert text.count("Means over seeds.") == 1
    assert "and 2 more, which the files have" in text
    assert "and 1 more, which the files have" in text
    assert to_markdown(document).count("Means over seeds.") == to_html(document).count("Means over seeds.") == 1


def test_verdicts_are_coloured_and_numbers_stay_whole() -> None:
    """The last cell has the colour of the row's class; texts wrap before numbers do."""
    styled = shown(document_of(table_of(row("64 64 M " * 20, "lower", "worse"))), styles=True)
    assert "\x1b[31mlower" in styled
    assert " 0.014 " in styled


def test_long_names_are_broken_behind_underscores() -> None:
    """A group's name takes as many lines as it needs, each of whole words."""
    table = table_of(row("0.5", "lower", group="initial_membrane_potential"))
    lines = [line.split() for line in shown(document_of(table)).splitlines()]
    assert lines[lines.index(["initial_membrane_"]) + 1] == ["potential"]


def test_numbers_wrap_where_they_do_not_fit() -> None:
    """No digit is lost."""
    wide = Table("Wide", "", [Column(str(i)) for i in range(9)], [Row([str(10**11 + i) for i in range(9)])])
    text = shown(document_of(wide))
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("0") >= 9 * 10


def test_a_note_begins_with_the_answer() -> None:
    """Its line and its paragraph; then the warnings, and the first table without its last columns and its caption."""
    note = to_markdown_note(document_of(ItemList("Design", ["x"]), table_of(row("4", "lower"))))
    assert note.startswith("T=8 is best.\n\nUndecided: T=4.\n\n**One \\| seed.**\n\n| factor | level |")
    assert "Means over seeds." not in note


def test_groups_and_bold_cells_in_latex() -> None:
    """A group is a line over all columns; the bold cell is set in bold mathematics."""
    table = Table("A b", "C.", [Column("level", is_text=True), Column("p")], [Row(["4", "1.5 ± 0.1"], group="T", bold=1)])
    text = to_latex(document_of(table))["a_b.tex"]
    assert r"\multicolumn{2}{@{}l}{\textit{T}} \\" in text
    assert r"\raggedright\quad 4 & \boldmath$\mathbf{1.5 \pm 0.1}$ \\" in text
    assert r"level & $p$ \\" in text
    document = document_of(replace(table, rows=[Row(["4", "1.5 ± 0.1"], bold=1)]))
    assert "| 4 | **1.5 ± 0.1** |" in to_markdown(document)
    assert '<td class="best">1.5 ± 0.1</td>' in to_html(document)


@pytest.mark.parametrize("section", [table_of(), ItemList("Empty", [])])
def test_what_is_empty_is_left_out(section: Table | ItemList) -> None:
    """Sections without rows or items have no heading."""
    assert filled(section) == []
