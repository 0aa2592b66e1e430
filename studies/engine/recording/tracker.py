"""Run records in MLflow: one parent run for the study, one child run a replicate.

Every run is found by its identity before it is made, and an epoch that is there already is not written again. What has come
together of a replicate while the writer was busy goes out in one request.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
from studies.engine.recording.logged_models import Models
from studies.engine.recording.mlflow_store import active_experiment, make_experiment, store_problem
from studies.engine.recording.replicate_runs import (
    DESCRIPTION,
    dataset_input,
    final_tags,
    metrics_of,
    params_of,
    table_texts,
    tags_of,
)
from studies.engine.recording.study_record import command, study_record
from studies.engine.recording.study_run import RUNNING, ParentRun
from studies.engine.recording.write_queue import Delivery
from studies.mlflow_access import find_experiment, of_kind, search_runs
from studies.run_record import StudyRecord

SECONDS_BETWEEN_PLANS = 30.0

MLFLOW_STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
"""MLflow's word for how a replicate ended; what a pruner stopped has a tag that says so."""


@dataclass
class _ChildRun:
    run_id: str
    status: str
    last_epoch: int
    has_params: bool


@dataclass(frozen=True)
class _End:
    state: TrialState | None
    reason: str
    traceback: str
    cost: Mapping[str, float]
    at_ms: int


@dataclass
class _Letter:
    """What is to be written of a replicate with the writer's next turn at it."""

    replicate: Replicate
    begun_at_ms: int
    reports: list[Mapping[str, Any]] = field(default_factory=list)
    end: _End | None = None


class Tracker:
    """The only writer of a study's runs. Methods return at once; the work is done in order by one thread."""

    def __init__(self, client: MlflowClient, study: Study, planned: Sequence[Replicate], notes: Sequence[str]) -> None:
        """Find or make the experiment and the parent run, and find the children that there are.

        ``planned`` are the replicates that the study has asked for so far, ``notes`` what is to be said of them.

        Raises:
            StudyError: The experiment or its artifacts cannot be used.
        """
        self._client, self._study = client, study
        self._models = Models(client, study)
        self._planned_at = time.monotonic()
        self._letters: dict[str, _Letter] = {}
        """By identity; the writer takes a letter away before it writes."""
        self._lock = threading.Lock()
        self._tried: set[str] = set()
        """Identities whose runs we have asked MLflow to make."""
        try:
            self._experiment_id = _experiment(client, study)
            children = search_runs(client, self._experiment_id, of_kind(run_record.KIND_REPLICATE, study.stores.name))
            self._children = {run.data.tags[run_record.IDENTITY]: _child(run) for run in children}
            self._parent = ParentRun(client, study, self._experiment_id)
            self._write_plan(study_record(study, planned, notes), RUNNING)
        except (mlflow.exceptions.MlflowException, OSError) as error:
            rule, repair = "MLflow's store must take runs and artifacts", "check its rights and its artifact location"
            raise StudyError([store_problem(study.stores.tracking_uri, rule, error, repair)]) from None
        self._delivery = Delivery()

    def statuses(self) -> Mapping[str, str]:
        """MLflow's status of every child run, by identity, as it was found or last written."""
        return {identity: child.status for identity, child in list(self._children.items())}

    def begin(self, replicate: Replicate) -> None:
        """The replicate runs (again)."""
        with self._lock:
            self._letter(replicate)

    def report(self, replicate: Replicate, report: Mapping[str, Any]) -> None:
        """An epoch is done; one that is in MLflow already is not written again."""
        with self._lock:
            self._letter(replicate).reports.append(report)

    def end(
        self,
        replicate: Replicate,
        state: TrialState | None,
        reason: str = "",
        traceback: str = "",
        cost: Mapping[str, float] | None = None,
    ) -> None:
        """The replicate has ended, and has cost so much; without a state it was interrupted."""
        with self._lock:
            self._letter(replicate).end = _End(state, reason, traceback, cost or {}, _now_ms())

    def _letter(self, replicate: Replicate) -> _Letter:
        """The replicate's letter, on its way to the writer; what comes after an end is a letter of its own."""
        letter = self._letters.get(replicate.identity)
        if letter is None or letter.end is not None:
            letter = _Letter(replicate, _now_ms())
            self._letters[replicate.identity] = letter
            self._delivery.put(replicate.identity, lambda: self._write(letter))
        return letter

    def plan(self, planned: Callable[[], Sequence[Replicate]], notes: Callable[[], Sequence[str]]) -> None:
        """The study may have asked for more: the study's record has it within half a minute."""
        if time.monotonic() - self._planned_at >= SECONDS_BETWEEN_PLANS:
            self._planned_at = time.monotonic()
            self._put_plan(planned(), notes(), RUNNING)

    def reject(self, replicate: Replicate, reason: str) -> None:
        """This replicate's records cannot be delivered; ``close`` says so."""
        self._delivery.reject(replicate.identity, f"{replicate.title}: {reason}")

    def end_study(self, planned: Sequence[Replicate], notes: Sequence[str], status: str) -> None:
        """The study stands still: its record has all that it asked for, and its parent run gets this status."""
        standing = (
            "all that was asked for has ended" if status == "FINISHED" else f"interrupted; `{command(self._study)}` goes on"
        )
        self._put_plan(planned, notes, standing)
        self._delivery.put("the study's end", lambda: self._client.set_terminated(self._parent.run_id, status))

    def attach_environment(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        """The parent run gets what the study is run with: packages, changes to the code, hardware, the cluster's ``nodes``."""
        self._delivery.put("the environment", lambda: self._parent.write_environment(nodes))

    def attach_report(self, folder: Path, findings: str) -> None:
        """The parent run gets the files of a report, and its description what was found, as Markdown."""
        self._delivery.put("the report", lambda: self._parent.write_report(folder, findings))

    def flush(self, patience_s: float) -> bool:
        """Wait for what was given so far; see ``Delivery.flush``."""
        return self._delivery.flush(patience_s)

    def close(self, patience_s: float) -> list[str]:
        """Wait for the rest and end; a reason for each record that was not delivered."""
        return self._delivery.close(patience_s)

    def _put_plan(self, planned: Sequence[Replicate], notes: Sequence[str], standing: str) -> None:
        record = study_record(self._study, planned, notes)
        self._delivery.put("the study's plan", lambda: self._write_plan(record, standing))

    def _write_plan(self, record: StudyRecord, standing: str) -> None:
        planned = {replicate.identity for replicate in record.replicates}
        counts = Counter(child.status for identity, child in self._children.items() if identity in planned)
        self._parent.write_plan(record, counts, standing)

    def _write(self, letter: _Letter) -> None:
        """A replicate's run is found or made, gets everything new in one request, and then its status."""
        replicate = letter.replicate
        with self._lock:  # from here on, what comes is for another letter
            if self._letters.get(replicate.identity) is letter:
                del self._letters[replicate.identity]
        child = self._children.get(replicate.identity) or self._find_or_make_child(replicate, letter.begun_at_ms)
        self._children[replicate.identity] = child
        reports = [report for report in letter.reports if report["epoch"] > child.last_epoch]
        if final := next((report for report in reports if report["epoch"] == report["num_epochs"]), None):
            self._write_tables(child.run_id, final["tables"])
        metrics = [metric for report in reports for metric in metrics_of(report)]
        if letter.end:
            metrics += [Metric(name, value, letter.end.at_ms, 0) for name, value in letter.end.cost.items()]
        params = [] if child.has_params else params_of(self._study, replicate)
        first = reports[0] if reports and not child.last_epoch else None
        tags = [*final_tags(final, first), *_end_tags(letter.end)]
        if letter.end and letter.end.state == TrialState.COMPLETE:
            tags += self._models.log(child.run_id, replicate)
        if metrics or params or tags:
            self._client.log_batch(child.run_id, metrics=metrics, params=params, tags=tags)
            child.has_params = True
            child.last_epoch = max([child.last_epoch, *(report["epoch"] for report in reports)])
        if letter.end:
            self._end(child, letter.end)
        elif child.status != "RUNNING":
            self._client.update_run(child.run_id, status="RUNNING")
            child.status = "RUNNING"

    def _find_or_make_child(self, replicate: Replicate, begun_at_ms: int) -> _ChildRun:
        """All children that were there are known; but an earlier try may have made this one and lost the answer."""
        if replicate.identity in self._tried:
            of_study = of_kind(run_record.KIND_REPLICATE, self._study.stores.name)
            known = f"tags.`{run_record.IDENTITY}` = '{replicate.identity}' and {of_study}"
            for run in self._client.search_runs([self._experiment_id], known, max_results=1):
                return self._with_data(run, replicate)
        self._tried.add(replicate.identity)
        tags = tags_of(self._study, replicate, self._parent.run_id, self._experiment_id)
        run = self._client.create_run(self._experiment_id, start_time=begun_at_ms, tags=tags, run_name=replicate.title)
        return self._with_data(run, replicate)

    def _with_data(self, run: Run, replicate: Replicate) -> _ChildRun:
        if data := dataset_input(self._study, replicate):
            self._client.log_inputs(run.info.run_id, [data])
        return _child(run)

    def _write_tables(self, run_id: str, tables: Mapping[str, list[Mapping[str, Any]]]) -> None:
        texts = table_texts(tables)
        for name, text in texts.items():
            self._client.log_text(run_id, text, name)
        if texts:
            logged = json.dumps([{"path": name, "type": "table"} for name in texts])
            self._client.set_tag(run_id, "mlflow.loggedArtifacts", logged)

    def _end(self, child: _ChildRun, end: _End) -> None:
        status = MLFLOW_STATUS[end.state] if end.state else "KILLED"
        if end.traceback:
            self._client.log_text(child.run_id, end.traceback, run_record.TRACEBACK_ARTIFACT)
        self._client.set_terminated(child.run_id, status, end.at_ms)
        child.status = status


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _end_tags(end: _End | None) -> list[RunTag]:
    tags = [RunTag(run_record.REASON, end.reason)] if end and end.reason else []
    return [*tags, RunTag(run_record.STATE, run_record.STATE_PRUNED)] if end and end.state == TrialState.PRUNED else tags


def _child(run: Run) -> _ChildRun:
    return _ChildRun(run.info.run_id, run.info.status, int(run.data.metrics.get("epoch", 0)), bool(run.data.params))


def _experiment(client: MlflowClient, study: Study) -> str:
    name = study.stores.experiment
    repair = "restore it there, or give the study another name (name: or experiment:)"
    if experiment := active_experiment(client, name, repair):
        found: str = experiment.experiment_id
        return found
    return make_experiment(client, name, study.stores)


def end_runs_of_the_dead(client: MlflowClient, study: str) -> None:
    """What a driver left RUNNING when it was killed is KILLED in MLflow too."""
    experiment_id = find_experiment(client, study)
    if experiment_id is None:
        return
    for kind in (run_record.KIND_REPLICATE, run_record.KIND_STUDY):
        query = f"attributes.status = 'RUNNING' and {of_kind(kind, study)}"
        for run in search_runs(client, experiment_id, query):
            tags = [RunTag(run_record.REASON, "its driver was killed; run the study again to finish it")]
            if description := run.data.tags.get(DESCRIPTION, "").replace(
                "** running: ", "** killed; run it again to finish it: "
            ):
                tags.append(RunTag(DESCRIPTION, description))
            client.log_batch(run.info.run_id, tags=tags)
            client.set_terminated(run.info.run_id, "KILLED")
