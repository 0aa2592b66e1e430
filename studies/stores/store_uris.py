"""URIs of MLflow stores and ledgers that are SQLite databases in a file. Standard library only."""

import re
from pathlib import Path
from urllib.parse import unquote

_SQLITE = re.compile(r"sqlite(?:\+\w+)?:")
_SQLITE_IN_FILE = re.compile(r"sqlite(?:\+\w+)?:///([^?]+)")
"""With a driver, too: ``sqlite+pysqlite:///``."""


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite database; None of any other store."""
    found = _SQLITE_IN_FILE.match(uri)
    return Path(unquote(found[1])) if found and found[1] != ":memory:" else None


def is_unusable_sqlite(uri: str) -> bool:
    """Whether a URI names a SQLite database in memory, which ends with its process, or a file by a URI within the URI
    (``sqlite:///file:a.db?uri=true``), so that nobody could see whose file that is.
    """
    file = sqlite_file(uri)
    return bool(_SQLITE.match(uri)) and (file is None or str(file).startswith((":memory:", "file:")))


def sqlite_uri(file: Path) -> str:
    """The URI of a SQLite database.

    SQLAlchemy reads %41 as A, and ? as the end of the path. MLflow does not, and would make a folder with %2541 in its name,
    unless the URI names the driver too.
    """
    path = re.sub(r"%(?=[0-9A-Fa-f]{2})|[?#']", lambda found: f"%{ord(found[0]):02X}", str(file))
    return f"sqlite:///{path}" if path == str(file) else f"sqlite+pysqlite:///{path}"
