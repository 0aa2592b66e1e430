"""``spikesweep export`` and ``spikesweep import``: a study's MLflow runs, moved from store to store in one file."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from studies.commands.options import (
    JsonOption,
    SetOption,
    StorageOption,
    StudyArgument,
    TrackingOption,
    all_overrides,
    err,
    out,
    print_json,
    problems_exit_2,
)

if TYPE_CHECKING:
    from studies.engine.archives.exporting import RunCounter

SECONDS_BETWEEN_LINES = 15.0


def export_study(
    study: StudyArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE.zip", help="The archive to write.")],
    overrides: SetOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE.zip if it exists and is a zip file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a study's MLflow runs to a file.

    The file holds metrics, parameters, tags, data sets, models and artifacts of all its runs; import reads it. Reads MLflow
    alone: with --tracking-uri, STUDY can be the name of a study that was run elsewhere.

    With --json: study, num_runs, warnings.

    Exit codes: 0 the file was written; 2 it was not, and is not there.

    Example: spikesweep export quickstart quickstart.zip
    """
    from studies.credentials import mask_uri
    from studies.engine.archives import exporting
    from studies.engine.definition.lookup import find_stores
    from studies.engine.errors import not_recorded
    from studies.stores.mlflow_access import StoreError, open_store

    console = err if as_json else out
    with problems_exit_2():
        stores = find_stores(study, all_overrides(overrides, storage, tracking_uri))
        try:
            client = open_store(stores.tracking_uri)
        except StoreError as error:
            raise not_recorded("export", f"{stores.name} in {mask_uri(stores.tracking_uri)} ({error})") from None
        with _counted(console, "exported") as count:
            moved = exporting.export_study(client, stores.name, file, replace=force, count=count)
    for warning in moved.warnings:
        console.print(warning, style="yellow", highlight=False, soft_wrap=True)
    size_mib = file.stat().st_size / 2**20
    console.print(f"{moved.num_runs} runs of {moved.study} are in {file} ({size_mib:.1f} MiB)", highlight=False, soft_wrap=True)
    if as_json:
        print_json(moved)


def import_study(
    file: Annotated[Path, typer.Argument(metavar="FILE.zip", help="An archive that export has written.")],
    overrides: SetOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write exported runs into another MLflow store.

    Runs that are there already are left as they are, so it is safe to repeat: after an interruption the same command goes on.

    With --json: study, num_runs, warnings.

    Exit codes: 0 the store has all runs of the file; 1 the store failed on the way; 2 the file or the store is wrong, and
    nothing was written.

    Example: spikesweep import quickstart.zip --storage results_of_colleague
    """
    from studies.credentials import mask_uri
    from studies.engine.archives import importing

    console = err if as_json else out
    with problems_exit_2():
        try:
            with _counted(console, "looked at") as count:
                moved, stores = importing.import_study(file, all_overrides(overrides, storage, tracking_uri), count)
        except importing.InterruptedImportError as error:
            err.print(f"the import stopped ({error}): run the same command again to go on", style="red", soft_wrap=True)
            raise typer.Exit(1) from None
    where = mask_uri(stores.tracking_uri)
    words = f"{moved.num_runs} runs of {moved.study} were written to {where}" if moved.num_runs else f"{where} had all of it"
    console.print(words, highlight=False, soft_wrap=True)
    if as_json:
        print_json(moved)


@contextmanager
def _counted(console: Console, what: str) -> "Iterator[RunCounter]":
    """A bar on a terminal, a line now and then elsewhere."""
    from rich.progress import Progress

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
