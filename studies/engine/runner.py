"""Runs a study, or what is left of it: ledger, scheduler and tracker brought together."""

import dataclasses
import fcntl
import os
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import TrialState
from rich.console import Console

from search_spaces.language.space import Cell
from studies.engine.adaptive import SearchProposals, WarmStart
from studies.engine.conductor import StudyConductor, checkpoint_folder
from studies.engine.ledger import WITHDRAWN, Entry, Ledger, check_ledger, file_of, open_ledger, read_ledger
from studies.engine.problems import Problem, StudyError
from studies.engine.progress import Progress, display
from studies.engine.proposals import FixedProposals, Past, Proposals
from studies.engine.replicates import Replicate
from studies.engine.scheduling import ray_session, run_replicates
from studies.engine.study import Stores, Study
from studies.engine.tracking import MLFLOW_STATUS, Tracker, connect
from studies.engine.tuning import TunedProposals
from studies.engine.warm_start import read_warm_start
from studies.run_record import ACCURACY
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

    @property
    def is_whole(self) -> bool:
        """Whether everything asked for is there."""
        return self.num_complete + self.num_pruned == self.num_replicates and not self.undelivered

    @property
    def num_left(self) -> int:
        """Replicates that have not ended."""
        return self.num_replicates - self.num_complete - self.num_pruned - self.num_failed


def check_stores(stores: Stores) -> None:
    """Find out, without making anything, that servers and databases answer and the storage can be written.

    Raises:
        StudyError: Whatever is wrong.
    """
    problems: list[Problem] = []
    folders = {"storage": stores.storage}
    for key, store in (("ledger", stores.ledger), ("tracking_uri", stores.tracking_uri)):
        if file := file_of(store):
            folders[key] = file.parent
    for key, folder in folders.items():
        try:
            tempfile.TemporaryFile(dir=_nearest_existing(folder)).close()
        except OSError as error:
            rule, repair = f"{key} must be in a folder that can be written", f"choose another with {key}: …"
            problems.append(Problem(key, rule, f"{folder} ({error.strerror})", repair))
    checks: list[Callable[[], object]] = [lambda: check_ledger(stores.ledger)]
    if not stores.tracking_uri.startswith("sqlite:"):
        checks.append(lambda: connect(stores.tracking_uri))
    for check in checks:
        try:
            check()
        except StudyError as error:
            problems += error.problems
    if problems:
        raise StudyError(problems)


def _nearest_existing(folder: Path) -> Path:
    return folder if folder.exists() else _nearest_existing(folder.parent)


def run_study(
    study: Study,
    console: Console,
    *,
    address: str | None,
    num_cpus: int | None,
    retry_failed: bool,
    write_report: Callable[[], Path],
) -> Outcome:
    """Train every replicate that the ledger does not have; afterwards every record is in MLflow.

    ``write_report`` is called once MLflow has all records, and returns the folder to attach to the study's parent run.

    Raises:
        StudyError: A store, the cluster or another driver of the same study stands in the way; nothing was trained.
    """
    with _only_driver(study), ExitStack() as stack:
        warm = read_warm_start(study)
        entries = read_ledger(study.stores.ledger, study.stores.name, study.space)
        proposals = proposals_of(study, _past(study, entries, retry_failed=retry_failed), warm)
        first = proposals.next()
        if first:  # Ray first: if it cannot run them, nothing has been made yet
            stack.enter_context(ray_session(address, num_cpus, study.resources))
        client = connect(study.stores.tracking_uri)
        ledger = open_ledger(study.stores.ledger, study.stores.name, study.space)
        tracker = Tracker(client, study, proposals.planned(), proposals.notes())
        try:
            _deliver_missing(ledger, tracker, study, proposals)
            if first:
                _train(study, proposals, first, ledger, tracker, console, retry_failed=retry_failed)
            outcome, not_reported = _outcome(ledger, proposals), []
            if not outcome.num_left:
                _withdraw(ledger, proposals)
            tracker.end_study(proposals.planned(), proposals.notes(), "KILLED" if outcome.num_left else "FINISHED")
            if _delivered(tracker, console):
                not_reported = _attach_report(tracker, write_report)
        except BaseException:
            tracker.end_study(proposals.planned(), proposals.notes(), "KILLED")
            raise
        finally:
            undelivered = tracker.close(SECONDS_TO_DELIVER)
    return dataclasses.replace(outcome, undelivered=[*undelivered, *not_reported])


def proposals_of(study: Study, past: Past, warm: WarmStart) -> Proposals:
    """What a study trains, from where earlier drivers left it."""
    if study.search is not None:
        return SearchProposals(study, study.search, past, warm)
    if study.tuning is not None:
        return TunedProposals(study, study.tuning, past)
    return FixedProposals(study.replicates, past)


def _delivered(tracker: Tracker, console: Console) -> bool:
    """Wait for the last records; say so if it takes longer than a person would think nothing of."""
    if tracker.flush(SECONDS_OF_SILENCE):
        return True
    console.print(f"delivering the last records to MLflow, for at most {SECONDS_TO_DELIVER:g} s")
    return tracker.flush(SECONDS_TO_DELIVER)


def _attach_report(tracker: Tracker, write_report: Callable[[], Path]) -> list[str]:
    try:
        tracker.attach_report(write_report())
    except StudyError as error:  # MLflow went away between the last record and the report
        return [f"the report: {problem.value}" for problem in error.problems]
    return []


def num_trained_parents(study: Study) -> int:
    """How many of a study's parents are trained already."""
    folders = [CheckpointFolder(checkpoint_folder(study, parent.identity)) for parent in study.parents]
    return sum(bool(folder.finished_reports()) for folder in folders)


@dataclass(frozen=True)
class Best:
    """The most accurate replicate so far."""

    title: str
    cell: Cell
    tuned: Cell
    seed: int
    accuracy: float


@dataclass(frozen=True)
class Standing:
    """How a study stands by the ledger."""

    num_replicates: int
    states: Mapping[str, int]
    """How many replicates are PLANNED, RUNNING, COMPLETE, PRUNED, or FAIL."""
    best: Best | None
    failures: Mapping[str, str]
    """Reason by title."""


def standing(study: Study) -> Standing:
    """How a study stands, also while it runs; nothing is written.

    Raises:
        StudyError: The ledger cannot be read, or MLflow's store where the study begins from earlier ones.
    """
    entries = read_ledger(study.stores.ledger, study.stores.name, study.space)
    proposals = proposals_of(study, _past(study, entries, retry_failed=False), read_warm_start(study))
    ours = [(replicate, entries[replicate.identity]) for replicate in proposals.planned() if replicate.identity in entries]
    states = Counter(entry.state.name for _, entry in ours)
    complete = [(entry.values[ACCURACY], replicate) for replicate, entry in ours if entry.state == TrialState.COMPLETE]
    accuracy, best = max(complete, key=lambda pair: pair[0], default=(0.0, None))
    planned = proposals.total() - len(ours)
    return Standing(
        num_replicates=proposals.total(),
        states={**states, **({"PLANNED": planned} if planned else {})},
        best=Best(best.title, best.cell, best.tuned, best.seed, accuracy) if best else None,
        failures={replicate.title: entry.reason for replicate, entry in ours if entry.state == TrialState.FAIL},
    )


def _past(study: Study, entries: Mapping[str, Entry], *, retry_failed: bool) -> Past:
    return Past(entries, lambda identity: CheckpointFolder(checkpoint_folder(study, identity)).reports(), retry_failed)


@contextmanager
def _only_driver(study: Study) -> Iterator[None]:
    """Hold the study's lock; the system frees it when this process dies, however it dies."""
    lock = study.stores.storage / "locks" / f"{study.stores.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            rule, repair = "a study has one driver at a time", "wait for it, or end it; then run the same command"
            raise StudyError([Problem(study.stores.name, rule, f"already run by {file.read().strip()}", repair)]) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


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
        if entry.state == TrialState.COMPLETE and not folder.finished_reports():
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
    *,
    retry_failed: bool,
) -> None:
    entries = ledger.entries()
    progress = Progress(proposals.total())
    for replicate in proposals.planned():
        if entry := entries.get(replicate.identity):
            progress.count(entry.state)
            progress.consider(replicate.title, entry.values)
    with display(console, progress) as shown:
        conductor = StudyConductor(study, proposals, first, ledger, tracker, progress, shown, retry_failed=retry_failed)
        try:
            run_replicates(conductor, study.resources)
        finally:
            conductor.leave()
            shown.refresh(force=True)


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
