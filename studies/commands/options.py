"""What all commands share: their options, where they print, and how problems are told."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

from studies.engine.errors import StudyError

out = Console(markup=False)  # texts of studies are shown as they are
err = Console(stderr=True, markup=False)

StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="A study file, or the name of a shipped study.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Override a value of the study file for this command, e.g. --set factors.time_steps=[4,8].",
    ),
]
StorageOption = Annotated[
    str | None, typer.Option(metavar="FOLDER", help="Folder of ledger, MLflow store, checkpoints and reports.")
]
TrackingOption = Annotated[
    str | None,
    typer.Option("--tracking-uri", metavar="URI", help="MLflow's store, instead of a file in the storage folder."),
]
NumCpusOption = Annotated[int | None, typer.Option(min=1, help="CPU cores to use on this machine; all of them unless given.")]
RetryFailedOption = Annotated[bool, typer.Option("--retry-failed", help="Train failed replicates again.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


@contextmanager
def problems_exit_2() -> Iterator[None]:
    """Whatever is wrong with the input is told, and ends the command with exit code 2."""
    try:
        yield
    except StudyError as error:
        num = len(error.problems)
        err.print(f"error: {num} problem{'s' if num > 1 else ''}; nothing was begun", style="bold red")
        for problem in error.problems:
            err.print(str(problem), highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None


def all_overrides(overrides: Sequence[str] | None, storage: str | None, tracking_uri: str | None) -> list[str]:
    """The command's options as overrides of the study file."""
    options = {"storage": storage, "tracking_uri": tracking_uri}
    return [*(overrides or []), *(f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None)]


def print_json(content: Any) -> None:
    """For a script."""
    print(json.dumps(content, indent=2))
