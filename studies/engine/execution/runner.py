"""Runs a study, or what is left of it: ledger, scheduler and tracker brought together."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import TrialState
from rich.console import Console

from studies.engine.binding.replicates import Replicate
from studies.engine.definition.study import Study
from studies.engine.errors import Problem, StudyError
from studies.engine.execution.budget import Halt
from studies.engine.execution.controller import StudyConductor, checkpoint_folder
from studies.engine.execution.progress import Progress, display
from studies.engine.execution.ray_tune import largest_node, nodes, ray_session, run_replicates
from studies.engine.ledger.driver_lock import StillHeld, only_driver
from studies.engine.ledger.ledger import (
    WITHDRAWN,
    Entry,
    Ledger,
    LedgerError,
    Outline,
    open_ledger,
    read_ledger,
)
from studies.engine.proposing.adaptive_search import SearchProposals, WarmStart
from studies.engine.proposing.proposals import FixedProposals, Past, Proposals
from studies.engine.proposing.tuning import TunedProposals
from studies.engine.proposing.warm_start import read_warm_start
from studies.engine.recording.mlflow_store import connect
from studies.engine.recording.tracker import MLFLOW_STATUS, Tracker
from studies.engine.recording.watchdog import watched
from trainables.training.checkpoints import CheckpointFolder

SECONDS_TO_DELIVER = 60.0
SECONDS_OF_SILENCE = 3.0


@dataclass(frozen=True)
class Outcome:
    """How a study stands when its driver leaves it."""

    num_replicates: int
    num_complete: int
    num_pruned: int
    """Stopped early by the study's pruner, as it was asked to."""
    num_failed: int
    failures: Mapping[str, str]
    """Reason by title."""
    undelivered: Sequence[str]
    """A reason for each record that did not reach MLflow."""
    halted: Halt | None = None
    """Why it ended before everything was trained, if it was for a reason of its own."""

    @property
    def is_whole(self) -> bool:
        """Whether everything asked for is there, or all that its budget allows."""
        if self.undelivered or self.num_failed:
            return False
        return not self.num_left or (self.halted is not None and self.halted.kind == "budget")

    @property
    def num_left(self) -> int:
        """Replicates that have not ended."""
        return self.num_replicates - self.num_complete - self.num_pruned - self.num_failed


def run_study(
    study: Study,
    console: Console,
    *,
    address: str | None,
    num_cpus: int | None,
    retry_failed: bool,
    write_report: Callable[[], tuple[Path, str]],
) -> Outcome:
    """Train every replicate that the ledger does not have; afterwards every record is in MLflow.

    ``write_report`` is called once MLflow has all records. It returns the folder to attach to the study run, and what it
    has found, as Markdown, for this run's description.

    Raises:
        StudyError: A store, the cluster or another driver of the same study stands in the way; nothing was trained.
    """
    with only_driver(study.stores) as still_held, watched(study.stores), ExitStack() as stack:
        warm = read_warm_start(study)
        entries = read_ledger(study.stores.ledger, study.stores.name, study.space)
        proposals = proposals_of(study, _past(study, entries, retry_failed=retry_failed), warm)
        first = proposals.next()
        if first:  # Ray first: if it cannot run them, nothing has been made yet
            stack.enter_context(ray_session(address, num_cpus, study.resources))
        client = connect(study.stores.tracking_uri)
        ledger = _opened_ledger(study, proposals)
        tracker = Tracker(client, study, proposals.planned(), proposals.notes())
        halted = None
        if first:
            tracker.attach_environment(nodes())
        try:
            _deliver_missing(ledger, tracker, study, proposals)
            if first:
                halted = _train(study, proposals, first, ledger, tracker, console, still_held, retry_failed=retry_failed)
            return _conclude(proposals, ledger, tracker, console, write_report, halted)
        except BaseException:
            tracker.end_study(proposals.planned(), proposals.notes(), "KILLED")
            raise
        finally:
            tracker.close(_patience_s(halted))


def _opened_ledger(study: Study, proposals: Proposals) -> Ledger:
    """The ledger, which knows what version of the study it is written by."""
    ledger = open_ledger(study.stores.ledger, study.stores.name, study.space)
    try:
        ledger.describe(study.content.digest, {replicate.identity for replicate in proposals.planned()})
        ledger.expect(proposals.total())
    except LedgerError as error:
        rule, repair = "the ledger must take records", "make room, or see to its database"
        raise StudyError([Problem("ledger", rule, str(error), repair)]) from None
    return ledger


def _patience_s(halted: Halt | None) -> float:
    """How long MLflow may take nothing; where the disk is full its own file has no room either, most likely."""
    return SECONDS_OF_SILENCE if halted and halted.kind == "storage" else SECONDS_TO_DELIVER


def _conclude(
    proposals: Proposals,
    ledger: Ledger,
    tracker: Tracker,
    console: Console,
    write_report: Callable[[], tuple[Path, str]],
    halted: Halt | None,
) -> Outcome:
    """Everything is delivered, as far as it can be, and the study's run has its status and its report."""
    outcome = dataclasses.replace(_outcome(ledger, proposals), halted=halted)
    with suppress(LedgerError):  # then the next driver does it
        ledger.expect(proposals.total())
        if not outcome.num_left:
            _withdraw(ledger, proposals)
    as_asked = not outcome.num_left or (halted is not None and halted.kind == "budget")
    tracker.end_study(proposals.planned(), proposals.notes(), "FINISHED" if as_asked else "KILLED")
    patience_s, not_reported = _patience_s(halted), list[str]()
    try:
        if _delivered(tracker, console, patience_s):
            not_reported = _attach_report(tracker, write_report)
    except KeyboardInterrupt:  # of a person who asked twice, while little was left to wait for
        patience_s, not_reported = 0.0, ["the report: interrupted"]
    return dataclasses.replace(outcome, undelivered=[*tracker.close(patience_s), *not_reported])


def proposals_of(study: Study, past: Past, warm: WarmStart) -> Proposals:
    """What a study trains, from where earlier drivers left it."""
    if study.search is not None:
        return SearchProposals(study, study.search, past, warm)
    if study.tuning is not None:
        return TunedProposals(study, study.tuning, past)
    return FixedProposals(study.replicates, past)


def _delivered(tracker: Tracker, console: Console, patience_s: float) -> bool:
    """Wait for the last records; say so if it takes longer than a person would think nothing of."""
    if tracker.flush(SECONDS_OF_SILENCE):
        return True
    console.print(f"delivering the last records to MLflow, until none is taken for {patience_s:g} s")
    return tracker.flush(patience_s)


def _attach_report(tracker: Tracker, write_report: Callable[[], tuple[Path, str]]) -> list[str]:
    try:
        tracker.attach_report(*write_report())
    except StudyError as error:  # MLflow went away between the last record and the report
        return [f"the report: {problem.value}" for problem in error.problems]
    except OSError as error:  # a full disk
        return [f"the report: {error}"]
    return []


def num_trained_parents(study: Study) -> int:
    """How many of a study's parents are trained already."""
    folders = [CheckpointFolder(checkpoint_folder(study, parent.identity)) for parent in study.parents]
    return sum(bool(folder.finished_reports()) for folder in folders)


def outlines(study: Study) -> tuple[int, list[Outline]]:
    """How many replicates a study will have in all, and those of them that its ledger has; nothing is written.

    Raises:
        StudyError: The ledger cannot be read, or MLflow's store where the study begins from earlier ones.
    """
    entries = read_ledger(study.stores.ledger, study.stores.name, study.space)
    proposals = proposals_of(study, _past(study, entries, retry_failed=False), read_warm_start(study))
    ours = [(replicate, entries[replicate.identity]) for replicate in proposals.planned() if replicate.identity in entries]
    return proposals.total(), [
        Outline(
            title=replicate.title,
            state=entry.state,
            values=entry.values,
            reason=entry.reason,
            levels=replicate.cell,
            tuned=replicate.tuned,
            seed=replicate.seed,
        )
        for replicate, entry in ours
    ]


def _past(study: Study, entries: Mapping[str, Entry], *, retry_failed: bool) -> Past:
    return Past(entries, lambda identity: CheckpointFolder(checkpoint_folder(study, identity)).reports(), retry_failed)


def _deliver_missing(ledger: Ledger, tracker: Tracker, study: Study, proposals: Proposals) -> None:
    """Bring MLflow up to the ledger, for what a killed driver or a dead server kept from it."""
    entries, statuses = ledger.entries(), tracker.statuses()
    for replicate in proposals.planned():
        entry = entries.get(replicate.identity)
        if entry is None or not entry.state.is_finished():
            continue
        status = MLFLOW_STATUS[entry.state]
        if statuses.get(replicate.identity) == status:
            continue
        folder = CheckpointFolder(checkpoint_folder(study, replicate.identity))
        if entry.state == TrialState.COMPLETE and not folder.finished_reports(weights_too=False):
            tracker.reject(
                replicate, "its reports are gone or damaged; bring the checkpoints back, or give the study another name"
            )
            continue
        tracker.begin(replicate)
        for report in folder.reports():
            tracker.report(replicate, report.as_dict())
        tracker.end(replicate, entry.state, entry.reason)


def _withdraw(ledger: Ledger, proposals: Proposals) -> None:
    """Nothing stays RUNNING for ever: what another version of the study left in flight is let go."""
    planned = {replicate.identity for replicate in proposals.planned()}
    running = [identity for identity, entry in ledger.entries().items() if entry.state == TrialState.RUNNING]
    for identity in running:
        if identity not in planned:
            ledger.fail(identity, WITHDRAWN)


def _train(
    study: Study,
    proposals: Proposals,
    first: Replicate,
    ledger: Ledger,
    tracker: Tracker,
    console: Console,
    still_held: StillHeld,
    *,
    retry_failed: bool,
) -> Halt | None:
    entries = ledger.entries()
    progress = Progress(proposals.total())
    for replicate in proposals.planned():
        if entry := entries.get(replicate.identity):
            progress.count(entry.state)
            progress.consider(replicate.title, entry.values)
    with display(console, progress) as shown:
        conductor = StudyConductor(
            study,
            proposals,
            first,
            ledger,
            tracker,
            progress,
            shown,
            node=largest_node(),
            still_held=still_held,
            retry_failed=retry_failed,
        )
        try:
            run_replicates(conductor)
        finally:
            conductor.leave()
            shown.refresh(force=True)
    return conductor.halted


def _outcome(ledger: Ledger, proposals: Proposals) -> Outcome:
    entries = ledger.entries()
    ours = [(replicate.title, entries[replicate.identity]) for replicate in proposals.planned() if replicate.identity in entries]
    states = Counter(entry.state for _, entry in ours)
    return Outcome(
        num_replicates=proposals.total(),
        num_complete=states[TrialState.COMPLETE],
        num_pruned=states[TrialState.PRUNED],
        num_failed=states[TrialState.FAIL],
        failures={title: entry.reason for title, entry in ours if entry.state == TrialState.FAIL},
        undelivered=(),
    )
