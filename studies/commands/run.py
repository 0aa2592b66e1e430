"""``spikesweep run``: train what a study asks for and is not trained yet, then report."""

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from studies.commands.options import (
    JsonOption,
    NumCpusOption,
    RetryFailedOption,
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
from studies.plain_text import visible

if TYPE_CHECKING:
    from studies.engine.definition.study import Study
    from studies.engine.execution.runner import RunOutcome


def run(
    study: StudyArgument,
    overrides: SetOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Ray cluster to run on; auto is the one of this machine (default: this machine alone)."
        ),
    ] = None,
    num_cpus: NumCpusOption = None,
    retry_failed: RetryFailedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a study, or finish what is left of it.

    Trains every replicate that is not trained yet, records each in MLflow, prints the ablation summary and writes it as a
    report. Safe to repeat after any interruption: finished replicates are not trained again, and the others go on from their
    last checkpoint. Ctrl-C stops after the epochs in progress. Before it trains, it warns of networks whose spikes do not
    reach their output layer, as check does.

    With --json: num_replicates, num_complete, num_pruned, num_failed, num_left, stop_reason, failures, undelivered,
    num_source_networks, num_source_networks_trained.

    Exit codes: 0 all replicates are trained, or the study's budget is spent; 1 some failed, are left, or are not in MLflow; 2
    the input is wrong, and nothing was started.

    Example: spikesweep run quickstart --set seeds=12
    """
    from studies.engine.execution.preflight import open_study

    with problems_exit_2():
        loaded = open_study(study, all_overrides(overrides, storage, tracking_uri))
        # what takes seconds to import, and nobody waits for it who has to correct the file first
        from studies.commands.checking.check_page import source_networks_in_words
        from studies.commands.checking.first_batches import start_warnings, starts_of
        from studies.commands.checking.processor import processor_warnings
        from studies.commands.report import check_report_folder, write_report
        from studies.engine.execution.runner import run_study

        check_report_folder(loaded.stores)
        console = err if as_json else out
        out.words_when_closed = "standard output was closed: the study goes on without it, and status shows how far it is"
        if loaded.source_networks:
            console.print(source_networks_in_words(loaded), highlight=False)
        outcome = run_study(
            loaded,
            console,
            address=address,
            num_cpus=num_cpus,
            retry_failed=retry_failed,
            write_report=lambda: write_report(loaded.stores, loaded.labels, show=not as_json),
            before_training=lambda: [*processor_warnings(loaded), *start_warnings(loaded, starts_of(loaded))],
        )
    if as_json:
        print_json(_as_data(loaded, outcome))
    _tell_what_is_left(outcome)
    if outcome.stop_reason and outcome.stop_reason.kind == "ray":
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # the end of Python would wait for Ray's threads, and they for what is lost
    raise typer.Exit(0 if outcome.is_whole else 1)


def _as_data(study: "Study", outcome: "RunOutcome") -> dict[str, Any]:
    from studies.engine.execution.runner import num_trained_source_networks

    names = ("num_replicates", "num_complete", "num_pruned", "num_failed", "num_left", "stop_reason", "failures", "undelivered")
    sources = {
        "num_source_networks": len(study.source_networks),
        "num_source_networks_trained": num_trained_source_networks(study),
    }
    return {name: getattr(outcome, name) for name in names} | sources


def _tell_what_is_left(outcome: "RunOutcome") -> None:
    """What a person should do next, if all is not well."""
    from studies.engine.execution.budget import what_to_do

    if outcome.num_left:
        words = f"{outcome.num_left} replicates are left: {what_to_do(outcome.stop_reason)}"
        err.print(visible(words), style="yellow", soft_wrap=True)
    if outcome.num_failed:
        err.print(f"{outcome.num_failed} replicates failed; --retry-failed trains them again", style="red")
    if outcome.undelivered:
        reasons = "; ".join(dict.fromkeys(outcome.undelivered))
        words = f"{len(outcome.undelivered)} records did not reach MLflow ({reasons}): run the same command again to deliver them"
        err.print(visible(words), style="yellow")
