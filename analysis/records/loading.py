"""Reads a study from an MLflow store: what was asked, and a record of every replicate, including missing ones."""

import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import studies.library_settings

import sqlalchemy
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from analysis.records import mlflow_store, recorded_design
from analysis.records.left_out import is_of_data, left_out_in_words
from analysis.records.mlflow_store import NoStudyError, StoredRun
from analysis.words import counted, first_of
from studies import run_record
from studies.run_record import PlannedReplicate, RunRecord, StudyRecord
from studies.stores.mlflow_access import StoreError, open_store, reason_of

__all__ = ["NoStudyError", "RecordedStudy", "load_recorded_study"]

MISSING = "MISSING"
MOST_HISTORIES = 2000
"""The most curves that are read as the history of a metric, with a request each; only runs of older versions need it."""
NUM_NAMED = 5


@dataclass(frozen=True)
class RecordedStudy:
    """What was asked and what came of it; the runs are in the order of the study's record."""

    study: StudyRecord
    runs: list[RunRecord]
    warnings: Sequence[str] = ()
    """Sentences on what was left out and what could not be read."""


def load_recorded_study(name: str, tracking_uri: str) -> RecordedStudy:
    """Read one study from any store that MLflow can read.

    Raises:
        NoStudyError: The store is not there or does not answer, or it has no study of that name.
    """
    try:
        client = open_store(tracking_uri)
        experiment_id = mlflow_store.experiment_of(client, name)
        found = _RunsByKind(
            run for run in mlflow_store.stored_runs(client, experiment_id) if run.tags.get(run_record.STUDY, name) == name
        )
        if not found.study_runs and not found.replicates:
            raise NoStudyError(f"no study {name!r} in this MLflow store: its experiment has no run that spikesweep wrote")
        study, warnings = recorded_design.read_study_record(
            client, name, found.study_runs[0] if found.study_runs else None, found.counting
        )
        records, of_deleted = _with_deleted(client, experiment_id, name, _records(study, found.replicates))
        records, of_curves = _with_curves(client, records)
    except StoreError as error:
        raise NoStudyError(str(error)) from None
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError, OSError, json.JSONDecodeError) as error:
        raise NoStudyError(f"the study {name!r} cannot be read from MLflow: {reason_of(error, tracking_uri)}") from None
    of_replicates = _left_out(study, found.replicates, records)
    return RecordedStudy(study, records, [*warnings, *found.warnings(), *of_replicates, *of_deleted, *of_curves])


class _RunsByKind:
    """The runs of an experiment, sorted into study runs, replicate runs and others."""

    def __init__(self, runs: Iterable[StoredRun]) -> None:
        self.study_runs: list[StoredRun] = []
        """Newest first."""
        self.others: list[StoredRun] = []
        """Runs that spikesweep did not write, or whose tags cannot be read."""
        copies: defaultdict[str, list[StoredRun]] = defaultdict(list)
        for run in runs:
            if run.tags.get(run_record.KIND) == run_record.KIND_STUDY:
                self.study_runs.append(run)
            elif _is_replicate(run):
                copies[run.tags[run_record.IDENTITY]].append(run)
            else:
                self.others.append(run)
        self._copies = {identity: runs for identity, runs in copies.items() if len(runs) > 1}
        self.replicates = {identity: min(runs, key=_counts_first) for identity, runs in copies.items()}

    @property
    def counting(self) -> list[StoredRun]:
        """The run that counts for each replicate, oldest first."""
        return sorted(self.replicates.values(), key=lambda run: (run.begun_at_ms, run.tags[run_record.IDENTITY]))

    def warnings(self) -> list[str]:
        """A sentence for each kind of run that is left out."""
        said = []
        if len(self.study_runs) > 1:
            said.append(
                f"MLflow has {len(self.study_runs)} study runs of this study; the newest ({self.study_runs[0].run_id}) counts."
            )
        if self._copies:
            names = first_of([runs[0].name for runs in self._copies.values()], NUM_NAMED, "; ")
            said.append(
                f"{counted(len(self._copies), 'replicate has', 'replicates have')} several runs in MLflow ({names}); of each "
                "the finished one that began first counts, and the others are left out."
            )
        if self.others:
            names = first_of([run.name for run in self.others], NUM_NAMED, "; ")
            said.append(
                f"{counted(len(self.others), 'run')} of the experiment ({names}) "
                f"{'was' if len(self.others) == 1 else 'were'} not written by spikesweep, and "
                f"{'is' if len(self.others) == 1 else 'are'} left out."
            )
        return said


def _is_replicate(run: StoredRun) -> bool:
    if run.tags.get(run_record.KIND) != run_record.KIND_REPLICATE or run_record.IDENTITY not in run.tags:
        return False
    try:
        recorded_design.planned_of(run)
        json.loads(run.tags.get(run_record.CONFIG, "{}"))
    except ValueError:
        return False
    return True


def _counts_first(run: StoredRun) -> tuple[bool, int, str]:
    return (run.status != "FINISHED", run.begun_at_ms, run.run_id)


def _records(study: StudyRecord, runs: Mapping[str, StoredRun]) -> list[RunRecord]:
    """The record's replicates, then what a search or a tuning proposed and the record does not name, oldest first."""
    known = {*(planned.identity for planned in study.replicates), *study.not_counted}
    of_data = {identity: run for identity, run in runs.items() if identity not in known and is_of_data(study, run)}
    others = [recorded_design.planned_of(run) for run in of_data.values()]
    proposed = [
        other for other in others if other.role in recorded_design.FOUND_BY_TAGS and recorded_design.is_of_space(study, other)
    ]
    proposed.sort(key=lambda replicate: (runs[replicate.identity].begun_at_ms, replicate.identity))
    return [_record(replicate, runs.get(replicate.identity)) for replicate in (*study.replicates, *proposed)]


def _left_out(study: StudyRecord, runs: Mapping[str, StoredRun], records: Sequence[RunRecord]) -> list[str]:
    shown = {record.identity for record in records}
    return left_out_in_words(study, [run for identity, run in runs.items() if identity not in shown], records)


def _record(planned: PlannedReplicate, run: StoredRun | None) -> RunRecord:
    asked: dict[str, Any] = {"identity": planned.identity, "seed": planned.seed, "levels": planned.levels, "role": planned.role}
    if run is None:
        return RunRecord(**asked, tuned=planned.tuned, status=MISSING, reason="never begun")
    tags = run.tags
    is_pruned = run.status == "KILLED" and tags.get(run_record.STATE) == run_record.STATE_PRUNED
    return RunRecord(
        **asked,
        tuned=planned.tuned or json.loads(tags.get(run_record.TUNED, "{}")),
        status=run_record.PRUNED if is_pruned else run.status,
        reason=tags.get(run_record.REASON, "") if run.status != "FINISHED" else "",
        run_id=run.run_id,
        metrics={name: _unbounded(value) for name, value in run.metrics.items()},
        accuracy_at_t=_curve(tags),
        data_digest=tags.get(run_record.DATA_DIGEST, ""),
        config=json.loads(tags.get(run_record.CONFIG, "{}")),
        versions=tags.get(run_record.VERSIONS, ""),
        git_commit=tags.get(run_record.COMMIT, ""),
        facts=run_record.facts_of(tags),
        begun_at_ms=run.begun_at_ms,
        ended_at_ms=run.ended_at_ms,
        correct=run_record.correct_of(tags),
    )


def _with_deleted(
    client: MlflowClient, experiment_id: str, study: str, records: list[RunRecord]
) -> tuple[list[RunRecord], list[str]]:
    """The records, in which a replicate that is missing because its run was deleted in MLflow says so; and a warning."""
    if all(record.status != MISSING for record in records):
        return records, []
    deleted = mlflow_store.deleted_runs(client, experiment_id, study)
    complete, names = list(records), []
    for place, record in enumerate(records):
        if record.status == MISSING and (run := deleted.get(record.identity)):
            names.append(run.name)
            reason = f"deleted in MLflow; mlflow runs restore --run-id {run.run_id} brings it back, or running the study again"
            complete[place] = replace(record, reason=reason)
    if not names:
        return records, []
    what = f"{counted(len(names), 'replicate')} ({first_of(names, NUM_NAMED, '; ')}) {'was' if len(names) == 1 else 'were'}"
    return complete, [f"{what} deleted in MLflow: run the study again, or mlflow runs restore --run-id …, to bring them back."]


def _unbounded(value: float) -> float:
    """MLflow's SQL stores write the largest float in place of infinity."""
    return math.copysign(math.inf, value) if abs(value) >= sys.float_info.max else value


def _curve(tags: Mapping[str, str]) -> tuple[float, ...]:
    try:
        return tuple(map(float, json.loads(tags.get(run_record.CURVE, "[]"))))
    except (ValueError, TypeError):  # a server with shorter tags has cut it
        return ()


def _with_curves(client: MlflowClient, records: list[RunRecord]) -> tuple[list[RunRecord], list[str]]:
    """The records, completed with accuracy at t where runs of cells and finalists have it only as a metric; and warnings."""
    lacking = [
        place
        for place, record in enumerate(records)
        if record.status == "FINISHED"
        and record.role in run_record.COMPARED_ROLES
        and not record.accuracy_at_t
        and run_record.ACCURACY_AT_T in record.metrics
    ]
    read = lacking[:MOST_HISTORIES]
    curves = mlflow_store.curves(client, [records[place].run_id for place in read], run_record.ACCURACY_AT_T)
    complete = list(records)
    for place, curve in zip(read, curves, strict=True):
        complete[place] = replace(records[place], accuracy_at_t=curve)
    if len(read) == len(lacking):
        return complete, []
    return complete, [f"Accuracy at t was read of {len(read)} of {len(lacking)} replicates that an older spikesweep wrote."]
