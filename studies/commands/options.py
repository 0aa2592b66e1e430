"""What all commands share: their options, the completion of study names, and how they print results, JSON and problems."""

import dataclasses
import enum
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

import studies
from studies.engine.errors import Problem, StudyError
from studies.plain_text import PlainConsole


class CommandConsole(PlainConsole):
    """A console whose command goes on without it when nobody reads any more (``| head -1``), or nothing more can be written.

    Attributes:
        words_when_closed: What standard error is told then; nothing if empty.
    """

    words_when_closed = ""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does."""
        try:
            super().print(*objects, **options)
        except OSError:  # a terminal that is gone, a full disk
            self.on_broken_pipe()

    def __exit__(self, *error: object) -> None:
        """Write what a live display has collected."""
        try:
            super().__exit__(*error)
        except OSError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Write nothing more to the stream; rich itself would end the command."""
        stream = sys.stderr if self.stderr else sys.stdout
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        if self.words_when_closed and not self.quiet:
            err.print(self.words_when_closed, style="yellow", highlight=False, soft_wrap=True)
        self.quiet = True


out = CommandConsole()
err = CommandConsole(stderr=True)


def complete_study(incomplete: str) -> list[str]:
    """What a STUDY that begins so may be: shipped studies by name, and YAML files; for the completion of shells."""
    shipped = sorted(file.stem for file in Path(next(iter(studies.__path__))).glob("*.yaml"))
    folder, _, beginning = incomplete.rpartition("/")
    try:
        names = sorted(file.name for file in Path(folder or ".").glob("*.yaml"))
    except (OSError, ValueError):
        names = []
    files = [f"{incomplete[: len(incomplete) - len(beginning)]}{name}" for name in names]
    return [word for word in [*shipped, *files] if word.startswith(incomplete)]


StudyArgument = Annotated[
    str,
    typer.Argument(metavar="STUDY", help="A study file, or the name of a shipped study.", autocompletion=complete_study),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Override a value of the study file, e.g. --set config.epochs=5; may be repeated.",
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER", help="Folder of ledger, MLflow store, checkpoints and reports, instead of the study file's (results)."
    ),
]
TrackingOption = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri", metavar="URI", help="MLflow store, instead of the study file's (a file in the storage folder)."
    ),
]
NumCpusOption = Annotated[int | None, typer.Option(min=1, metavar="N", help="CPU cores to use on this machine (default: all).")]
RetryFailedOption = Annotated[bool, typer.Option("--retry-failed", help="Train failed replicates again.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of text.")]


def print_version(wanted: bool) -> None:
    """``--version``: the installed version, and nothing else is done."""
    if wanted:
        import importlib.metadata

        print(f"spikesweep {importlib.metadata.version('spikesweep')}")
        raise typer.Exit


@contextmanager
def problems_exit_2() -> Iterator[None]:
    """Tell whatever is wrong with the input, and end the command with exit code 2."""
    try:
        yield
    except StudyError as error:
        err.print(f"error: {counted(len(error.problems), 'problem')}; nothing was started", style="bold red")
        for problem in error.problems:
            err.print(str(problem), highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Write files of a report into ``folder``; if that fails, it is told as a problem of the storage.

    Raises:
        StudyError: A file cannot be written, or would replace one that is not a report's; the problem has the reason.
    """
    from analysis.reporting.report_files import OtherFileError

    try:
        yield
    except OtherFileError as error:
        rule, repair = "a report must not replace files of others", "move it away, or choose another folder with --storage"
        raise StudyError([Problem("storage", rule, str(error), repair)]) from None
    except OSError as error:
        rule, repair = "the storage must be a folder that can be written", "choose another with --storage, or free some space"
        raise StudyError([Problem("storage", rule, f"{folder} ({error.strerror or error})", repair)]) from None


def all_overrides(overrides: Sequence[str] | None, storage: str | None, tracking_uri: str | None) -> list[str]:
    """The command's options as overrides of the study file."""
    options = {"storage": storage, "tracking_uri": tracking_uri}
    given = {key: json.dumps(value, ensure_ascii=False) for key, value in options.items() if value is not None}
    return [*(overrides or []), *(f"{key}={value}" for key, value in given.items())]


def print_json(content: Any) -> None:
    """Print what a command found, for scripts: the one place that writes the JSON of all commands.

    Dataclasses and mappings are objects, sequences are lists, enums are their names, paths are text; what JSON has no number
    for (NaN, infinity) is null.
    """
    print(json.dumps(_plain(content), indent=2, allow_nan=False))


def _plain(content: Any) -> Any:
    if dataclasses.is_dataclass(content):
        content = {field.name: getattr(content, field.name) for field in dataclasses.fields(content)}
    match content:
        case Mapping():
            return {str(key): _plain(value) for key, value in content.items()}
        case enum.Enum():
            return content.name
        case float():
            return content if math.isfinite(content) else None
        case str() | int() | None:
            return content
        case Sequence():
            return [_plain(value) for value in content]
        case _:
            return str(content)


def counted(number: int, noun: str) -> str:
    """A number with its noun, e.g. ``1 epoch`` or ``1,200 epochs``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def counts_in_words(counts: Mapping[str, int]) -> str:
    """Replicates by state, e.g. ``6 complete, 3 planned``."""
    return ", ".join(f"{count} {state.lower()}" for state, count in counts.items()) or "nothing yet"
