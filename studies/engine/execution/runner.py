"""Runs a study, or what is left of it: brings ledger, proposals, Ray Tune and MLflow together."""

import dataclasses
import os
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
from studies.engine.execution.budget import StopReason
from studies.engine.execution.controller import StudyController, checkpoint_folder
from studies.engine.execution.progress import Progress, display
from studies.engine.execution.ray_session.ray_session import ray_session
from studies.engine.execution.ray_session.ray_watch import RayWatch
from studies.engine.execution.ray_tune import (
    SECONDS_BETWEEN_LOOKS_AT_RAY,
    check_feasible,
    largest_node,
    nodes,
    run_replicates,
)
from studies.engine.ledger.driver_lock import StillHeld, only_driver
from studies.engine.ledger.ledger import (
    SECONDS_OF_PATIENCE,
    WITHDRAWN,
    Ledger,
    LedgerEntry,
    LedgerError,
    open_ledger,
    read_ledger,
)
from studies.engine.ledger.left_aside import LeftAside, left_aside_in_words
from studies.engine.ledger.reading import ReplicateStatus, ledger_id
from studies.engine.proposing.adaptive_search import SearchProposals, WarmStart
from studies.engine.proposing.earlier_trials import Known, read_known, take_over
from studies.engine.proposing.proposals import FixedProposals, Proposals, StudyHistory
from studies.engine.proposing.tuning import TunedProposals
from studies.engine.recording.earlier_records import read_earlier_records
from studies.engine.recording.mlflow_store import connect
from studies.engine.recording.tracker import Tracker
from studies.engine.recording.watchdog import Watchdog, watched
from studies.plain_text import visible
from trainables.training.checkpoints import CheckpointFolder, remove_all_leftovers

SECONDS_TO_DELIVER = 60.0
"""How long MLflow may take no record before the driver gives up on the rest."""
SECONDS_TO_ASK_LEDGER = SECONDS_OF_PATIENCE + 30.0
"""How long the ledger may take for one answer. One that refuses is told earlier."""
SECONDS_OF_SILENCE = 3.0
"""How long a person waits for the last records without being told."""

WriteReport = Callable[[], tuple[Path, str]]
"""Writes the ablation summary: the folder of its files, and what it found as Markdown."""


@dataclass(frozen=True)
class RunOutcome:
    """How a study stands when its driver ends.

    Attributes:
        num_replicates: Replicates that the study asks for in all, as far as is known.
        num_complete: Replicates that trained to their end.
        num_pruned: Replicates that the study's pruner stopped early.
        num_failed: Replicates that failed.
        failures: The reason of each failure, by the replicate's title.
        undelivered: For each record that did not reach MLflow, the reason.
        stop_reason: Why the driver stopped before everything was trained; None if it did not.
    """

    num_replicates: int
    num_complete: int
    num_pruned: int
    num_failed: int
    failures: Mapping[str, str]
    undelivered: list[str] = dataclasses.field(default_factory=list)
    stop_reason: StopReason | None = None

    @property
    def num_left(self) -> int:
        """Replicates that are neither complete nor pruned nor failed."""
        return self.num_replicates - self.num_complete - self.num_pruned - self.num_failed

    @property
    def is_as_asked(self) -> bool:
        """Whether everything has been trained that the study asks for, or that its budget allows."""
        return not self.num_left or (self.stop_reason is not None and self.stop_reason.kind == "budget")

    @property
    def is_whole(self) -> bool:
        """Whether, beside that, nothing failed and every record is in MLflow."""
        return self.is_as_asked and not self.undelivered and not self.num_failed


def run_study(
    study: Study,
    console: Console,
    *,
    address: str | None,
    num_cpus: int | None,
    retry_failed: bool,
    write_report: WriteReport,
    before_training: Callable[[], Sequence[str]] = tuple,
) -> RunOutcome:
    """Train every replicate that the ledger does not have yet, and deliver every record to MLflow.

    Args:
        study: The study to run.
        console: Where progress is shown.
        address: Of the Ray cluster to run on; None for one on this machine.
        num_cpus: CPU cores of this machine to use; None for all.
        retry_failed: Whether replicates that failed earlier are trained again.
        write_report: Called once MLflow has all records; its files are attached to the study's run, and what it found goes into
            this run's description.
        before_training: Called only if there is something to train: what a person should know of it first, a sentence each.

    Raises:
        StudyError: A store or the cluster cannot be used, or another driver runs the study; nothing was trained.
    """
    with only_driver(study.stores) as still_held, watched(study.stores) as watchdog, ExitStack() as stack:
        known = read_known(study, _entries(study, console))
        proposals = proposals_of(study, _history(study, known.entries, retry_failed=retry_failed), known.warm_start)
        for note in (*known.warm_start.notes, *_left_aside(study, proposals, known.entries)):
            console.print(visible(note), style="yellow", highlight=False, soft_wrap=True)
        first = proposals.next()
        remove_all_leftovers(study.stores.checkpoints)
        if first:  # Ray first: if it cannot run them, nothing has been made yet
            watch = stack.enter_context(ray_session(address, num_cpus))
            check_feasible(study.resources)
            for warning in before_training():
                console.print(visible(f"warning: {warning}"), style="yellow", highlight=False, soft_wrap=True)
        client = connect(study.stores.tracking_uri)
        ledger = _open_ledger(study, proposals, known)
        tracker = Tracker(
            client, study, proposals.planned(), proposals.notes(), ledger_id=ledger.id, not_counted=known.not_counted
        )
        driver = _Driver(study, proposals, ledger, tracker, console)
        try:
            if first:
                tracker.attach_environment(nodes())
            driver.deliver_missing()
            if first:
                driver.train(first, still_held, _Surroundings(watch, watchdog, tracker, console), retry_failed=retry_failed)
            return driver.conclude(write_report)
        except BaseException:
            tracker.end_study(proposals.planned(), proposals.notes(), "KILLED")
            raise
        finally:
            tracker.close(driver.patience_s)


def proposals_of(study: Study, history: StudyHistory, warm_start: WarmStart) -> Proposals:
    """What a study trains, from where earlier drivers left it."""
    if study.search is not None:
        return SearchProposals(study, study.search, history, warm_start)
    if study.tuning is not None:
        return TunedProposals(study, study.tuning, history)
    return FixedProposals(study.replicates, history)


def replicate_statuses(study: Study) -> tuple[int, list[ReplicateStatus], list[str]]:
    """How many replicates a study will have in all, the status of those that its ledger has, and sentences on what else the
    ledger has; nothing is written.

    Raises:
        StudyError: The ledger cannot be read, or MLflow's store if the study starts from earlier studies.
    """
    known = read_known(study, read_ledger(study.stores.ledger, study.stores.name, study.space))
    proposals = proposals_of(study, _history(study, known.entries, retry_failed=False), known.warm_start)
    statuses = [
        ReplicateStatus(
            title=replicate.title,
            state=entry.state,
            values=entry.values,
            reason=entry.reason,
            levels=replicate.cell,
            tuned=replicate.tuned,
            seed=replicate.seed,
        )
        for replicate, entry in _begun(proposals, known.entries)
    ]
    return proposals.total(), statuses, _left_aside(study, proposals, known.entries)


def num_trained_source_networks(study: Study) -> int:
    """How many of a study's source networks are trained already."""
    folders = [CheckpointFolder(checkpoint_folder(study, source.identity)) for source in study.source_networks]
    return sum(bool(folder.finished_reports()) for folder in folders)


@dataclass
class _Surroundings:
    """The processes that a driver depends on while it trains."""

    watch: RayWatch
    watchdog: Watchdog
    tracker: Tracker
    console: Console
    _is_mlflow_away: bool = False
    _num_looks: int = 0
    """In a row at which the ledger was busy with the same question."""
    _asked_at: float | None = None

    def look(self, controller: StudyController) -> StopReason | None:
        """Tell what has ended or does not answer, and replace what can be; a reason to stop where the study cannot go on.

        Called twice a second. Looks are counted rather than seconds, since this process may have been stopped itself.
        """
        asked_at = controller.asking_ledger_since
        self._num_looks = self._num_looks + 1 if asked_at is not None and asked_at == self._asked_at else 0
        self._asked_at = asked_at
        if self._num_looks * SECONDS_BETWEEN_LOOKS_AT_RAY > SECONDS_TO_ASK_LEDGER:
            words = f"the ledger's database is frozen: it has not answered for {SECONDS_TO_ASK_LEDGER:g} s"
            self._say(f"{words}; run the same command again once it answers: finished epochs are kept")
            os._exit(1)  # an end in order would wait for the ledger too; the watchdog ends the runs
        if self.watchdog.replace_if_ended():
            self._say("the watchdog process has ended; another one has been started")
        held_up = self.tracker.held_up()
        if bool(held_up) != self._is_mlflow_away:
            self._is_mlflow_away = bool(held_up)
            self._say(
                f"MLflow takes no records ({held_up}): they wait, and the study goes on"
                if held_up
                else "MLflow takes records again"
            )
        trouble = self.watch.trouble()
        return StopReason("ray", trouble) if trouble else None

    def _say(self, words: str) -> None:
        self.console.print(words, style="yellow", highlight=False, soft_wrap=True)


@dataclass
class _Driver:
    """The one process that runs a study, once Ray and the stores are open; its methods are called in their order."""

    study: Study
    proposals: Proposals
    ledger: Ledger
    tracker: Tracker
    console: Console
    stop_reason: StopReason | None = None

    @property
    def patience_s(self) -> float:
        """How long MLflow may take nothing; if the disk is full, its file most likely has no room either."""
        is_storage = self.stop_reason is not None and self.stop_reason.kind == "storage"
        return SECONDS_OF_SILENCE if is_storage else SECONDS_TO_DELIVER

    def deliver_missing(self) -> None:
        """Give MLflow what the ledger has and a killed driver, or a dead server, kept from it."""
        for replicate, entry in _begun(self.proposals, self.ledger.entries()):
            if not entry.state.is_finished() or self.tracker.has_end(replicate.identity, entry.state, entry.end):
                continue
            folder = CheckpointFolder(checkpoint_folder(self.study, replicate.identity))
            if entry.state == TrialState.COMPLETE and not folder.finished_reports(weights_too=False):
                reason = "its reports are missing or damaged; restore its checkpoint folder, or give the study another name"
                self.tracker.reject(replicate, reason)
                continue
            self.tracker.begin(replicate, entry.begun_at_ms)
            for report in folder.reports():
                self.tracker.report(replicate, report.as_dict())
            self.tracker.end(replicate, entry.state, entry.reason, entry.end)

    def train(self, first: Replicate, still_held: StillHeld, surroundings: _Surroundings, *, retry_failed: bool) -> None:
        """Train what is proposed, from the ``first`` on, until nothing is left or there is a reason to stop."""
        progress = Progress(self.proposals.total())
        for replicate, entry in _begun(self.proposals, self.ledger.entries()):
            progress.count(entry.state)
            progress.consider(replicate.title, entry.values)
        with display(self.console, progress) as shown:
            controller = StudyController(
                self.study,
                self.proposals,
                first,
                self.ledger,
                self.tracker,
                shown,
                node=largest_node(),
                still_held=still_held,
                retry_failed=retry_failed,
            )
            try:
                run_replicates(controller, lambda: surroundings.look(controller))
            finally:
                controller.close()
                shown.refresh(force=True)
        self.stop_reason = controller.stop_reason

    def conclude(self, write_report: WriteReport) -> RunOutcome:
        """Deliver the last records, attach the report, and then set the status of the study's run: its record is whole."""
        proposals, tracker = self.proposals, self.tracker
        outcome = self._outcome()
        with suppress(LedgerError):  # then the next driver does it
            self.ledger.expect(proposals.total())
            if not outcome.num_left:
                self._withdraw()
        tracker.record(proposals.planned(), proposals.notes())
        patience_s, not_reported = self.patience_s, list[str]()
        try:
            if self._is_delivered():
                not_reported = self._attach_report(write_report)
        except KeyboardInterrupt:  # a second interrupt, while little was left to wait for
            patience_s, not_reported = 0.0, ["the report: interrupted"]
        tracker.end_study(proposals.planned(), proposals.notes(), "FINISHED" if outcome.is_as_asked else "KILLED")
        return dataclasses.replace(outcome, undelivered=[*tracker.close(patience_s), *not_reported])

    def _outcome(self) -> RunOutcome:
        ours = [(replicate.title, entry) for replicate, entry in _begun(self.proposals, self.ledger.entries())]
        states = Counter(entry.state for _, entry in ours)
        return RunOutcome(
            num_replicates=self.proposals.total(),
            num_complete=states[TrialState.COMPLETE],
            num_pruned=states[TrialState.PRUNED],
            num_failed=states[TrialState.FAIL],
            failures={title: entry.reason for title, entry in ours if entry.state == TrialState.FAIL},
            stop_reason=self.stop_reason,
        )

    def _withdraw(self) -> None:
        """Let nothing stay RUNNING for ever: fail what another version of the study file left in training."""
        planned = {replicate.identity for replicate in self.proposals.planned()}
        running = [identity for identity, entry in self.ledger.entries().items() if entry.state == TrialState.RUNNING]
        for identity in running:
            if identity not in planned:
                self.ledger.fail(identity, WITHDRAWN)

    def _is_delivered(self) -> bool:
        """Wait until MLflow has the last records, and say so if it takes longer than expected; False if it will not take them."""
        if self.tracker.flush(SECONDS_OF_SILENCE):
            return True
        words = f"writing the last records to MLflow; giving up once it has accepted none for {self.patience_s:g} s"
        self.console.print(words)
        return self.tracker.flush(self.patience_s)

    def _attach_report(self, write_report: WriteReport) -> list[str]:
        """Write the report and attach it to the study's run; the reasons if that was not possible."""
        try:
            self.tracker.attach_report(*write_report())
        except StudyError as error:  # MLflow went away between the last record and the report
            return [f"the report: {problem.value}" for problem in error.problems]
        except OSError as error:  # a full disk
            return [f"the report: {error}"]
        return []


def _entries(study: Study, console: Console) -> Mapping[str, LedgerEntry]:
    """The ledger's entries, to which what has ended in MLflow alone is added first: it was imported, or the ledger was lost.

    Raises:
        StudyError: The ledger cannot be reached, or MLflow's runs of the study are of another storage.
    """
    stores = study.stores
    entries = read_ledger(stores.ledger, stores.name, study.space)
    earlier = read_earlier_records(study, ledger_id(stores.ledger, stores.name), entries)
    if not earlier.ended:
        return entries
    ledger = open_ledger(stores.ledger, stores.name, study.space)
    try:
        earlier.take_over(ledger)
    except LedgerError as error:
        raise _unwritable(error) from None
    console.print(f"{len(earlier.ended)} replicates have ended in MLflow, and are not trained again", highlight=False)
    return ledger.entries()


def _history(study: Study, entries: Mapping[str, LedgerEntry], *, retry_failed: bool) -> StudyHistory:
    return StudyHistory(entries, lambda identity: CheckpointFolder(checkpoint_folder(study, identity)).reports(), retry_failed)


def _open_ledger(study: Study, proposals: Proposals, known: Known) -> Ledger:
    """The ledger, after it has taken over what counts of earlier versions of the study, and which version writes to it now."""
    ledger = open_ledger(study.stores.ledger, study.stores.name, study.space)
    try:
        take_over(ledger, known)
        files = [dataset.file for dataset in study.binder.datasets.values() if dataset.file]
        planned = {replicate.identity for replicate in proposals.planned()}
        ledger.describe(study.content.digest, planned, study.data_digests, files)
        ledger.expect(proposals.total())
    except LedgerError as error:
        raise _unwritable(error) from None
    return ledger


def _unwritable(error: LedgerError) -> StudyError:
    rule, repair = "the ledger must take records", "free some disk space, or look after its database"
    return StudyError([Problem("ledger", rule, str(error), repair)])


def notes_on_data(study: Study, entries: Mapping[str, LedgerEntry]) -> list[str]:
    """Sentences on those entries of a study's ledger that are of data that have changed since."""
    current = {"", *study.data_digests.values()}
    changed = [LeftAside(entry.data, entry.data_digest) for entry in entries.values() if entry.data_digest not in current]
    return left_aside_in_words(changed, study.data_digests)


def _left_aside(study: Study, proposals: Proposals, entries: Mapping[str, LedgerEntry]) -> list[str]:
    """Sentences on the entries that do not count; what a search knows of earlier trials has other sentences beside these."""
    if study.search:
        return notes_on_data(study, entries)
    planned = {replicate.identity for replicate in proposals.planned()}
    others = [LeftAside(entry.data, entry.data_digest) for identity, entry in entries.items() if identity not in planned]
    return left_aside_in_words(others, study.data_digests)


def _begun(proposals: Proposals, entries: Mapping[str, LedgerEntry]) -> list[tuple[Replicate, LedgerEntry]]:
    """Those replicates of a study that the ledger has, each with its entry."""
    planned = proposals.planned()
    return [(replicate, entries[replicate.identity]) for replicate in planned if replicate.identity in entries]
