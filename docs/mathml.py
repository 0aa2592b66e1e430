"""Equations of the pages as MathML, which browsers draw without any script."""

from typing import Any

from latex2mathml.converter import convert


def block(source: str, _language: str, _class: str, _options: dict[str, Any], _md: Any, **_rest: Any) -> str:
    """A fenced block with the language ``math``: one line of LaTeX is one equation."""
    lines = [line for line in source.splitlines() if line.strip()]
    equations = [convert(line, display="block") for line in lines]
    if unknown := [line for line, equation in zip(lines, equations, strict=True) if "\\" in equation]:
        raise ValueError(f"an equation must use commands that latex2mathml knows, but got {unknown}")
    return '<div class="equations">' + "".join(equations) + "</div>"
