"""``spikesweep reproduce``: a recorded replicate is trained again, without Ray, and compared with the numbers of its run."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from studies.commands.options import (
    JsonOption,
    StorageOption,
    TrackingOption,
    all_overrides,
    counted,
    err,
    out,
    print_json,
    problems_exit_2,
)
from studies.plain_text import visible
from studies.run_record import SELECTED_ON_TEST

if TYPE_CHECKING:
    from studies.engine.reproduction.agreement import RerunComparison
    from studies.engine.reproduction.recorded_replicate import RecordedReplicate
    from studies.engine.reproduction.retraining import Reproduction
    from trainables.training.epoch_report import EpochReport

MOST_SHOWN = 10
"""Metrics that differ; --json has all of them."""
MOST_NAMED = 4
"""Metrics that only one of the two has; --json has all of them too."""
LOSS = "train/loss"
COMMIT = re.compile(r"\b([0-9a-f]{10})[0-9a-f]{30}\b")
"""Of which a reader needs no more than its beginning."""


OF_SECONDS = (
    "This training lasts for a number of seconds. How many steps are taken in them differs from time to time, so its numbers "
    "cannot be repeated to the last digit; what follows shows how near they come."
)


def reproduce(
    replicate: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A replicate's run id in MLflow, or its identity (the tag spikesweep.identity)."),
    ],
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Where the data are, if not where the run says; they must be the same data."),
    ] = None,
    num_threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Threads of torch (default: as many as the run had, or 1).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a recorded replicate again and compare its numbers.

    Trains exactly what the run in MLflow says, here and without Ray, and shows every epoch beside the run's. A run that failed
    or was stopped is compared as far as it went. A run that was trained for a number of seconds cannot be repeated to the digit;
    that is said first. Writes nothing to the study's storage or to MLflow.

    With --json: run_id, identity, study, title, status, reason, trainable, seed, agrees, failure, device, num_threads,
    num_epochs, num_metrics, num_curves, differences, only_in_run, only_now, final_accuracy, unlike.

    Exit codes: 0 the numbers agree to the last digit; 1 they differ, or training fails where the run's did not; 2 the input is
    wrong, and nothing was started.

    Example: spikesweep reproduce 0a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d
    """
    from studies.engine.definition.lookup import find_stores
    from studies.engine.reproduction.recorded_replicate import read_recorded
    from studies.engine.reproduction.retraining import prepare_reproduction, train_again

    console = err if as_json else out
    with problems_exit_2():
        stores = find_stores("quickstart", all_overrides(None, storage, tracking_uri))  # where any study is, unless it says else
        recorded = read_recorded(replicate, stores.tracking_uri)
        reproduction = prepare_reproduction(recorded, data=data, num_threads=num_threads)
    _show_beginning(console, reproduction)
    comparison = train_again(reproduction, _shower(console, recorded))
    if as_json:
        print_json(_as_data(reproduction, comparison))
    else:
        _show_end(console, comparison)
    raise typer.Exit(0 if comparison.agrees else 1)


def _show_beginning(console: Console, reproduction: "Reproduction") -> None:
    recorded = reproduction.recorded
    console.print(visible(recorded.title), style="bold", highlight=False, soft_wrap=True)
    code = f", commit {recorded.commit[:8]}" if recorded.commit else ""
    console.print(f"run {recorded.run_id} of {recorded.study}: {recorded.status.lower()}{code}", highlight=False)
    if recorded.num_others:
        console.print(f"({recorded.num_others} more with this identity in the store; this one went furthest)", highlight=False)
    if reproduction.lasts_for_seconds:
        console.print(OF_SECONDS, style="yellow", highlight=False, soft_wrap=True)
    if reproduction.config.selects_on_test:
        console.print(f"Its epoch is {SELECTED_ON_TEST}.", style="yellow", highlight=False, soft_wrap=True)
    here = f"trained again on {reproduction.config.device} with {counted(reproduction.num_threads, 'thread')}"
    console.print(here, highlight=False)
    console.print(f"\n{'':7}{'validation accuracy':^24}{'training loss':^26}{'metrics':>15}", highlight=False)
    console.print(f"{'epoch':>7}{'run':>12}{'now':>12}{'run':>13}{'now':>13}", highlight=False)


def _shower(console: Console, recorded: "RecordedReplicate") -> "Callable[[EpochReport], None]":
    """Shows an epoch beside what the run has."""
    from studies.engine.reproduction.agreement import agreement_at
    from studies.run_record import ACCURACY

    def show(report: "EpochReport") -> None:
        num, num_unlike = agreement_at(recorded, report)
        words = f"{num_unlike} of {num} differ" if num_unlike else f"{num} agree"
        accuracy, loss = (_pair(recorded, report, metric) for metric in (ACCURACY, LOSS))
        epoch = f"{report.epoch}/{report.num_epochs or '?'}"
        line = f"{epoch:>7}{accuracy[0]:>12}{accuracy[1]:>12}{loss[0]:>13}{loss[1]:>13}{words if num else 'not in run':>16}"
        console.print(line, style="yellow" if num_unlike else None, highlight=False)

    return show


def _pair(recorded: "RecordedReplicate", report: "EpochReport", metric: str) -> tuple[str, str]:
    values = recorded.metrics.get(metric, {}).get(report.epoch), report.metrics.get(metric)
    one, other = ("–" if value is None else f"{value:.7g}" for value in values)
    return one, other


def _show_end(console: Console, comparison: "RerunComparison") -> None:
    epochs = counted(comparison.num_epochs, "epoch")
    metrics, curves = counted(comparison.num_metrics, "metric"), counted(comparison.num_curves, "curve")
    if comparison.num_metrics and not comparison.differences:
        console.print(f"\nThe numbers agree to the last digit: {metrics}, {epochs}, {curves}", style="green", highlight=False)
    if comparison.differences:
        console.print(f"\nThe numbers differ, in {len(comparison.differences)} of {metrics} and {curves}", style="bold yellow")
        _show_differences(console, comparison)
    for names, where in ((comparison.only_recorded, "in the run"), (comparison.only_now, "now")):
        if names:
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            console.print(f"not compared, as they are only {where}: {', '.join(names[:MOST_NAMED])}{more}", highlight=False)
    _show_failure(console, comparison)
    if comparison.unlike:
        title = "Not the same, yet without effect:" if comparison.agrees else "Why this may be (in the run, now):"
        console.print(f"\n{title}", highlight=False)
        for name, (there, here) in comparison.unlike.items():
            words = COMMIT.sub(r"\1", f"  {name}: {there or 'not recorded'} → {here or 'unknown'}")
            console.print(words, highlight=False, soft_wrap=True)
    elif not comparison.agrees:
        console.print("\nNothing else that the run records is different here.", highlight=False)


def _show_differences(console: Console, comparison: "RerunComparison") -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("differs", overflow="fold")
    for title in ("from", "most at", "run", "now"):
        table.add_column(title, justify="right")
    for each in comparison.differences[:MOST_SHOWN]:
        step = "t" if each.name in comparison.curves else "epoch"
        values = (f"{value:.7g}" for value in (each.recorded, each.now))
        table.add_row(each.name, f"{step} {each.first_at}", f"{step} {each.largest_at}", *values)
    console.print(table)
    if more := len(comparison.differences) - MOST_SHOWN:
        console.print(f"and {more} more (--json has all)" if more > 0 else "", highlight=False, end="\n" if more > 0 else "")
    if accuracies := comparison.accuracies:
        there, here = accuracies
        points = 100 * (here - there)
        words = f"Final validation accuracy: {100 * there:.2f} % in the run, {100 * here:.2f} % now ({points:+.2f} points)"
        console.print(words, highlight=False)


def _show_failure(console: Console, comparison: "RerunComparison") -> None:
    recorded, after = comparison.recorded, f"after {counted(len(comparison.reports), 'epoch')}"
    if comparison.failed_alike:
        console.print(visible(f"It failed {after}, as the run did: {comparison.failure}"), highlight=False, soft_wrap=True)
    elif comparison.failure:
        console.print(visible(f"It failed {after}, where the run did not: {comparison.failure}"), style="red", soft_wrap=True)
    elif recorded.status == "FAILED":
        words = f"The run failed after {counted(recorded.num_epochs, 'epoch')}, where this training did not: {recorded.reason}"
        console.print(words, style="yellow", highlight=False, soft_wrap=True)


def _as_data(reproduction: "Reproduction", comparison: "RerunComparison") -> Mapping[str, Any]:
    recorded, accuracies = comparison.recorded, comparison.accuracies
    names = ("run_id", "identity", "study", "title", "status", "reason", "trainable", "seed")
    return {
        **{name: getattr(recorded, name) for name in names},
        "agrees": comparison.agrees,
        "failure": comparison.failure,
        "device": reproduction.config.device,
        "num_threads": reproduction.num_threads,
        "num_epochs": comparison.num_epochs,
        "num_metrics": comparison.num_metrics,
        "num_curves": comparison.num_curves,
        "differences": [{**dataclasses.asdict(each), "relative": each.relative} for each in comparison.differences],
        "only_in_run": comparison.only_recorded,
        "only_now": comparison.only_now,
        "final_accuracy": {"run": accuracies[0], "now": accuracies[1]} if accuracies else None,
        "unlike": {name: {"run": there, "now": here} for name, (there, here) in comparison.unlike.items()},
    }
