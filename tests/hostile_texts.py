"""Texts that would act where they are shown, and what is left of a text once it is shown."""

import re
from html.parser import HTMLParser

from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

HOSTILE = (
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b2J",
    "one\ntwo\r\nthree\u2028four",
    "a\u202eb\u2066c",
    "tab\tbell\x07 back\x08\x00",
    "[red]markup[/red] [link=https://example.com]here[/link] :bug:",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "<https://example.com> &lt;b&gt; &amp; a<b>c</b>",
    "[text](https://example.com) ![image](https://example.com/x.png) [a]: b",
    "`code` ```fence *em* **strong** __init__ _x_ ~~gone~~ a_b",
    "a | b \\| c \\",
    "# heading #",
    "- item",
    "1. item",
    "> quote",
    "---",
    "===",
    "=1+1",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1+1",
    "'=1+1",
    "$\\frac{1}$ $x$ 5$ \\input{/etc/passwd} 100 % #1 & {}",
    '"quoted" "\' onmouseover=alert(1) x="',
    "_hidden",
    "]]> --> <!-- comment -->",
)
hostile = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40), st.lists(st.sampled_from(HOSTILE), max_size=3).map("".join))
"""Hostile texts, others, and hostile ones behind each other."""

_ACTS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\u2028\u2029]")
"""Control characters but the line feed, overrides of the direction of writing, other line ends."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""What rich itself writes to a terminal."""
READ = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def acting(text: str, *, coloured: bool = False) -> list[str]:
    """The characters of a text that would act on a terminal; with ``coloured`` rich's own colours do not count."""
    return _ACTS.findall(_COLOUR.sub("", text) if coloured else text)


def inline(markdown: str) -> list[Token]:
    """The pieces of text of a Markdown page, with their marks."""
    return [child for token in READ.parse(markdown) if token.type == "inline" for child in token.children or []]


def kinds(markdown: str) -> set[str]:
    """What there is on a Markdown page, blocks and marks."""
    return {token.type for token in (*READ.parse(markdown), *inline(markdown))}


def paragraphs(markdown: str) -> list[str]:
    """The texts of a Markdown page, as a reader sees them: each heading, paragraph, item and cell."""
    blocks = [token.children or [] for token in READ.parse(markdown) if token.type == "inline"]
    return ["".join(child.content for child in children) for children in blocks]


class Page(HTMLParser):
    """What a browser makes of a page: its elements with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
