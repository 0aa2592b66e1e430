"""The drawing of the architecture, made from the import contracts of ``pyproject.toml``."""

import ast
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import Any

WIDTH, MARGIN, HEIGHT, GAP, TITLE, LINE = 560, 12, 32, 8, 28, 17
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1b1f24; }
  .title { font-weight: 600; }
  .small { font-size: 12px; fill: #57606a; }
  rect { fill: #eaf2fb; stroke: #4a78a8; rx: 6px; }
  .page { fill: #ffffff; stroke: none; }
"""


@dataclass(frozen=True)
class Stack:
    """The floors of one contract, from top to bottom; a module may import what stands on a floor below its own."""

    title: str
    floors: Sequence[Sequence[str]]


def contracts(root: Path) -> list[dict[str, Any]]:
    """The import contracts, in the order of the file."""
    found: list[dict[str, Any]] = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return found


def stacks(root: Path) -> list[Stack]:
    """The layers contracts, one stack for each container; below the whole packages stand those that import no other one."""
    found = []
    for contract in contracts(root):
        if contract["type"] == "layers":
            floors = [[room.strip(" ()") for room in layer.replace(":", "|").split("|")] for layer in contract["layers"]]
            containers = contract.get("containers", [])
            found += [Stack(f"Inside {container}", floors) for container in containers]
            if not containers:
                leaves = [other["modules"] for other in contracts(root) if other["type"] == "independence"]
                found.append(Stack("The packages", [*floors, *leaves]))
    return found


def purpose(root: Path, module: str) -> str:
    """The first line of a module's docstring."""
    path = root / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    return docstring.partition("\n")[0].partition(": every YAML file")[0].rstrip(".")


def draw(root: Path) -> str:
    """An SVG of all stacks, one below the other."""
    y, body = MARGIN, list[str]()
    for stack in stacks(root):
        body += _stack(stack, y)
        y += TITLE + len(stack.floors) * (HEIGHT + GAP) + MARGIN
    for line in ("A module may import what stands on a floor below its own; it never imports its neighbours.", *_forbidden(root)):
        body.append(_text(MARGIN, y + 4, line, "small"))
        y += LINE
    y += MARGIN - 8
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img">'
    return "\n".join([head, f"<style>{STYLE}</style>", f'<rect class="page" width="{WIDTH}" height="{y}"/>', *body, "</svg>", ""])


def _stack(stack: Stack, y: int) -> Iterator[str]:
    yield _text(MARGIN, y + 16, stack.title, "title")
    for row, floor in enumerate(stack.floors):
        top = y + TITLE + row * (HEIGHT + GAP)
        width = (WIDTH - 2 * MARGIN - GAP * (len(floor) - 1)) / len(floor)
        for column, room in enumerate(floor):
            x = MARGIN + column * (width + GAP)
            yield f'<rect x="{x:.0f}" y="{top}" width="{width:.0f}" height="{HEIGHT}"/>'
            yield _text(x + 10, top + 21, room)


def _forbidden(root: Path) -> Iterator[str]:
    for contract in contracts(root):
        if contract["type"] == "forbidden":
            rule = f"{' and '.join(contract['source_modules'])}: no import of {', '.join(contract['forbidden_modules'])}."
            yield from wrap(rule, width=86)


def _text(x: float, y: float, text: str, style: str = "room") -> str:
    return f'<text class="{style}" x="{x:.0f}" y="{y}">{escape(text)}</text>'
