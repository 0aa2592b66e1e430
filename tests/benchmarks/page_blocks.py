"""What a benchmark writes into a page of the documentation: tables, and blocks between markers that it replaces."""

import os
from pathlib import Path

import torch

Table = list[list[str]]


def markdown(table: Table) -> str:
    """A table whose first row is its head."""
    head, *body = table
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def measured_on() -> str:
    """The machine and the version that numbers belong to."""
    return f"torch {torch.__version__}, {os.cpu_count()} cores with {torch.backends.cpu.get_cpu_capability()}"


def replace_block(page: Path, name: str, text: str) -> None:
    """Put a text between ``<!-- name -->`` and ``<!-- /name -->`` of a page, instead of what is there.

    Raises:
        ValueError: The page does not have each of them once, in this order.
    """
    first, last = f"<!-- {name} -->", f"<!-- /{name} -->"
    whole = page.read_text()
    before, found, rest = whole.partition(first)
    _, ended, after = rest.partition(last)
    if not (found and ended) or whole.count(first) != 1 or whole.count(last) != 1:
        raise ValueError(f"a page must have {first} and, behind it, {last}, each once; {page} has not")
    page.write_text(f"{before}{first}\n\n{text}\n\n{last}{after}")
