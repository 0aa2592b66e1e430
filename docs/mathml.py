"""Equations of the pages as MathML, which browsers draw without any script."""

from typing import Any

from latex2mathml.converter import convert


def block(source: str, _language: str, _class: str, _options: dict[str, Any], _md: Any, **_rest: Any) -> str:
    """A fenced block with the language ``math``: one line of LaTeX is one equation."""
    lines = [line for line in source.splitlines() if line.strip()]
    return '<div class="equations">' + "".join(convert(line, display="block") for line in lines) + "</div>"
