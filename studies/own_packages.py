"""The four packages of spikesweep where others have the same everyday names, and the processes that must find ours.

Standard library only.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

PACKAGES = ("search_spaces", "trainables", "studies", "analysis")
FOLDER = Path(__file__).resolve().parent.parent
"""The folder that has the four packages."""


def hidden_packages() -> dict[str, str]:
    """The packages of ours that Python would not import by their name, each with the file or folder that it would take instead.

    Nothing is imported.
    """
    found = {name: _place_of(name) for name in PACKAGES}
    return {name: place for name, place in found.items() if Path(place) != FOLDER / name}


def _place_of(package: str) -> str:
    """The folder of a package, or the file of a module; ``nothing`` if Python finds neither."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return "nothing"
    if spec is None:
        return "nothing"
    if spec.submodule_search_locations:
        return str(Path(next(iter(spec.submodule_search_locations))).resolve())
    return str(spec.origin)


def extra_search_path() -> list[str]:
    """What a process that this one starts needs in its search path to find the same packages: our folder, or nothing.

    Installed packages are found in any case. Where ours were found because of the folder that Python was started in, as by
    ``python -m studies`` in a copy of the repository, that folder has to be named.
    """
    library = Path(os.__file__).parent
    before_the_library = takewhile(lambda entry: Path(entry) != library, sys.path)
    return [str(FOLDER)] if any(Path(entry).resolve() == FOLDER for entry in before_the_library) else []


@contextmanager
def safe_children() -> Iterator[None]:
    """A context in which Python processes can be started that search our packages, but not the current folder.

    A file called ``json.py`` that lies there would otherwise be executed by them.
    """
    names = ("PYTHONSAFEPATH", "PYTHONPATH")
    before = {name: os.environ.get(name) for name in names}
    os.environ["PYTHONSAFEPATH"] = "1"
    if path := [*extra_search_path(), *filter(None, [before["PYTHONPATH"]])]:
        os.environ["PYTHONPATH"] = os.pathsep.join(path)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
