"""Writes the files of a report into a folder, where no file that is not a report's is ever overwritten.

A folder is a report's if its page is: every report has one, which is written first and contains what only such a page does.
"""

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

_TEMPORARY = ".spikesweep-tmp"
"""The end of the name of a file that is being written."""
_LEFT_AFTER_S = 3600
"""After this time, whoever was writing a temporary file has been killed."""


class OtherFileError(Exception):
    """A file that a report would replace is not one of a report. The message names it."""


@dataclass(frozen=True)
class Page:
    """The page of a report.

    Attributes:
        name: The name of its file.
        mark: A text that every such page has, of this and of earlier versions.
    """

    name: str
    mark: str


def html_page(name: str) -> Page:
    """The page of a report in HTML, which our template has made."""
    return Page(name, '<section class="answer" aria-label="The answer">')


SUMMARY = html_page("summary.html")
SUMMARY_FILES = "summary.html summary.md replicates.csv effects.csv configurations.csv".split()
SUMMARY_FILES += "replicates.parquet curves.parquet curves.csv".split()
"""The files that the summaries of studies have, and the page among them; beside them are folders of figures and tables."""


def check_folder(folder: Path, page: Page, names: Iterable[str]) -> None:
    """See that files of these names may be written: that there are none, or those of an earlier report.

    Raises:
        OtherFileError: One is there, and the folder has no page of a report.
    """
    if (there := [name for name in names if os.path.lexists(folder / name)]) and not _is_ours(folder / page.name, page.mark):
        raise OtherFileError(f"{folder / there[0]} is there, and is not of a report that spikesweep has written")


def write_files(folder: Path, page: Page, files: Mapping[str, str | bytes], without: Iterable[str] = ()) -> None:
    """Write the files of a report, each whole or not at all.

    Args:
        folder: Made if it is not there.
        page: Which of the files is the page.
        files: Their content by name; a name may be in a folder: ``figures/effects.svg``.
        without: Files of earlier reports to remove, as this one has none.

    Raises:
        OtherFileError: A file of one of these names is not of a report; nothing was written.
        OSError: A file cannot be written.
    """
    check_folder(folder, page, [*files, *without])
    for name in sorted(files, key=lambda name: name != page.name):  # the page first: with it the others are known to be ours
        content = files[name]
        _replace(folder / name, content.encode() if isinstance(content, str) else content)
    for name in without:
        (folder / name).unlink(missing_ok=True)


def _is_ours(page: Path, mark: str) -> bool:
    try:
        return page.is_file() and mark in page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _replace(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    for left in file.parent.glob(f".*{_TEMPORARY}"):
        with suppress(OSError):
            if left.stat().st_mtime < time.time() - _LEFT_AFTER_S:
                left.unlink()
    temporary = file.with_name(f".{file.name}.{uuid4().hex}{_TEMPORARY}")
    try:
        temporary.write_bytes(content)
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
