"""Whatever stands in a question, a level, a reason or a metric's name: in every format it is text, and nothing else."""

import csv
import io
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from analysis.reporting.document_model import CaptionedFigure, Column, Document, ItemList, Row, Table
from analysis.reporting.figures.all_figures import all_figures
from analysis.reporting.figures.style import svg
from analysis.reporting.formats.html import to_html
from analysis.reporting.formats.latex import to_latex
from analysis.reporting.formats.markdown import to_markdown, to_markdown_note
from analysis.reporting.formats.tables_csv import csv_text, effects_csv
from analysis.reporting.formats.terminal import to_terminal
from analysis.statistics.summary import summarise
from studies.plain_text import PlainConsole, visible
from studies.run_record import ACCURACY, Level
from tests.analysis.examples import rows, run_of, study_of
from tests.hostile_texts import HOSTILE, Page, acting, hostile, kinds, paragraphs

FIGURE = Figure()


def document_of(text: str) -> Document:
    """A document with the text in all of its places."""
    columns = [Column(text, is_text=True), Column("value")]
    return Document(
        title=f"t {text}",
        lead=text,
        verdicts=[text],
        warnings=[f"w {text} w"],
        sections=[Table(f"t {text}", text, columns, [Row([text, "1"], group=text)]), ItemList(f"l {text}", [text])],
        figures=[CaptionedFigure(f"f {text}", text, FIGURE)],
        status=text,
        headline=f"h {text}",
        summary=f"s {text}",
    )


@settings(max_examples=25)
@given(hostile)
def test_pages_have_our_elements_alone(text: str) -> None:
    """An HTML parser finds the text as it is shown, in no element and no attribute that a plain text does not make."""
    assume(text)
    page, plain = Page(to_html(document_of(text))), Page(to_html(document_of("plain")))
    assert [(tag, sorted(attributes)) for tag, attributes in page.elements] == [
        (tag, sorted(attributes)) for tag, attributes in plain.elements
    ]
    assert acting("".join(page.texts)) == []
    assert visible(text) in "".join(page.texts)


@settings(max_examples=25)
@given(hostile)
def test_markdown_has_our_marks_alone(text: str) -> None:
    """A Markdown parser finds the same blocks and marks as in a plain document; the text reads as it is."""
    for write in (to_markdown, to_markdown_note):
        page, plain = write(document_of(text)), write(document_of("plain"))
        assert acting(page) == []
        assert kinds(page) - {"text_special"} == kinds(plain)
        if visible(text).strip():
            assert len(paragraphs(page)) == len(paragraphs(plain))
            assert visible(text).strip() in [found.strip() for found in paragraphs(page)]


@settings(max_examples=25)
@given(hostile)
def test_nothing_acts_on_a_terminal(text: str) -> None:
    """No control character reaches it, and no line end that is not ours."""
    screen = io.StringIO()
    PlainConsole(file=screen, width=80).print(to_terminal(document_of(text)))
    assert acting(screen.getvalue()) == []


@given(hostile)
def test_latex_is_of_our_commands(text: str) -> None:
    """ASCII without control characters, whose braces close; nothing is read from another file."""
    files = to_latex(document_of(text))
    for name, content in files.items():
        assert re.fullmatch(r"[a-z0-9_]+\.tex", name)
        assert content.isascii()
        assert acting(content) == []
        assert set(re.findall(r"\\input\{(.*?)\}", content)) <= set(files)


def test_tables_of_one_name_have_files_of_their_own() -> None:
    """Two metrics whose names differ in signs alone, or that have no letter at all."""
    tables = [Table(title, "", [Column("x")], [Row(["1"])]) for title in ("a/b", "a_b", "水", "損失", "tables")]
    files = to_latex(Document("t", "", [], sections=tables))
    assert list(files) == [
        "a_b.tex",
        "a_b_1.tex",
        "unnamed.tex",
        "unnamed_1.tex",
        "tables_1.tex",
        "tables.tex",
        "tables_two_columns.tex",
    ]


@given(st.lists(hostile, min_size=1, max_size=4))
def test_no_cell_is_a_formula(texts: list[str]) -> None:
    """A spreadsheet takes none for one; without the apostrophe in front, every text is as it was."""
    (row,) = csv.reader(io.StringIO(csv_text([texts]), newline=""))
    for text, cell in zip(texts, row, strict=True):
        assert not cell.startswith(("=", "@", "\t", "\r"))
        assert not re.match(r"[+-](?![\d.]|inf|nan)", cell, re.IGNORECASE)
        assert text == (cell[1:] if re.match(r"''*[=+\-@\t\r]", cell) else cell)


@pytest.mark.parametrize("cell", [-1.5, 0, True, 1e-9, float("-inf"), "-1", "+0.5", "-1e-05", "-.5", "-inf", "–", "", "a=b"])
def test_numbers_stay_numbers(cell: Level) -> None:
    """Also those that are levels in words."""
    assert csv_text([[cell, "x"]]) == f"{cell},x\n"


def test_figures_and_tables_of_hostile_texts() -> None:
    """Whatever the levels, figures are whole SVG whose dollars are no formulae, and tables have every level."""
    levels = [text for text in HOSTILE if text[0] in "=@\t'-\x1b<$_"]
    factors: dict[str, list[Level]] = {"layout": [*levels], "$a$": [1, 2]}
    runs = [run_of({"layout": level, "$a$": 1}, seed, 0.5 + 0.01 * seed) for level in levels for seed in range(3)]
    runs += [run_of({"layout": levels[0], "$a$": 2}, seed, 0.6, status="FAILED") for seed in range(3)]
    study = study_of("one_factor_at_a_time", factors, runs, objectives={ACCURACY: "maximize", "$m$": "minimize"})
    summary = summarise(study, runs)
    figures = all_figures(summary)
    assert len(figures) > 1
    for figure in figures:
        text = svg(figure.figure)
        ET.fromstring(text)
        assert acting(text) == []
    shown = {row["level"] for row in rows(effects_csv(summary))}
    assert {"'=1+1", "'@SUM(A1)", "'\t=1+1", "''=1+1", "'-2+3"} <= shown
