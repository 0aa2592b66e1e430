"""The command line: it registers the commands, each a module of ``studies.commands``.

Modules of commands import what is heavy (torch, Ray, MLflow, Optuna) inside their functions, so that ``--help`` is quick.
"""

import io
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import studies.library_settings

import typer

from studies.commands.check import check
from studies.commands.compare import compare
from studies.commands.listing import list_studies, schema
from studies.commands.options import print_version, problems_exit_2
from studies.commands.report import report
from studies.commands.reproduce import reproduce
from studies.commands.run import run
from studies.commands.status import status
from studies.commands.submit import submit
from studies.commands.transfer import export_study, import_study
from studies.commands.ui import ui
from studies.engine.errors import Problem, StudyError
from studies.own_packages import hidden_packages

COMMANDS: dict[str, Callable[..., Any]] = {
    "list": list_studies,
    "check": check,
    "run": run,
    "status": status,
    "report": report,
    "compare": compare,
    "submit": submit,
    "reproduce": reproduce,
    "export": export_study,
    "import": import_study,
    "ui": ui,
    "schema": schema,
}
"""Every command by its name, in the order of ``--help``: first what every study needs."""

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
for name, command in COMMANDS.items():
    app.command(name)(command)
app.command("trial", hidden=True)(reproduce)  # its earlier name


@app.callback()
def spikesweep(
    _version: Annotated[bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Ablation studies of spiking neural networks: one YAML file in, an answer with intervals out.

    Start with: spikesweep run quickstart

    COMMAND --help says what a command needs, with an example.
    """
    if sys.getfilesystemencoding() != "utf-8":  # a locale that cannot name every file, nor write every report
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONUTF8": "1"})  # noqa: S606
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no × shows a question mark
    with problems_exit_2():
        _check_surroundings()


def _check_surroundings() -> None:
    """What no command can do without, told before the libraries that would fail for want of it are imported.

    Raises:
        StudyError: The current folder is gone, or other packages have the names of ours.
    """
    problems = []
    try:
        os.getcwd()  # noqa: PTH109  # Path.cwd() is the same
    except OSError as error:
        rule, repair = "the current folder must exist", "change to another folder (cd)"
        problems.append(Problem("current folder", rule, f"it has been deleted or moved ({error.strerror})", repair))
    for name, place in hidden_packages().items():
        rule = f"Python must find spikesweep's package {name} first"
        repair = "rename what is found, or start in another folder (and without PYTHONPATH, if it is set)"
        problems.append(Problem(name, rule, f"{place} is found instead", repair))
    if problems:
        raise StudyError(problems)
