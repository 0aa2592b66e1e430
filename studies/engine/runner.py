"""Runs a study, or what is left of it: ledger, scheduler and tracker brought together."""

import dataclasses
import fcntl
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import TrialState
from rich.console import Console

from studies.engine.ledger import WITHDRAWN, Entry, Ledger, check_ledger, open_ledger, read_ledger
from studies.engine.problems import Problem, StudyError
from studies.engine.progress import Display, Progress, display
from studies.engine.replicates import Parent, Replicate
from studies.engine.scheduling import ray_session, run_replicates
from studies.engine.study import Stores, Study
from studies.engine.tracking import Tracker, connect
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.data import default_data_folder

SECONDS_TO_DELIVER = 60.0
SECONDS_OF_SILENCE = 3.0

_MLFLOW_STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.FAIL: "FAILED"}


@dataclass(frozen=True)
class Outcome:
    """How a study stands when its driver leaves it."""

    num_replicates: int
    num_complete: int
    failures: Mapping[str, str]
    """Reason by title."""
    undelivered: Sequence[str]
    """A reason for each record that did not reach MLflow."""

    @property
    def is_whole(self) -> bool:
        """Whether everything asked for is there."""
        return self.num_complete == self.num_replicates and not self.undelivered

    @property
    def num_left(self) -> int:
        """Replicates that have neither completed nor failed."""
        return self.num_replicates - self.num_complete - len(self.failures)


def check_stores(stores: Stores) -> None:
    """Find out, without making anything, that servers and databases answer and the storage can be written.

    Raises:
        StudyError: Whatever is wrong.
    """
    problems: list[Problem] = []
    folders = {"storage": stores.storage}
    for key, url in (("ledger", stores.ledger_url), ("tracking_uri", stores.tracking_uri)):
        if url.startswith("sqlite:///"):
            folders[key] = Path(url.removeprefix("sqlite:///")).parent
    for key, folder in folders.items():
        try:
            tempfile.TemporaryFile(dir=_nearest_existing(folder)).close()
        except OSError as error:
            rule, repair = f"{key} must be in a folder that can be written", f"choose another with {key}: …"
            problems.append(Problem(key, rule, f"{folder} ({error.strerror})", repair))
    checks: list[Callable[[], object]] = [lambda: check_ledger(stores.ledger_url)]
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
        entries = read_ledger(study.stores.ledger_url, study.stores.name, study.factors)
        missing = [replicate for replicate in study.replicates if _is_missing(entries.get(replicate.identity), retry_failed)]
        unfinished = [r for r in study.replicates if r.identity in entries and not entries[r.identity].state.is_finished()]
        if missing or unfinished:  # Ray first: if it cannot run them, nothing has been made yet
            stack.enter_context(ray_session(address, num_cpus, study.resources))
        client = connect(study.stores.tracking_uri)
        ledger = open_ledger(study.stores.ledger_url, study.stores.name, study.factors)
        tracker = Tracker(client, study)
        ledger.add(missing, study.factors)
        try:
            _deliver_missing(ledger, tracker, study)
            if missing or unfinished:
                _train(study, ledger, tracker, console)
            outcome, not_reported = _outcome(ledger, study), []
            tracker.end_study("KILLED" if outcome.num_left else "FINISHED")
            if _delivered(tracker, console):
                not_reported = _attach_report(tracker, write_report)
        except BaseException:
            tracker.end_study("KILLED")
            raise
        finally:
            undelivered = tracker.close(SECONDS_TO_DELIVER)
    return dataclasses.replace(outcome, undelivered=[*undelivered, *not_reported])


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


def checkpoint_folder(study: Study, identity: str) -> Path:
    """Where a replicate keeps its checkpoints and, once finished, its reports."""
    return study.stores.storage / "checkpoints" / identity


def num_trained_parents(study: Study) -> int:
    """How many of a study's parents are trained already."""
    folders = [CheckpointFolder(checkpoint_folder(study, parent.identity)) for parent in study.parents]
    return sum(bool(folder.finished_reports()) for folder in folders)


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


def _is_missing(entry: Entry | None, retry_failed: bool) -> bool:
    """Whether a replicate has to be queued (again)."""
    return entry is None or (entry.state == TrialState.FAIL and (retry_failed or entry.reason == WITHDRAWN))


def _deliver_missing(ledger: Ledger, tracker: Tracker, study: Study) -> None:
    """Bring MLflow up to the ledger, for what a killed driver or a dead server kept from it."""
    entries, statuses = ledger.entries(), tracker.statuses()
    for replicate in study.replicates:
        entry = entries[replicate.identity]
        status = _MLFLOW_STATUS.get(entry.state)
        if status is None or statuses.get(replicate.identity) == status:
            continue
        folder = CheckpointFolder(checkpoint_folder(study, replicate.identity))
        if status == "FINISHED" and not folder.finished_reports():
            tracker.reject(
                replicate, "its reports are gone or damaged; bring the checkpoints back, or give the study another name"
            )
            continue
        tracker.begin(replicate)
        for report in folder.reports():
            tracker.report(replicate, report.as_dict())
        tracker.end(replicate, status, entry.reason)


def _train(study: Study, ledger: Ledger, tracker: Tracker, console: Console) -> None:
    entries = ledger.entries()
    planned = {replicate.identity: replicate for replicate in study.replicates}
    progress = Progress(len(planned))
    for identity, replicate in planned.items():
        entry = entries[identity]
        progress.done += entry.state == TrialState.COMPLETE
        progress.failed += entry.state == TrialState.FAIL
        progress.consider(replicate.title, entry.values)
    with display(console, progress) as shown:
        conductor = _StudyConductor(study, ledger, tracker, progress, shown)
        try:
            run_replicates(conductor, study.resources)
        finally:
            conductor.leave()
            shown.refresh(force=True)


class _StudyConductor:
    """Says what runs next and writes down what happened: first to the ledger, then to MLflow.

    A parent that is not trained yet runs before the replicates that need it, which are held back meanwhile. It is nobody's
    result: its folder is all that is kept of it.
    """

    def __init__(self, study: Study, ledger: Ledger, tracker: Tracker, progress: Progress, shown: Display) -> None:
        self._study, self._ledger, self._tracker = study, ledger, tracker
        self._progress, self._display = progress, shown
        self._planned = {replicate.identity: replicate for replicate in study.replicates}
        entries = dict(sorted(ledger.entries().items(), key=lambda item: item[1].number))
        left_running = {i: False for i, entry in entries.items() if entry.state == TrialState.RUNNING}
        waiting = {i: True for i, entry in entries.items() if entry.state == TrialState.WAITING}
        self._queue: dict[str, bool] = {**left_running, **waiting}
        """What is to be trained, in this order, and whether it has yet to be claimed from the ledger."""
        self._in_flight: dict[str, Replicate | Parent] = {}
        self._trained: set[str] = set()
        """Identities that are known to be."""
        failed = {i: entry.reason for i, entry in entries.items() if entry.state == TrialState.FAIL and i in self._planned}
        self._failures = {identity: (reason, "") for identity, reason in failed.items()}
        """Reason and traceback by identity, of parents too."""

    def next_assignment(self) -> dict[str, Any] | None:
        for identity in list(self._queue):
            replicate = self._planned.get(identity)
            if replicate is None:
                self._claim(identity)
                self._ledger.fail(identity, WITHDRAWN)
            elif (parent := replicate.parent) is None or self._is_trained(parent):
                self._claim(identity)
                return self._assign(replicate)
            elif parent.identity in self._failures:
                self._fail_with_parent(replicate, parent)
            elif parent.identity not in self._in_flight and parent.identity not in self._queue:
                return self._assign(parent)
        return None

    def holds_back(self) -> bool:
        return bool(self._queue)

    def _claim(self, identity: str) -> None:
        if self._queue.pop(identity):
            self._ledger.claim(identity)

    def _is_trained(self, parent: Parent) -> bool:
        if parent.identity in self._in_flight:
            return False
        if parent.identity not in self._trained:
            if not CheckpointFolder(checkpoint_folder(self._study, parent.identity)).finished_reports():
                return False
            self._trained.add(parent.identity)
        return True

    def _fail_with_parent(self, replicate: Replicate, parent: Parent) -> None:
        reason, traceback = self._failures[parent.identity]
        self._claim(replicate.identity)
        self._in_flight[replicate.identity] = replicate
        self._tracker.begin(replicate)
        self.failed(replicate.identity, f"its parent failed: {reason}", traceback)

    def _assign(self, what: Replicate | Parent) -> dict[str, Any]:
        self._in_flight[what.identity] = what
        config = dict(what.config)
        if config["data"].endswith(".npz"):  # a worker's own folder is another
            config["data"] = str(Path(config["data"]).expanduser().resolve())
        if config["device"] == "auto" and not self._study.resources.gpus:  # Ray has reserved no GPU
            config["device"] = "cpu"
        return {
            "identity": what.identity,
            "trainable": what.trainable,
            "config": config,
            "seed": what.seed,
            "data_digest": what.data_digest,
            "data_folder": str(default_data_folder()),
            "checkpoint_folder": str(checkpoint_folder(self._study, what.identity)),
        }

    def started(self, identity: str) -> None:
        what = self._in_flight.get(identity)
        if what is None:
            return
        if isinstance(what, Replicate):
            self._tracker.begin(what)
        self._progress.running[identity] = what.title

    def reported(self, identity: str, report: dict[str, Any]) -> None:
        what = self._in_flight.get(identity)
        if what is None:  # its process died after the last report, and was started again
            return
        final = report["epoch"] == report["num_epochs"]
        self._progress.running[identity] = f"{what.title} · epoch {report['epoch']}/{report['num_epochs']}"
        if isinstance(what, Replicate):
            if final:
                self._ledger.complete(identity, report["metrics"])
                self._progress.consider(what.title, report["metrics"])
            self._tracker.report(what, report)
        if final:
            self._trained.add(identity)
            self._end(what, "FINISHED")

    def failed(self, identity: str, reason: str, traceback: str = "") -> None:
        what = self._in_flight.get(identity)
        if what is None:
            return
        self._failures[identity] = (reason, traceback)
        if isinstance(what, Replicate):
            self._ledger.fail(identity, reason)
        self._end(what, "FAILED", reason, traceback)

    def _end(self, what: Replicate | Parent, status: str, reason: str = "", traceback: str = "") -> None:
        del self._in_flight[what.identity]
        self._progress.running.pop(what.identity, None)
        if isinstance(what, Replicate):
            self._tracker.end(what, status, reason, traceback)
            self._progress.ended(failed=status == "FAILED")
        self._display.refresh()

    def tick(self) -> None:
        self._display.refresh()

    def leave(self) -> None:
        """The scheduler has returned early: what is in flight stays RUNNING in the ledger, to be taken up again."""
        for identity, what in self._in_flight.items():
            if isinstance(what, Replicate) and identity in self._progress.running:
                self._tracker.end(what, "KILLED", "interrupted; run the study again to finish it")


def _outcome(ledger: Ledger, study: Study) -> Outcome:
    entries = ledger.entries()
    ours = {replicate.title: entries[replicate.identity] for replicate in study.replicates}
    return Outcome(
        num_replicates=len(ours),
        num_complete=sum(entry.state == TrialState.COMPLETE for entry in ours.values()),
        failures={title: entry.reason for title, entry in ours.items() if entry.state == TrialState.FAIL},
        undelivered=(),
    )
