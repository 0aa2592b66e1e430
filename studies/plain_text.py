"""Texts of studies, runs and files as they are shown: what would act on a terminal or a page is shown as what it is."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

_JOINERS = "\u200c\u200d"
"""Format characters that change nothing but how letters join, as Persian and emoji need it."""
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of control and format characters (escapes, overrides of the direction of writing), and of line ends."""
_PUNCTUATION = r"!-/:-@\[-`{-~"
_ACTIVE_IN_MARKDOWN = re.compile(
    rf"\\(?=[{_PUNCTUATION}]|$)"
    r"|(?P<tag><(?=[A-Za-z/!?]))"
    r"|(?P<entity>&(?=#?\w+;))"
    r"|[`\[\]|~]|\*(?=\S)|(?<=\S)\*|(?<![^\W_])_|_(?![^\W_])|(?<=\s)#(?=#*$)"
)
_ACTIVE_AT_START = re.compile(r"(?P<digits>\d{1,9})(?=[.)](\s|$))|(?=#{1,6}(\s|$)|[-+*](\s|$)|>|-{2,}\s*$|=+\s*$)")


def visible(text: str, *, keep: str = "") -> str:
    r"""A text in which control characters, line ends and overrides of the direction of writing are escapes: ``\n``, ``\x1b``.

    The characters of ``keep`` stay as they are.
    """
    if text.isprintable():  # nearly always
        return text
    return "".join(
        character.encode("unicode_escape").decode() if _is_hidden(character) and character not in keep else character
        for character in text
    )


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN and character not in _JOINERS


def first_line(error: BaseException) -> str:
    """The first line of what an error says; the name of its kind if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def in_markdown(text: str) -> str:
    """A text as a piece of a Markdown page, on one line, where it reads as it is: no HTML, link, image, code, cell or heading."""
    shown = _ACTIVE_IN_MARKDOWN.sub(_escaped, visible(text).strip())
    start = _ACTIVE_AT_START.match(shown)
    return f"{start['digits'] or ''}\\{shown[start.end() :]}" if start else shown


def as_code(text: str) -> str:
    """A text as code of a Markdown page; in a cell of a table, its bars need a backslash."""
    text = visible(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def _escaped(found: re.Match[str]) -> str:
    if found["tag"]:
        return "&lt;"
    return "&amp;" if found["entity"] else f"\\{found[0]}"


class PlainConsole(Console):
    """A console on which no text of a study acts: neither rich's markup and emoji codes nor a terminal's escape sequences."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of what is printed; control characters in its texts are shown as escapes, line ends stay."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(visible(segment.text, keep="\n"), segment.style)
