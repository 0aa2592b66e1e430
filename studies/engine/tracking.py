"""Run records to MLflow: one parent run for the study, one child run a replicate.

A thread of its own does the writing, in order, so that a slow server never holds up the study; while the server is away
it tries again. What it could not deliver by the end is delivered when the study is run again: a replicate's reports
lie beside its checkpoints, and every run is found by its identity before it is made.
"""

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.language.space import Levels, Range
from studies import run_record
from studies.engine import environment
from studies.engine.problems import Problem, StudyError, mask_credentials
from studies.engine.replicates import Replicate
from studies.engine.study import Study, domain_in_words
from studies.run_record import PlannedReplicate, StudyRecord

environment.settle_libraries()

import mlflow.exceptions  # noqa: E402  # after its settings
from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Experiment, Metric, Param, Run, RunTag  # noqa: E402
from optuna.trial import TrialState  # noqa: E402

logging.getLogger("mlflow").setLevel(logging.ERROR)
logging.getLogger("alembic").setLevel(logging.ERROR)
logging.getLogger("urllib3").setLevel(logging.ERROR)  # an outage is ours to bear, try after try

PASSING_ERRORS = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"}
SECONDS_BETWEEN_TRIES = 2.0
SECONDS_BETWEEN_PLANS = 30.0
PAGE_SIZE = 1000

MLFLOW_STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
"""MLflow's word for how a replicate ended; what a pruner stopped has a tag that says so."""


_Task = tuple[str, Callable[[], object]]
"""Whose record it is (an identity, or what a person would call it), and the writing of it."""


@dataclass
class _ChildRun:
    run_id: str
    status: str
    last_epoch: int
    has_params: bool


def connect(uri: str) -> MlflowClient:
    """A client of a tracking store that has answered.

    Raises:
        StudyError: It did not.
    """
    try:
        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    except Exception as error:  # noqa: BLE001  # every store has its own kinds of error
        reason = mask_credentials(str(error).splitlines()[0])
        rule, repair = (
            "the tracking server must answer",
            "start it, or change tracking_uri (--tracking-uri, $MLFLOW_TRACKING_URI)",
        )
        raise StudyError([Problem("tracking_uri", rule, f"{mask_credentials(uri)} ({reason})", repair)]) from None
    return client


class Tracker:
    """The only writer of a study's runs. Methods return at once; the work is done in order by one thread."""

    def __init__(self, client: MlflowClient, study: Study, planned: Sequence[Replicate], notes: Sequence[str]) -> None:
        """Find or make the experiment and the parent run, and find the children that there are.

        ``planned`` are the replicates that the study has asked for so far, ``notes`` what is to be said of them.

        Raises:
            StudyError: The experiment or its artifacts cannot be used.
        """
        self._client, self._study = client, study
        self._planned_at = time.monotonic()
        self._rejections: dict[str, str] = {}
        try:
            self._experiment_id = _experiment(client, study)
            self._parent = self._find_or_make_parent()
            self._write_plan(_study_record(study, planned, notes))
            self._children = {run.data.tags[run_record.IDENTITY]: _child(run) for run in self._find_children()}
        except (mlflow.exceptions.MlflowException, OSError) as error:
            rule, repair = "MLflow's store must take runs and artifacts", "check its rights and its artifact location"
            value = mask_credentials(f"{study.stores.tracking_uri} ({str(error).splitlines()[0]})")
            raise StudyError([Problem("tracking_uri", rule, value, repair)]) from None
        self._tasks: queue.Queue[_Task | None] = queue.Queue()
        self._writing = ""
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def statuses(self) -> Mapping[str, str]:
        """MLflow's status of every child run, by identity, as it was found or last written."""
        return {identity: child.status for identity, child in list(self._children.items())}

    def begin(self, replicate: Replicate) -> None:
        """The replicate runs (again)."""
        self._tasks.put((replicate.identity, lambda: self._begin(replicate)))

    def report(self, replicate: Replicate, report: Mapping[str, Any]) -> None:
        """An epoch is done: all its metrics in one request; an epoch that is there already is not written again."""
        self._tasks.put((replicate.identity, lambda: self._report(replicate, report)))

    def end(self, replicate: Replicate, state: TrialState | None, reason: str = "", traceback: str = "") -> None:
        """The replicate has ended; without a state it was interrupted."""
        self._tasks.put((replicate.identity, lambda: self._end(replicate, state, reason, traceback)))

    def plan(self, planned: Callable[[], Sequence[Replicate]], notes: Callable[[], Sequence[str]]) -> None:
        """The study may have asked for more: the study's record has it within half a minute."""
        if time.monotonic() - self._planned_at >= SECONDS_BETWEEN_PLANS:
            self._planned_at = time.monotonic()
            record = _study_record(self._study, planned(), notes())
            self._tasks.put(("the study's plan", lambda: self._write_plan(record)))

    def reject(self, replicate: Replicate, reason: str) -> None:
        """This replicate's records cannot be delivered; ``close`` says so."""
        self._rejections[replicate.identity] = f"{replicate.title}: {reason}"

    def end_study(self, planned: Sequence[Replicate], notes: Sequence[str], status: str) -> None:
        """The study stands still: its record has all that it asked for, and its parent run gets this status."""
        record = _study_record(self._study, planned, notes)
        self._tasks.put(("the study's plan", lambda: self._write_plan(record)))
        self._tasks.put(("the study's end", lambda: self._client.set_terminated(self._parent, status)))

    def attach_report(self, folder: Path) -> None:
        """The parent run gets the files of a report."""
        artifacts = run_record.REPORT_ARTIFACTS
        self._tasks.put(("the report", lambda: self._client.log_artifacts(self._parent, str(folder), artifacts)))

    def close(self, timeout_s: float) -> list[str]:
        """Wait until all is delivered, at most so long; a reason for each write that was not."""
        self._tasks.put(None)
        self._thread.join(timeout_s)
        late = [self._writing, *(task[0] for task in list(self._tasks.queue) if task)] if self._thread.is_alive() else []
        self._given_up.set()
        return [*self._rejections.values(), *("no answer in time" for owner in late if owner)]

    def flush(self, timeout_s: float) -> bool:
        """Wait until what was given so far is delivered, at most so long; whether it was."""
        delivered = threading.Event()
        self._tasks.put(("", delivered.set))
        return delivered.wait(timeout_s)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            owner, write = task
            self._writing = owner
            # after a rejection nothing more of that replicate is written, so that the next driver finds it unfinished
            while owner not in self._rejections and not self._given_up.is_set():
                try:
                    write()
                except Exception as error:  # noqa: BLE001  # artifact stores have their own kinds
                    if _is_passing(error):
                        time.sleep(SECONDS_BETWEEN_TRIES)
                        continue
                    self._rejections[owner] = mask_credentials(f"{owner}: {type(error).__name__}: {error}")
                break

    def _find_or_make_parent(self) -> str:
        study = self._study
        found = self._client.search_runs(
            [self._experiment_id],
            f"tags.`{run_record.KIND}` = '{run_record.KIND_STUDY}' and {self._of_this_study()}",
            max_results=1,
        )
        tags = {
            run_record.KIND: run_record.KIND_STUDY,
            run_record.STUDY: study.stores.name,
            "mlflow.note.content": f"{study.question}\n\n{_design_in_words(study)}",
            **_code_tags(study),
        }
        if found:
            run_id: str = found[0].info.run_id
            self._client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
            self._client.update_run(run_id, status="RUNNING")
        else:
            run_id = self._client.create_run(self._experiment_id, tags=tags, run_name=study.stores.name).info.run_id
        self._client.log_text(run_id, study.text, run_record.STUDY_FILE_ARTIFACT)
        return run_id

    def _write_plan(self, record: StudyRecord) -> None:
        self._client.log_text(self._parent, json.dumps(record.as_dict()), run_record.STUDY_ARTIFACT)

    def _find_children(self) -> list[Run]:
        children = f"tags.`{run_record.KIND}` = '{run_record.KIND_REPLICATE}'"
        return search_all_runs(self._client, self._experiment_id, f"{children} and {self._of_this_study()}")

    def _of_this_study(self) -> str:
        return f"tags.`{run_record.STUDY}` = '{self._study.stores.name}'"

    def _begin(self, replicate: Replicate) -> None:
        child = self._children.get(replicate.identity) or self._find_or_make_child(replicate)
        self._children[replicate.identity] = child
        if not child.has_params:
            configuration = self._study.binder.configuration(replicate.cell, replicate.tuned)
            num_parameters = configuration.footprint.num_parameters
            params = {**replicate.config, "seed": replicate.seed, "num_parameters": num_parameters}
            self._client.log_batch(child.run_id, params=[Param(name, str(value)) for name, value in params.items()])
            child.has_params = True
        if child.status != "RUNNING":
            self._client.update_run(child.run_id, status="RUNNING")
            child.status = "RUNNING"

    def _find_or_make_child(self, replicate: Replicate) -> _ChildRun:
        """Look before making: an earlier try may have made the run and lost the answer."""
        identity = f"tags.`{run_record.IDENTITY}` = '{replicate.identity}'"
        for run in self._client.search_runs([self._experiment_id], f"{identity} and {self._of_this_study()}", max_results=1):
            return _child(run)
        tags = {
            run_record.KIND: run_record.KIND_REPLICATE,
            run_record.STUDY: self._study.stores.name,
            run_record.TRAINABLE: replicate.trainable,
            run_record.IDENTITY: replicate.identity,
            run_record.ROLE: replicate.role,
            run_record.LEVELS: json.dumps(replicate.cell),
            run_record.SEED: str(replicate.seed),
            run_record.CONFIG: json.dumps(replicate.config),
            run_record.DATA_DIGEST: replicate.data_digest,
            "mlflow.parentRunId": self._parent,
            **({run_record.PARENT: replicate.parent.identity} if replicate.parent else {}),
            **({run_record.TUNED: json.dumps(replicate.tuned)} if replicate.tuned else {}),
            **_code_tags(self._study),
        }
        return _child(self._client.create_run(self._experiment_id, tags=tags, run_name=replicate.title))

    def _report(self, replicate: Replicate, report: Mapping[str, Any]) -> None:
        child, epoch = self._children[replicate.identity], report["epoch"]
        if epoch <= child.last_epoch:
            return
        timestamp = report["timestamp_ms"]
        metrics = [Metric(name, value, timestamp, epoch) for name, value in report["metrics"].items()]
        facts: list[RunTag] = []
        if epoch == report["num_epochs"]:
            facts = [RunTag(run_record.FACT + name, text) for name, text in report["facts"].items()]
            self._write_tables(child.run_id, report["tables"])
            curves = report["curves"].items()
            metrics += [Metric(name, value, timestamp, t) for name, curve in curves for t, value in enumerate(curve, 1)]
        metrics.append(
            Metric("epoch", epoch, timestamp, epoch)
        )  # last: MLflow splits more than 1,000, and this one says all is there
        self._client.log_batch(child.run_id, metrics=metrics, tags=facts)
        child.last_epoch = epoch

    def _write_tables(self, run_id: str, tables: Mapping[str, list[Mapping[str, Any]]]) -> None:
        """As MLflow's ``log_table`` would, whose pages show them as tables; but that one appends if it is tried again."""
        for name, rows in tables.items():
            content = {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}
            self._client.log_text(run_id, json.dumps(content), f"{name}.json")
        if tables:
            logged = json.dumps([{"path": f"{name}.json", "type": "table"} for name in tables])
            self._client.set_tag(run_id, "mlflow.loggedArtifacts", logged)

    def _end(self, replicate: Replicate, state: TrialState | None, reason: str, traceback: str) -> None:
        child = self._children[replicate.identity]
        status = MLFLOW_STATUS[state] if state else "KILLED"
        if reason:
            self._client.set_tag(child.run_id, run_record.REASON, reason)
        if state == TrialState.PRUNED:
            self._client.set_tag(child.run_id, run_record.STATE, run_record.STATE_PRUNED)
        if traceback:
            self._client.log_text(child.run_id, traceback, run_record.TRACEBACK_ARTIFACT)
        self._client.set_terminated(child.run_id, status)
        child.status = status


def _is_passing(error: Exception) -> bool:
    """Whether the same write may succeed later: the store is away or busy."""
    if isinstance(error, mlflow.exceptions.MlflowException):
        return error.error_code in PASSING_ERRORS
    return isinstance(error, OSError) and not isinstance(error, PermissionError | FileNotFoundError)


def search_all_runs(client: MlflowClient, experiment_id: str, query: str) -> list[Run]:
    """All runs of an experiment that a query finds, page by page."""
    page = client.search_runs([experiment_id], query, max_results=PAGE_SIZE)
    runs: list[Run] = list(page)
    while page.token:
        page = client.search_runs([experiment_id], query, max_results=PAGE_SIZE, page_token=page.token)
        runs += page
    return runs


def _child(run: Run) -> _ChildRun:
    return _ChildRun(run.info.run_id, run.info.status, int(run.data.metrics.get("epoch", 0)), bool(run.data.params))


def _experiment(client: MlflowClient, study: Study) -> str:
    experiment: Experiment | None = client.get_experiment_by_name(study.stores.name)
    if experiment is None:
        artifacts = study.stores.storage / "artifacts" if study.stores.tracking_uri.startswith("sqlite:///") else None
        kind = {"mlflow.experimentKind": "custom_model_development"}  # else the UI opens on its pages for agents
        experiment_id: str = client.create_experiment(
            study.stores.name, artifact_location=artifacts.as_uri() if artifacts else None, tags=kind
        )
        return experiment_id
    if experiment.lifecycle_stage != "active":
        rule, repair = (
            "the study's experiment must not be deleted in MLflow",
            "restore it there, or give the study another name",
        )
        raise StudyError([Problem("name", rule, study.stores.name, repair)])
    found: str = experiment.experiment_id
    return found


def _code_tags(study: Study) -> dict[str, str]:
    return {
        run_record.VERSIONS: json.dumps(environment.versions()),
        "mlflow.source.name": f"spikesweep run {study.stores.name}",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": environment.git_commit(),
    }


def _study_record(study: Study, planned: Sequence[Replicate], notes: Sequence[str]) -> StudyRecord:
    levels = {factor.name: factor.domain for factor in study.space.factors}
    options = study.content.design.model_dump(exclude={"name"})
    if study.search:
        options |= {"sampler": study.search.sampler, "pruner": study.search.pruner}
    return StudyRecord(
        name=study.stores.name,
        question=study.question,
        trainable=", ".join(study.trainables),
        design=study.design,
        options=options,
        notes=[*study.notes, *notes],
        objectives=study.objectives,
        baseline=study.baseline,
        factors={name: domain.values if isinstance(domain, Levels) else () for name, domain in levels.items()},
        ranges={f.name: domain_in_words(f) for f in study.space.factors if isinstance(f.domain, Range)},
        conditions={factor.name: factor.when for factor in study.space.factors if factor.when},
        references=study.references,
        tuning=_tuning_record(study),
        constraints=study.content.constraints,
        seeds=study.seeds,
        replicates=[*(PlannedReplicate(r.identity, r.seed, r.cell, r.role, r.tuned) for r in planned), *_to_come(study, planned)],
    )


def _to_come(study: Study, planned: Sequence[Replicate]) -> list[PlannedReplicate]:
    """The cells of a study that is still tuning: who they will be is not known yet."""
    if not study.tuning or any(replicate.role == "cell" for replicate in planned):
        return []
    return [PlannedReplicate("", seed, cell) for seed in study.seeds for cell in study.cells]


def _tuning_record(study: Study) -> dict[str, Any]:
    plan = study.tuning
    if plan is None:
        return {}
    parameters = {factor.name: domain_in_words(factor) for factor in plan.space.factors}
    return {"parameters": parameters, "num_trials": plan.num_trials, "sampler": plan.sampler, "seed": plan.seed}


def _design_in_words(study: Study) -> str:
    baseline = (
        ", ".join(f"{name} = {level}" for name, level in study.space.active(study.baseline).items()) if study.baseline else ""
    )
    factors = "\n".join(f"- {factor.name}: {domain_in_words(factor)}" for factor in study.space.factors)
    size = f"{len(study.cells)} cells × {len(study.seeds)} seeds" if study.cells else f"{len(study.seeds)} seeds"
    if study.search:
        size = f"{study.search.num_trials} trials by {study.search.sampler['name']}, {size}"
    around = f" around the baseline {baseline}" if baseline else ""
    return f"Design {study.design.replace('_', ' ')}{around}; {size}.\n\n{factors}"
