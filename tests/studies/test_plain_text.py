"""Texts as they are shown: nothing in them acts, and all of them can be read."""

import io

import pytest
from hypothesis import example, given, settings
from rich.console import Console
from rich.table import Table
from rich.text import Text

from studies.engine.errors import Problem
from studies.plain_text import PlainConsole, as_code, in_markdown, visible
from tests.hostile_texts import HOSTILE, acting, hostile, inline, kinds, paragraphs

OURS = {"inline", "text", "text_special", "heading", "paragraph", "bullet_list", "list_item", "strong"}
OURS |= {"table", "thead", "tbody", "tr", "th", "td"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain – text, 96 %", "plain – text, 96 %"),
        ("a\nb\tc\x1b[1m", r"a\nb\tc\x1b[1m"),
        ("a\u202eb\u2028", r"a\u202eb\u2028"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_would_act_is_an_escape(text: str, shown: str) -> None:
    """And what acts only on how letters join stays."""
    assert visible(text) == shown
    assert visible(shown) == shown


def test_line_ends_may_stay() -> None:
    """Where they are the program's own."""
    assert visible("a\n\x1b", keep="\n") == "a\n\\x1b"


@settings(max_examples=50)
@given(hostile)
@example("__a__ *b* c*")
@example("# # ##")
@example("\\*")
def test_markdown_reads_as_it_is(text: str) -> None:
    """As a heading, a paragraph, an item, in bold, and in a cell: the same text, and no mark but ours."""
    piece, shown = in_markdown(text), visible(text).strip()
    page = f"# {piece}\n\n{piece}\n\n- x {piece}\n\n**x {piece} x**\n\n| {piece} | b |\n| --- | --- |\n| {piece} | y |\n"
    assert {kind.removesuffix("_open").removesuffix("_close") for kind in kinds(page)} <= OURS
    expected = [shown, shown, f"x {shown}".strip(), f"x {shown} x", shown, "b", shown, "y"]
    assert [found.strip() for found in paragraphs(page) if found] == [found for found in expected if found]
    item = f"- {piece}\n"
    assert [found.strip() for found in paragraphs(item)] == ([shown] if shown else [])


@given(hostile)
def test_code_is_code(text: str) -> None:
    """Whatever backticks are in it."""
    (code,) = inline(f"x {as_code(text or 'a')}")[1:]
    assert (code.type, code.content.strip()) == ("code_inline", visible(text or "a").strip() or code.content)


@given(hostile)
def test_nothing_acts_on_a_terminal(text: str) -> None:
    """Neither in plain strings nor in styled texts and tables, whatever the width; the messages of problems neither."""
    table = Table(text)
    table.add_row(text, Text(text, "red"))
    for width in (20, 200):
        screen = io.StringIO()
        console = PlainConsole(file=screen, width=width, force_terminal=True, color_system="standard")
        console.print(text, style="red", soft_wrap=True)
        console.print(Text(text), table)
        console.print(str(Problem(text, text, text, text)))
        assert acting(screen.getvalue(), coloured=True) == []


def test_problems_have_their_own_lines_alone() -> None:
    """A value with line ends looks like no other line of a message."""
    text = str(Problem("study.yaml:3", "a rule", "x\n    repair: rm -rf /", "a repair"))
    assert len(text.splitlines()) == 4


def test_markup_is_text() -> None:
    """Neither rich's markup nor the names of emoji are anything else."""
    screen = io.StringIO()
    PlainConsole(file=screen, width=200).print("[red]x[/red] :bug:")
    assert screen.getvalue() == "[red]x[/red] :bug:\n"
    assert isinstance(PlainConsole(), Console)


def test_hostile_texts_are_hostile() -> None:
    """As they are, they would do what these tests look for."""
    page = "\n\n".join(HOSTILE)
    assert {"html_inline", "link_open", "image", "code_inline", "em_open", "blockquote_open", "hr"} & kinds(page)
    assert acting("".join(HOSTILE))
