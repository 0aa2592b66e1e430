"""What a study has left in its ledger, in MLflow and in its storage, and what of it differs from an undisturbed study.

Left out of the comparison is what must differ between two runs of one study: times, what the machine measured (metrics of time,
memory and cost; that they are there counts), ids that a store gives, and the place of the storage.
"""

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import studies.library_settings

from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from studies import run_record
from studies.engine.ledger.journal import Journal
from studies.engine.recording.mlflow_ui_internals import MODEL_HISTORY

OF_THE_MACHINE = ("time/", "memory/", "system/", "cost/")
NAMES_ALONE = ("report/", "environment/")
"""Artifacts whose bytes depend on the machine and the time."""
CHANGED_FIELD = "seconds_per_epoch"
"""No part of the identity: replicates that are to hang begin with another value, and MLflow keeps the first."""
VARYING = (
    (re.compile(r"\(written [^)]*\)"), "(written)"),
    (re.compile(r"utc_time_created: .*"), "utc_time_created"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "ID"),
    (re.compile(r"#/experiments/\d+"), "#/experiments/N"),
    (re.compile(r"^tracking_uri: STORE\n", re.MULTILINE), ""),  # of a study whose store is a server
    (re.compile(rf'"{CHANGED_FIELD}": [\d.]+'), CHANGED_FIELD),
)
STUDY_RUN = "study"
WHOLE_FOLDER = {"reports.json"}, {"reports.json", "weights.pt"}
"""The files of a complete replicate, without and with weights."""
REST = {"checkpoint.pt", "checkpoint.previous.pt"}
"""The files of one that failed or was pruned, at most."""


@dataclass(frozen=True)
class Stored:
    """What a study has left."""

    attempts: Counter[str]
    """Ledger trials by identity."""
    trials: Counter[str]
    """The same without those that failed and were tried again."""
    runs: Counter[str]
    """By identity; the study's own run is ``STUDY_RUN``."""
    values: dict[tuple[str, str, int], list[float]]
    """By identity, metric and step."""
    facts: dict[tuple[str, ...], str]
    """All the rest: what it is of (an identity, the study's run, the experiment), the kind of fact, its name; and its text."""
    running: list[str]
    """What is RUNNING in the ledger or in MLflow."""


@dataclass
class Harm:
    """What has become of a study, in words."""

    lost: list[str] = field(default_factory=list)
    """What is missing or has another value, and what should not be there."""
    doubled: list[str] = field(default_factory=list)
    left_running: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.left_running)


def stored_study(storage: Path, name: str, tracking_uri: str | None = None, seen_at: Sequence[Path] = ()) -> Stored:
    """What there is of a study now.

    Args:
        storage: Where it lies.
        name: Its name.
        tracking_uri: Of its MLflow server; None if its MLflow store lies in the storage.
        seen_at: Where else the study's drivers saw it.
    """
    everywhere = (*seen_at, storage)
    places = {uri: "STORE" for uri in (tracking_uri, *(f"sqlite:///{place}/mlflow.db" for place in everywhere)) if uri}
    places |= {str(place): "STORAGE" for place in everywhere} | {str(place.parent): "FOLDER" for place in everywhere}
    ledger = JournalStorage(Journal(storage / "ledgers" / f"{name}.journal"))
    trials = [trial for study in ledger.get_all_studies() for trial in ledger.get_all_trials(study._study_id, deepcopy=False)]
    client = MlflowClient(tracking_uri or f"sqlite:///{storage / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(name)
    runs = list(client.search_runs([experiment.experiment_id], max_results=1000))
    values: dict[tuple[str, str, int], list[float]] = {}
    facts: dict[tuple[str, ...], str] = {}
    newest = {trial.user_attrs["identity"]: trial for trial in trials}
    for identity, trial in newest.items():
        facts |= {(identity, "ledger", key): text for key, text in _facts_of_trial(trial).items()}
        facts |= {(identity, "checkpoints", key): text for key, text in _facts_of_folder(storage, identity, trial).items()}
    for run in runs:
        owner = _owner(run)
        for metric in run.data.metrics:
            for point in client.get_metric_history(run.info.run_id, metric):
                values.setdefault((owner, metric, point.step), []).append(point.value)
        files = (
            _artifacts(client, run.info.run_id) if tracking_uri else _files(storage / "artifacts" / run.info.run_id / "artifacts")
        )
        found = _facts_of_run(run) | {("artifact", path): content for path, content in files}
        if run.info.status == "FINISHED":
            found.pop(("artifact", run_record.TRACEBACK_ARTIFACT), None)  # of an attempt before
        facts |= {(owner, *key): _plain(text, places) for key, text in found.items()}
    facts |= {("experiment", "tag", tag): _view(text) for tag, text in experiment.tags.items()}
    running = [f"{trial.user_attrs['title']} in the ledger" for trial in trials if not trial.state.is_finished()]
    running += [f"{run.info.run_name} in MLflow" for run in runs if run.info.status == "RUNNING"]
    return Stored(
        attempts=Counter(trial.user_attrs["identity"] for trial in trials),
        trials=Counter(trial.user_attrs["identity"] for trial in trials if trial.state != TrialState.FAIL),
        runs=Counter(map(_owner, runs)),
        values=values,
        facts=facts,
        running=running,
    )


def compare(found: Stored, undisturbed: Stored) -> Harm:
    """What of a study is lost, doubled or left running, beside an undisturbed one."""
    harm = Harm(left_running=found.running)
    for what, ours, theirs in (("trial", found.trials, undisturbed.trials), ("run", found.runs, undisturbed.runs)):
        harm.lost += [f"{what} {identity}" for identity in theirs.keys() - ours.keys()]
        harm.doubled += [f"{what} {identity}" for identity, number in ours.items() if number > theirs.get(identity, 1)]
    for key in found.values.keys() | undisturbed.values.keys():
        owner, metric, _ = key
        values, right = found.values.get(key, []), undisturbed.values.get(key, [])
        by_machine = metric.startswith(OF_THE_MACHINE)
        if owner == STUDY_RUN:  # it counts again with every record
            values, right = values[-1:], right[-1:]
        if bool(values) != bool(right) or (values[:1] != right[:1] and not by_machine):
            harm.lost.append(f"{key}: {values} instead of {right}")
        if len(values) > (found.attempts[owner] if metric.startswith("cost/") else max(1, len(right))):
            harm.doubled.append(f"{key}: {values}")
    for fact in found.facts.keys() | undisturbed.facts.keys():
        text, right_text = found.facts.get(fact), undisturbed.facts.get(fact)
        if text != right_text:
            harm.lost.append(f"{fact}: {_short(text)} instead of {_short(right_text)}")
    return harm


FileTimes = Mapping[Path, tuple[int, int]]
"""The size and the time of the last change of every file in some folders."""


def files_in(*folders: Path) -> FileTimes:
    """Every file in these folders and below, for ``written_since``."""
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return {file: (file.stat().st_size, file.stat().st_mtime_ns) for file in files}


def written_since(before: FileTimes, *folders: Path) -> list[str]:
    """The files in these folders that have been made, changed or removed since."""
    after = files_in(*folders)
    return sorted(str(file) for file in before.keys() | after.keys() if before.get(file) != after.get(file))


def _owner(run: Run) -> str:
    return str(run.data.tags.get(run_record.IDENTITY, STUDY_RUN))


def _facts_of_trial(trial: FrozenTrial) -> dict[str, str]:
    attributes = trial.user_attrs
    end = attributes.get("end", {})
    return {
        "state": trial.state.name,
        "values": repr(trial.values),
        "reason": attributes.get("reason", "") if trial.state != TrialState.COMPLETE else "",
        "out of memory": str(attributes.get("num_out_of_memory", 0)),
        "cost": " ".join(sorted(end.get("cost", {}))),
        "traceback": end.get("traceback", ""),
    }


def _facts_of_folder(storage: Path, identity: str, trial: FrozenTrial) -> dict[str, str]:
    """That its files are those of its state, and what its reports say."""
    folder = storage / "checkpoints" / identity
    names = {file.name for file in folder.glob("*")}
    is_right = names in WHOLE_FOLDER if trial.state == TrialState.COMPLETE else names <= REST
    found = {"files": "as its state asks" if is_right else " ".join(sorted(names))}
    if (reports := folder / "reports.json").exists():
        content = json.loads(reports.read_text())
        for report in content["reports"]:
            del report["timestamp_ms"]
            report["metrics"] = {key: x for key, x in report["metrics"].items() if not key.startswith(OF_THE_MACHINE)}
        found["reports.json"] = json.dumps(content, sort_keys=True)
    return found


def _facts_of_run(run: Run) -> dict[tuple[str, str], str]:
    """Status, name, tags, params and data sets."""
    found = {("run", "status"): run.info.status, ("run", "name"): run.info.run_name}
    found[("run", "times")] = "begun and ended" if (run.info.end_time or 0) >= run.info.start_time else "no end after its start"
    found |= {("tag", name): _view(text) if name != MODEL_HISTORY else "set" for name, text in run.data.tags.items()}
    found |= {("param", name): text for name, text in run.data.params.items() if name != CHANGED_FIELD}
    for data in run.inputs.dataset_inputs if run.inputs else []:
        tags = {tag.key: tag.value for tag in data.tags}
        found[("input", data.dataset.name)] = json.dumps([data.dataset.to_dictionary(), tags], sort_keys=True)
    return found


def _artifacts(client: MlflowClient, run_id: str) -> Iterator[tuple[str, str]]:
    """The artifacts that a server has of a run."""
    with tempfile.TemporaryDirectory() as scratch:
        yield from _files(Path(client.download_artifacts(run_id, "", scratch)))


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """The path and the content of every file in a folder of artifacts."""
    for file in folder.rglob("*"):
        if file.is_file():
            path = file.relative_to(folder).as_posix()
            yield path, "there" if path.startswith(NAMES_ALONE) else file.read_bytes().decode("latin-1")


def _view(text: str) -> str:
    """A tag's text without the time at which a saved view was made."""
    try:
        content: Any = json.loads(text)
    except ValueError:
        return text
    if isinstance(content, Mapping) and "createdAt" in content:
        return json.dumps({name: value for name, value in content.items() if name not in ("createdAt", "updatedAt")})
    return text


def _plain(text: str, places: Mapping[str, str]) -> str:
    plain = text
    for place, name in places.items():
        plain = plain.replace(place, name)
    for pattern, replacement in VARYING:
        plain = pattern.sub(replacement, plain)
    return plain


def _short(text: str | None) -> str:
    return "nothing" if text is None else repr(text if len(text) < 200 else f"{text[:100]} … {text[-90:]}")
