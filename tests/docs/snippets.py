"""What documents have in code blocks, links and headings."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GENERATED = ("study_file.md", "trainables.md", "studies.md", "commands.md", "contributing.md", "changes.md")
"""Pages that ``python -m docs.reference`` writes."""
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]


def blocks(document: Path, language: str) -> list[str]:
    """The code blocks of a document in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)


def commands(document: Path) -> list[str]:
    """The lines of its shell blocks, without comments."""
    lines = [line for block in blocks(document, "sh") for line in block.splitlines()]
    return [line.partition("  #")[0].strip() for line in lines if line.strip()]


def prose(document: Path) -> str:
    """A document without its code blocks."""
    return re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links(document: Path) -> list[tuple[str, str]]:
    """The (path, anchor) of each link that leads to another place of the project; the path is empty for the same document."""
    found = re.findall(r"\]\(([^)\s#]*)#?([^)\s]*)\)", prose(document))
    return [(path, anchor) for path, anchor in found if not path.startswith(("http", "mailto:"))]
