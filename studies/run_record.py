"""How a study and its replicates stand in MLflow: the names, and the records that are read back.

The writer (``studies.engine.recording.tracker``) and the reader (``analysis.records.loading``) meet here and nowhere else.
Standard library only.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Level = bool | int | float | str | None
Direction = Literal["maximize", "minimize"]
Role = Literal["cell", "search", "finalist", "tuning"]
"""What a replicate is for: a cell of a design; a trial of an adaptive search; the best of a search, trained again with
fresh seeds; a trial of the nested search that tunes a cell's nuisance hyperparameters."""

KIND = "spikesweep.kind"
KIND_STUDY = "study"
KIND_REPLICATE = "replicate"
STUDY = "spikesweep.study"
TRAINABLE = "spikesweep.trainable"
IDENTITY = "spikesweep.identity"
SEED = "spikesweep.seed"
LEVELS = "spikesweep.levels"
"""The levels of the active factors, as JSON."""
ROLE = "spikesweep.role"
TUNED = "spikesweep.tuned"
"""The values of the nuisance hyperparameters, as JSON."""
CONFIG = "spikesweep.config"
DATA_DIGEST = "spikesweep.data_digest"
PARENT = "spikesweep.parent"
"""The identity of what was trained first, for a replicate that started from it."""
STATE = "spikesweep.state"
"""What MLflow's own status cannot say: STATE_PRUNED beside KILLED."""
STATE_PRUNED = "pruned"
REASON = "spikesweep.reason"
"""Why a replicate failed, or at which epoch it was pruned."""
NO_MODEL = "spikesweep.no_model"
"""Why a finished replicate's run has no model, where its study wanted one."""
VERSIONS = "spikesweep.versions"
COMMIT = "mlflow.source.git.commit"

DESIGN = "spikesweep.design"
"""The study's record without its replicates, as JSON, at the study run: for readers who cannot reach its artifacts."""
FINDINGS = "spikesweep.findings"
"""What the last report found, as Markdown, at the study run."""
CURVE = "spikesweep.accuracy_at_t"
"""ACCURACY_AT_T as a JSON list: a metric's history would be a request for every run."""
LONGEST_TAG = 5000
"""Characters that every MLflow server takes; what is longer is left out."""

FACT = "spikesweep."
"""What stands before the names of a report's facts."""

STUDY_ARTIFACT = "study.json"
STUDY_FILE_ARTIFACT = "study.yaml"
REPORT_ARTIFACTS = "report"
ENVIRONMENT_ARTIFACTS = "environment"
MODEL_ARTIFACTS = "model"
"""Of a replicate's run: its network is ``runs:/<run id>/model``."""
TRACEBACK_ARTIFACT = "traceback.txt"

_NAMES = {KIND, STUDY, TRAINABLE, IDENTITY, SEED, LEVELS, ROLE, TUNED, CONFIG, DATA_DIGEST, PARENT, STATE, REASON, VERSIONS}
_NAMES |= {DESIGN, CURVE, FINDINGS, NO_MODEL}

SYNTHETIC = "response_surface"
"""The trainable that trains nothing."""

ACCURACY = "val/accuracy"
SPARSITY = "sparsity/overall"
TEST_ACCURACY = "test/accuracy"
ACCURACY_AT_T = "accuracy_at_t"
"""Validation accuracy of the spike counts up to t; t is the metric's step."""

OBJECTIVES: Mapping[str, Direction] = {ACCURACY: "maximize", SPARSITY: "maximize"}
"""What a study is judged on unless it says otherwise, primary first; always on validation images."""

PRUNED = "PRUNED"
"""A ``RunRecord.status``: stopped early because others were better, which is no failure."""


def facts_of(tags: Mapping[str, str]) -> dict[str, str]:
    """A report's facts among the tags of its run, by their own names."""
    return {tag.removeprefix(FACT): text for tag, text in tags.items() if tag.startswith(FACT) and tag not in _NAMES}


def level_in_words(level: Level) -> str:
    """As a study file has it: null, true, 0.5 (rounded to 6 digits), a text without quotes."""
    if level is None or isinstance(level, bool):
        return json.dumps(level)
    return f"{level:.6g}" if isinstance(level, float) else str(level)


def levels_in_words(levels: Mapping[str, Level]) -> str:
    """What a person calls a cell, e.g. ``time_steps=8 feature_scale=0.5``."""
    return " ".join(f"{name}={level_in_words(level)}" for name, level in levels.items())


SHORT_NAMES = {"time_steps": "T", "feature_scale": "fs", "layout": ""}
"""How people who work on these networks call the factors that nearly every study has; a layout speaks for itself."""


def cell_in_short(levels: Mapping[str, Level]) -> str:
    """What a person writes for a cell, e.g. ``T=8 fs=0.5 64 64 M 128``."""
    return " ".join(_short(name, level) for name, level in levels.items())


def _short(name: str, level: Level) -> str:
    short = SHORT_NAMES.get(name, name)
    return f"{short}={level_in_words(level)}" if short else level_in_words(level)


@dataclass(frozen=True)
class PlannedReplicate:
    """One replicate that the study asks for."""

    identity: str
    """Empty while it is not known, because the cell is still being tuned."""
    seed: int
    levels: Mapping[str, Level]
    """Of the active factors only."""
    role: Role = "cell"
    tuned: Mapping[str, Level] = field(default_factory=dict)
    """The values of the nuisance hyperparameters that it is trained with."""


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """What was asked: kept as an artifact of the study run, so that missing replicates can be named.

    What an adaptive search or a tuning asks for is known bit by bit: replicates of such roles may be missing here, and are then
    found by the tags ROLE, LEVELS and TUNED of their runs. Those of cells are all here.
    """

    name: str
    question: str
    trainable: str
    """A trainable's name; several, with commas, where it is a factor."""
    design: str
    """one_factor_at_a_time, leave_one_out, full_factorial, fractional_factorial, random or adaptive_search."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Everything else of the design: resolution, number of cells or trials, the sampler with every argument, the pruner."""
    notes: Sequence[str] = ()
    """Sentences on the design: resolution, generators, aliases; what constraints left out; what a warm start took."""
    objectives: Mapping[str, Direction] = field(default_factory=lambda: dict(OBJECTIVES))
    """Metrics, primary first."""
    baseline: Mapping[str, Level]
    """Empty for the designs random and adaptive_search."""
    factors: Mapping[str, Sequence[Level]]
    """The levels of every factor; none for a range."""
    ranges: Mapping[str, str] = field(default_factory=dict)
    """Factors that are a range, in words, e.g. ``0.0001 to 0.1, log``."""
    bounds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The same as numbers: ``low``, ``high``, ``log``, ``step`` (or None), ``integer``; records of earlier versions may lack
    them."""
    conditions: Mapping[str, Mapping[str, Sequence[Level]]] = field(default_factory=dict)
    """When a factor is active: the levels that other factors must have."""
    references: Mapping[str, Mapping[str, Level]] = field(default_factory=dict)
    """The cell that a factor's levels are compared with, as levels of its active factors; the baseline unless given here."""
    tuning: Mapping[str, Any] = field(default_factory=dict)
    """The nested search in a cell: ``parameters`` (name to range in words), ``num_trials``, ``sampler``, ``seed``; or empty."""
    tuning_bounds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The ranges among these parameters as numbers, as in ``bounds``; records of earlier versions lack them."""
    constraints: Sequence[str] = ()
    seeds: Sequence[int]
    replicates: Sequence[PlannedReplicate]

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, text: str) -> "StudyRecord":
        """The record that ``as_dict`` gave to JSON; fields of a newer version are left out (``unknown_fields`` names them).

        Raises:
            ValueError: It is no JSON.
            TypeError, KeyError: It is no such record, or lacks something.
        """
        content = json.loads(text)
        planned = [PlannedReplicate(**_known(PlannedReplicate, replicate)) for replicate in content["replicates"]]
        return cls(**{**_known(cls, content), "replicates": planned})


def unknown_fields(text: str) -> list[str]:
    """Names of fields in a study's record, as JSON, that a newer version must have put there."""
    content = json.loads(text)
    of_replicates = {name for replicate in content["replicates"] for name in replicate} - _fields(PlannedReplicate)
    return sorted(content.keys() - _fields(StudyRecord)) + sorted(f"replicates.{name}" for name in of_replicates)


def _known(kind: type, content: Mapping[str, Any]) -> dict[str, Any]:
    fields = _fields(kind)
    return {name: value for name, value in content.items() if name in fields}


def _fields(kind: type) -> set[str]:
    return {known.name for known in dataclasses.fields(kind)}


@dataclass(frozen=True)
class RunRecord:
    """One replicate, as its MLflow run has it.

    ``status`` is MLflow's: RUNNING, FINISHED, FAILED (then with a reason) or KILLED; PRUNED for what MLflow calls KILLED and
    STATE pruned (the reason says at which epoch); MISSING where there is no run.
    """

    identity: str
    seed: int
    levels: Mapping[str, Level]
    status: str
    reason: str = ""
    run_id: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The last value of every metric."""
    accuracy_at_t: Sequence[float] = ()
    data_digest: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: str = ""
    git_commit: str = ""
    role: Role = "cell"
    tuned: Mapping[str, Level] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    """What its report says beside its metrics, e.g. the digest of a calibration set."""
    begun_at_ms: int = 0
    """Milliseconds since 1970; 0 where it is not known."""
    ended_at_ms: int = 0
