"""The study run in MLflow: what was asked, how far the study is, and what was found, in a description that is kept up to date."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Run, RunTag

from studies import run_record
from studies.engine.definition.study import Study
from studies.engine.recording import environment
from studies.engine.recording.earlier_records import owner_tag
from studies.engine.recording.mlflow_ui_internals import VIEW, VIEW_ADDRESS
from studies.engine.recording.replicate_runs import DESCRIPTION
from studies.engine.recording.saved_views import named_views, saved_views
from studies.engine.recording.study_record import code_tags, study_description
from studies.plain_text import in_markdown
from studies.process_folders import temporary_folder
from studies.run_record import StudyRecord

RUNNING = "running"
"""The status of a study while it has a driver."""


class StudyRun:
    """The study's own run: ``found``, or made, and written to. Every method makes requests."""

    def __init__(self, client: MlflowClient, study: Study, experiment_id: str, found: Run | None, ledger_id: str) -> None:
        self._client, self._study, self._experiment_id = client, study, experiment_id
        self._begun_at_ms = time.time_ns() // 1_000_000
        self._views: dict[str, str] = {}
        """What the experiment's saved views are, by tag."""
        self._status = ""
        tags = {run_record.KIND: run_record.KIND_STUDY, run_record.STUDY: study.stores.name, **code_tags(study)}
        if ledger_id:
            tags[run_record.OWNER] = owner_tag(study.stores, ledger_id)
        self._findings = found.data.tags.get(run_record.FINDINGS, "") if found else ""
        if found:
            self.run_id: str = found.info.run_id
            client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in tags.items()])
            if run_record.REASON in found.data.tags:  # of a driver that was killed
                client.delete_tag(self.run_id, run_record.REASON)
            client.update_run(self.run_id, status="RUNNING")
        else:
            self.run_id = client.create_run(experiment_id, tags=tags, run_name=study.stores.name).info.run_id
        if study.stores.experiment == study.stores.name:  # else the first of the studies that share it would speak for all
            client.set_experiment_tag(experiment_id, DESCRIPTION, in_markdown(study.question))
        client.log_text(self.run_id, study.text, run_record.STUDY_FILE_ARTIFACT)

    def write_record(self, record: StudyRecord, counts: Counter[str], status: str) -> None:
        """Write what the study asks for, how many of its replicates have which status, and the study's own status in words."""
        said = [f"{counts[state]} {state.lower()}" for state in ("RUNNING", "FAILED", "KILLED") if counts[state]]
        of_all = ", ".join([f"{counts['FINISHED']} of {len(record.replicates)} replicates finished", *said])
        self._status = f"{status}: {of_all}"
        content = record.as_dict()
        self._client.log_text(self.run_id, json.dumps(content), run_record.STUDY_ARTIFACT)
        for tag, view in saved_views(record, self._begun_at_ms).items():
            if self._views.get(tag) != view:
                self._client.set_experiment_tag(self._experiment_id, tag, view)
                self._views[tag] = view
        design = json.dumps({**content, "replicates": [], "not_counted": []})
        tags = [RunTag(run_record.DESIGN, design)] if len(design) <= run_record.LONGEST_TAG else []
        # with metrics, MLflow's page puts the description on top
        now = time.time_ns() // 1_000_000
        metrics = [Metric(f"replicates/{state.lower()}", counts[state], now, 0) for state in ("FINISHED", "FAILED", "KILLED")]
        self._client.log_batch(self.run_id, metrics=metrics, tags=[*tags, self._description()])

    def write_environment(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        """What the study is run with; see ``environment.write_environment``."""
        with temporary_folder("environment") as folder:
            environment.write_environment(folder, nodes)
            self._client.log_artifacts(self.run_id, str(folder), run_record.ENVIRONMENT_ARTIFACTS)

    def write_report(self, folder: Path, findings: str) -> None:
        """The files of a report, and what it found, as Markdown."""
        self._client.log_artifacts(self.run_id, str(folder), run_record.REPORT_ARTIFACTS)
        self._findings = findings[: run_record.LONGEST_TAG]
        self._client.log_batch(self.run_id, tags=[RunTag(run_record.FINDINGS, self._findings), self._description()])

    def _description(self) -> RunTag:
        written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        status = f"{self._status} (written {written})"
        return RunTag(DESCRIPTION, study_description(self._study, status, self._links(), self._findings))

    def _links(self) -> dict[str, str]:
        """Addresses within MLflow's pages, by what they open."""
        runs = f"#/experiments/{self._experiment_id}/runs"
        report = f"{runs}/{self.run_id}/artifacts/{run_record.REPORT_ARTIFACTS}/summary.html"
        links = {"report": report} if self._findings else {}
        for name, key in named_views(self._study.stores.name).items():
            if VIEW + key in self._views:
                links[name] = f"{runs}?{VIEW_ADDRESS}{key}"
        return links
