"""``spikesweep export`` and ``spikesweep import``: a study found as every command finds one, its runs moved between stores."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from analysis.records.mlflow_store import NoStudyError, open_store
from studies.credentials import mask_credentials
from studies.engine.archives.exporting import Moved, RunCounter, export_study
from studies.engine.archives.importing import InterruptedImportError, import_study
from studies.engine.definition.lookup import find_stores
from studies.engine.errors import Problem, StudyError

__all__ = ["InterruptedImportError", "Moved", "export_to", "import_from"]

SECONDS_BETWEEN_LINES = 15.0


def export_to(study: str, overrides: Sequence[str], file: Path, console: Console, *, replace: bool) -> Moved:
    """Write the archive of a study, and say what is in it.

    Raises:
        StudyError: The study cannot be read, or the file not written.
    """
    stores = find_stores(study, overrides)
    try:
        client = open_store(stores.tracking_uri)
    except NoStudyError as error:
        rule, repair = "export needs a study that MLflow has", "run it first, or name its store with --tracking-uri"
        value = f"{stores.name} in {mask_credentials(f'{stores.tracking_uri} ({error})')}"
        raise StudyError([Problem("STUDY", rule, value, repair)]) from None
    with _counted(console, "exported") as count:
        moved = export_study(client, stores.name, file, replace=replace, count=count)
    for remark in moved.remarks:
        console.print(remark, style="yellow", highlight=False, soft_wrap=True)
    size_mib = file.stat().st_size / 2**20
    console.print(f"{moved.num_runs} runs of {moved.study} are in {file} ({size_mib:.1f} MiB)", highlight=False, soft_wrap=True)
    return moved


def import_from(file: Path, overrides: Sequence[str], console: Console) -> Moved:
    """Write what the store lacks of an archive, and say what that was.

    Raises:
        StudyError: The archive or the store is wrong; nothing was written.
        InterruptedImportError: The store failed on the way.
    """
    with _counted(console, "looked at") as count:
        moved, stores = import_study(file, overrides, count)
    where = mask_credentials(stores.tracking_uri)
    words = f"{moved.num_runs} runs of {moved.study} were written to {where}" if moved.num_runs else f"{where} had all of it"
    console.print(words, highlight=False, soft_wrap=True)
    return moved


@contextmanager
def _counted(console: Console, what: str) -> Iterator[RunCounter]:
    """A bar on a terminal, a line now and then elsewhere."""
    shown_at = time.monotonic()
    if console.is_terminal:
        with Progress(console=console) as progress:
            task = progress.add_task(f"runs {what}", total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)
        return

    def line(done: int, total: int) -> None:
        nonlocal shown_at
        if time.monotonic() - shown_at >= SECONDS_BETWEEN_LINES:
            shown_at = time.monotonic()
            console.print(f"{done}/{total} runs {what}", highlight=False)

    yield line
