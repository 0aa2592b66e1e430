"""URIs of MLflow stores and ledgers that are SQLite databases in a file. Standard library only."""

import re
from pathlib import Path
from urllib.parse import unquote

SQLITE = "sqlite:///"


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite database; None of any other store."""
    return Path(unquote(uri.removeprefix(SQLITE).partition("?")[0])) if uri.startswith(SQLITE) else None


def sqlite_uri(file: Path) -> str:
    """The URI of a SQLite database: SQLAlchemy reads %41 as A, and ? as the end of the path."""
    return SQLITE + re.sub(r"[%?#']", lambda found: f"%{ord(found[0]):02X}", str(file))
