"""Writes a study's records to MLflow: one study run, and one replicate run for each replicate.

Every run is looked for by its identity before it is made. A run is written by several requests, and its driver may die between
any two of them. So its status and the time of its end, which are one write, come last: only where both are those of the ledger
is a run whole. To one that is not, the next driver gives everything again, except the metrics of epochs that MLflow has: a
metric would be there twice, while the other parts replace themselves. Updates of a replicate that arrive while the writer is
busy are sent together, in one request.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import studies.library_settings

import mlflow.exceptions
from mlflow import MlflowClient
from mlflow.entities import Metric, Run, RunTag
from optuna.trial import TrialState

from studies import run_record
from studies.engine.binding.replicates import Replicate
from studies.engine.definition.study import Study
from studies.engine.errors import StudyError
from studies.engine.ledger.ledger import ReplicateEnd
from studies.engine.recording.found_runs import find_runs
from studies.engine.recording.logged_models import Models
from studies.engine.recording.mlflow_store import find_or_make_experiment, store_problem
from studies.engine.recording.mlflow_ui_internals import LOGGED_TABLES, logged_tables, table_texts
from studies.engine.recording.replicate_runs import (
    DESCRIPTION,
    dataset_input,
    final_tags,
    metrics_of,
    params_of,
    tags_of,
)
from studies.engine.recording.study_record import command, study_record
from studies.engine.recording.study_run import RUNNING, StudyRun
from studies.engine.recording.write_queue import WriteQueue
from studies.plain_text import as_code
from studies.run_record import StudyRecord
from studies.stores.mlflow_access import find_experiment, of_kind, search_runs

SECONDS_BETWEEN_RECORDS = 30.0
COST = "cost/"
"""How the names of metrics begin that say what a replicate has cost."""

MLFLOW_STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
"""MLflow's status of a replicate that ended in a state; a pruned one also has the tag ``run_record.STATE``."""

OF_AN_END = {run_record.REASON, run_record.STATE, run_record.NO_MODEL}
"""Tags that say how a run ended; none of an earlier end stays when it goes on, or ends otherwise."""


@dataclass
class _ReplicateRun:
    """What MLflow has of a replicate."""

    run_id: str
    status: str
    ended_at_ms: int
    """0 while it has not ended."""
    last_epoch: int
    """All metrics up to this epoch are there."""
    has_data: bool
    """Whether its data set is there."""
    params: set[str]
    cost: Mapping[str, float]
    tags_of_end: set[str]
    """Of ``OF_AN_END``."""
    has_facts: bool = False
    """Whether this driver has written the facts of its first report."""


@dataclass(frozen=True)
class _End:
    state: TrialState | None
    reason: str
    details: ReplicateEnd


@dataclass
class _PendingUpdate:
    """What the writer will write of a replicate the next time it comes to it."""

    replicate: Replicate
    begun_at_ms: int
    reports: list[Mapping[str, Any]] = field(default_factory=list)
    end: _End | None = None


class Tracker:
    """The only writer of a study's runs. Its methods return at once; one thread writes, in the order of the calls."""

    def __init__(
        self,
        client: MlflowClient,
        study: Study,
        planned: Sequence[Replicate],
        notes: Sequence[str],
        *,
        ledger_id: str = "",
        not_counted: Sequence[str] = (),
    ) -> None:
        """Find or make the experiment and the study run, and find the replicate runs that exist.

        Args:
            client: Of the store to write to.
            study: Whose records they are.
            planned: The replicates that the study has asked for so far.
            notes: Sentences on them, for the study's record.
            ledger_id: What the study's ledger is known by, if there is one.
            not_counted: The identities of trials of earlier versions of the study's file that do not count.

        Raises:
            StudyError: The experiment or its artifacts cannot be used.
        """
        self._client, self._study, self._not_counted = client, study, not_counted
        self._models = Models(client, study)
        self._recorded_at = time.monotonic()
        self._pending: dict[str, _PendingUpdate] = {}
        """By identity; the writer removes an update from here before it writes it."""
        self._lock = threading.Lock()
        self._tried: set[str] = set()
        """Identities whose runs we have asked MLflow to make."""
        with self._refusals_told():
            self._experiment_id = find_or_make_experiment(client, study.stores)
            found = find_runs(client, study, self._experiment_id, planned)
            self._runs = {identity: _replicate_run(run) for identity, run in found.replicates.items()}
            self._study_run = StudyRun(client, study, self._experiment_id, found.study_run, ledger_id)
            self._correct_statuses()
            self._write_record(study_record(study, planned, notes, not_counted), RUNNING)
        self._queue = WriteQueue()

    def statuses(self) -> Mapping[str, str]:
        """MLflow's status of every replicate run, by identity, as it was found or last written."""
        return {identity: run.status for identity, run in list(self._runs.items())}

    def has_end(self, identity: str, state: TrialState, end: ReplicateEnd | None) -> bool:
        """Whether MLflow has all of a replicate that ended in this state. Where the ledger has no end, as those of earlier
        versions, the status decides.
        """
        run = self._runs.get(identity)
        if run is None or run.status != MLFLOW_STATUS[state]:
            return False
        if end:
            return run.ended_at_ms == end.at_ms
        return state != TrialState.PRUNED or run_record.STATE in run.tags_of_end  # else it is KILLED for another reason

    def begin(self, replicate: Replicate, at_ms: int = 0) -> None:
        """The replicate has begun at this time (0: now), or goes on."""
        with self._lock:
            self._update_of(replicate, at_ms)

    def report(self, replicate: Replicate, report: Mapping[str, Any]) -> None:
        """Write the report of an epoch, unless MLflow has it."""
        with self._lock:
            self._update_of(replicate).reports.append(report)

    def end(self, replicate: Replicate, state: TrialState | None, reason: str = "", details: ReplicateEnd | None = None) -> None:
        """The replicate has ended with this state, or was interrupted (None)."""
        with self._lock:
            self._update_of(replicate).end = _End(state, reason, details or ReplicateEnd.now())

    def _update_of(self, replicate: Replicate, begun_at_ms: int = 0) -> _PendingUpdate:
        """The replicate's update that waits for the writer; what arrives after an end belongs to an update of its own."""
        update = self._pending.get(replicate.identity)
        if update is None or update.end is not None:
            update = _PendingUpdate(replicate, begun_at_ms or time.time_ns() // 1_000_000)
            self._pending[replicate.identity] = update
            self._queue.put(replicate.identity, lambda: self._write(update))
        return update

    def update_record(self, planned: Callable[[], Sequence[Replicate]], notes: Callable[[], Sequence[str]]) -> None:
        """Write the study's record again, at most every half minute: the study may have asked for more replicates."""
        if time.monotonic() - self._recorded_at >= SECONDS_BETWEEN_RECORDS:
            self.record(planned(), notes())

    def record(self, planned: Sequence[Replicate], notes: Sequence[str]) -> None:
        """Write the study's record again, with all that it has asked for so far."""
        self._recorded_at = time.monotonic()
        self._put_record(planned, notes, RUNNING)

    def reject(self, replicate: Replicate, reason: str) -> None:
        """The replicate's records cannot be written; ``close`` will return this reason."""
        self._queue.reject(replicate.identity, f"{replicate.title}: {reason}")

    def end_study(self, planned: Sequence[Replicate], notes: Sequence[str], status: str) -> None:
        """The study has ended or was interrupted: its record gets all that it asked for, and its run MLflow's ``status``."""
        status_in_words = (
            "all that was asked for has ended"
            if status == "FINISHED"
            else f"interrupted; {as_code(command(self._study))} goes on"
        )
        self._put_record(planned, notes, status_in_words)
        self._queue.put("the study's end", lambda: self._client.set_terminated(self._study_run.run_id, status))

    def attach_environment(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        """Attach to the study run what it runs with: packages, changes to the code, hardware, the cluster's ``nodes``. Waits
        until it is written, since no later driver could tell it.

        Raises:
            StudyError: The artifacts cannot be used.
        """
        with self._refusals_told():
            self._study_run.write_environment(nodes)

    def attach_report(self, folder: Path, findings: str) -> None:
        """Attach the files of a report to the study run, and put ``findings``, which are Markdown, into its description."""
        self._queue.put("the report", lambda: self._study_run.write_report(folder, findings))

    def held_up(self) -> str:
        """Why MLflow has taken no record for a while, though some wait; empty if it takes them."""
        return self._queue.held_up()

    def flush(self, patience_s: float) -> bool:
        """Wait until all that was given so far is written; see ``WriteQueue.flush``."""
        return self._queue.flush(patience_s)

    def close(self, patience_s: float) -> list[str]:
        """Wait until all is written, and end. Returns a reason for each record that was not delivered."""
        return self._queue.close(patience_s)

    def _put_record(self, planned: Sequence[Replicate], notes: Sequence[str], status_in_words: str) -> None:
        record = study_record(self._study, planned, notes, self._not_counted)
        self._queue.put("the study's record", lambda: self._write_record(record, status_in_words))

    def _write_record(self, record: StudyRecord, status_in_words: str) -> None:
        planned = {replicate.identity for replicate in record.replicates}
        counts = Counter(run.status for identity, run in self._runs.items() if identity in planned)
        self._study_run.write_record(record, counts, status_in_words)

    @contextmanager
    def _refusals_told(self) -> Iterator[None]:
        try:
            yield
        except (mlflow.exceptions.MlflowException, OSError) as error:
            rule, repair = "MLflow's store must take runs and artifacts", "check its rights and its artifact location"
            raise StudyError([store_problem(self._study.stores.tracking_uri, rule, error, repair)]) from None

    def _correct_statuses(self) -> None:
        """Set runs of a killed driver from RUNNING to KILLED, where the watchdog did not: this driver may take up only some of
        them. A finished run has no reason; earlier versions left some.
        """
        for run in self._runs.values():
            if run.status == "RUNNING":
                _end_killed(self._client, run.run_id)
                run.status, run.tags_of_end = "KILLED", run.tags_of_end | {run_record.REASON}
            elif run.status == "FINISHED":
                self._remove_tags(run, run.tags_of_end & {run_record.REASON})
                run.tags_of_end -= {run_record.REASON}

    def _write(self, update: _PendingUpdate) -> None:
        """Find or make the replicate's run, write everything new in one request, and then the run's status."""
        replicate = update.replicate
        with self._lock:  # what arrives from here on belongs to another update
            if self._pending.get(replicate.identity) is update:
                del self._pending[replicate.identity]
        run = self._runs.get(replicate.identity) or self._find_or_make_run(replicate, update.begun_at_ms)
        self._runs[replicate.identity] = run
        if not update.end and run.status != "RUNNING":
            self._client.update_run(run.run_id, status="RUNNING")
            run.status = "RUNNING"
        if not run.has_data and (data := dataset_input(self._study, replicate)):
            self._client.log_inputs(run.run_id, [data])
        run.has_data = True
        final = next((report for report in update.reports if report["epoch"] == report["num_epochs"]), None)
        if final:
            self._write_tables(run.run_id, final["tables"])
        new = [report for report in update.reports if report["epoch"] > run.last_epoch]
        metrics = [metric for report in new for metric in metrics_of(report)]
        if update.end:
            at_ms, cost = update.end.details.at_ms, update.end.details.cost.items()
            metrics += [Metric(name, value, at_ms, 0) for name, value in cost if run.cost.get(name) != value]
        first = update.reports[0] if update.reports and not run.has_facts else None
        tags = [*final_tags(replicate, final, first), *_end_tags(update.end)]
        if update.end and update.end.state == TrialState.COMPLETE:
            tags += self._models.log(run.run_id, replicate)
        params = [] if run.has_facts else params_of(self._study, replicate)
        params = [param for param in params if param.key not in run.params]
        if metrics or params or tags:
            self._client.log_batch(run.run_id, metrics=metrics, params=params, tags=tags)
            run.last_epoch = max([run.last_epoch, *(report["epoch"] for report in new)])
            run.params |= {param.key for param in params}
        run.has_facts = run.has_facts or bool(update.reports)
        tags_of_end = OF_AN_END & {tag.key for tag in tags}
        self._remove_tags(run, run.tags_of_end - tags_of_end)
        run.tags_of_end = tags_of_end
        if update.end:
            self._end(run, update.end)

    def _find_or_make_run(self, replicate: Replicate, begun_at_ms: int) -> _ReplicateRun:
        """All runs that existed at the start are known; but an earlier try may have made this one and not received the answer."""
        if replicate.identity in self._tried:
            of_study = of_kind(run_record.KIND_REPLICATE, self._study.stores.name)
            known = f"tags.`{run_record.IDENTITY}` = '{replicate.identity}' and {of_study}"
            for run in self._client.search_runs([self._experiment_id], known, max_results=1):
                return _replicate_run(run)
        self._tried.add(replicate.identity)
        tags = tags_of(self._study, replicate, self._study_run.run_id, self._experiment_id)
        run = self._client.create_run(self._experiment_id, start_time=begun_at_ms, tags=tags, run_name=replicate.title)
        return _replicate_run(run)

    def _write_tables(self, run_id: str, tables: Mapping[str, list[Mapping[str, Any]]]) -> None:
        texts = table_texts(tables)
        for name, text in texts.items():
            self._client.log_text(run_id, text, name)
        if texts:
            self._client.set_tag(run_id, LOGGED_TABLES, logged_tables(texts))

    def _remove_tags(self, run: _ReplicateRun, names: set[str]) -> None:
        for name in names:
            try:
                self._client.delete_tag(run.run_id, name)
            except mlflow.exceptions.MlflowException as error:  # removed by a try of which no answer was heard, or by a person
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise

    def _end(self, run: _ReplicateRun, end: _End) -> None:
        status = MLFLOW_STATUS[end.state] if end.state else "KILLED"
        if end.details.traceback:
            self._client.log_text(run.run_id, end.details.traceback, run_record.TRACEBACK_ARTIFACT)
        self._client.set_terminated(run.run_id, status, end.details.at_ms)
        run.status, run.ended_at_ms = status, end.details.at_ms


def _end_tags(end: _End | None) -> list[RunTag]:
    tags = [RunTag(run_record.REASON, end.reason)] if end and end.reason else []
    return [*tags, RunTag(run_record.STATE, run_record.STATE_PRUNED)] if end and end.state == TrialState.PRUNED else tags


def _replicate_run(run: Run) -> _ReplicateRun:
    return _ReplicateRun(
        run_id=run.info.run_id,
        status=run.info.status,
        ended_at_ms=run.info.end_time or 0,
        last_epoch=int(run.data.metrics.get("epoch", 0)),
        has_data=bool(run.inputs and run.inputs.dataset_inputs),
        params=set(run.data.params),
        cost={name: value for name, value in run.data.metrics.items() if name.startswith(COST)},
        tags_of_end=OF_AN_END & run.data.tags.keys(),
    )


def end_runs_of_killed_driver(client: MlflowClient, study: str) -> None:
    """Set the runs of a study whose driver was killed from RUNNING to KILLED; MLflow does not do so itself."""
    experiment_id = find_experiment(client, study)
    if experiment_id is None:
        return
    for kind in (run_record.KIND_REPLICATE, run_record.KIND_STUDY):
        query = f"attributes.status = 'RUNNING' and {of_kind(kind, study)}"
        for run in list(search_runs(client, experiment_id, query)):  # all pages first: ended runs move those behind them forward
            description = run.data.tags.get(DESCRIPTION, "")
            _end_killed(client, run.info.run_id, description.replace("** running: ", "** killed; run it again to finish it: "))


def _end_killed(client: MlflowClient, run_id: str, description: str = "") -> None:
    tags = [RunTag(run_record.REASON, "its driver was killed; run the study again to finish it")]
    client.log_batch(run_id, tags=[*tags, RunTag(DESCRIPTION, description)] if description else tags)
    client.set_terminated(run_id, "KILLED")
