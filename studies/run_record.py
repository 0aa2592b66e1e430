"""How MLflow stores a study and its replicates: the names of tags and artifacts, and the records that are read back.

This is all that the writer (``studies.engine.recording.tracker``) and the reader (``analysis.records.loading``) share of a
study. Standard library only.
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
COMPARED_ROLES: Sequence[Role] = ("cell", "finalist")
"""Replicates that answer a question; the trials of a search or a tuning had a part in choosing themselves."""

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
SOURCE_NETWORK = "spikesweep.parent"
"""The identity of the source network that was trained first, for a replicate that started from it."""
STATE = "spikesweep.state"
"""How a replicate ended where MLflow's status KILLED cannot tell: STATE_PRUNED, or not set."""
STATE_PRUNED = "pruned"
REASON = "spikesweep.reason"
"""Why a replicate failed, at which epoch it was pruned, or why it does not run at present; a finished one has none."""
NO_MODEL = "spikesweep.no_model"
"""Why a finished replicate's run has no model although its study logs models."""
VERSIONS = "spikesweep.versions"
COMMIT = "mlflow.source.git.commit"

DESIGN = "spikesweep.design"
"""A tag of the study run: the study's record without its replicates, as JSON, for readers who cannot reach its artifacts."""
OWNER = "spikesweep.storage"
"""A tag of the study run: which ledger the study has, in which storage and on which machine, as JSON."""
FINDINGS = "spikesweep.findings"
"""A tag of the study run: what the last report found, as Markdown."""
CURVE = "spikesweep.accuracy_at_t"
"""ACCURACY_AT_T as a JSON list, which is read with the run; a metric's history needs a request for every run."""
CORRECT = "spikesweep.correct."
"""How the names of tags begin that say which images a finished replicate has judged right, see ``correct_tags``."""
LONGEST_TAG = 5000
"""The characters that every MLflow server accepts in a tag; a longer text is left out."""

FACT = "spikesweep."
"""How the names of tags begin that hold a report's facts."""

STUDY_ARTIFACT = "study.json"
STUDY_FILE_ARTIFACT = "study.yaml"
REPORT_ARTIFACTS = "report"
ENVIRONMENT_ARTIFACTS = "environment"
MODEL_ARTIFACTS = "model"
"""The trained network of a replicate's run, which MLflow knows as ``runs:/<run id>/model``."""
TRACEBACK_ARTIFACT = "traceback.txt"

_NAMES = {KIND, STUDY, TRAINABLE, IDENTITY, SEED, LEVELS, ROLE, TUNED, CONFIG, DATA_DIGEST, SOURCE_NETWORK, STATE, REASON}
_NAMES |= {VERSIONS, DESIGN, CURVE, FINDINGS, NO_MODEL, OWNER}

SYNTHETIC = "response_surface"
"""The trainable that computes its metrics from a formula, and trains no network."""

SELECTION = "selection"
"""A fact: how the epoch that is the result was selected; a run without it has the last one."""
SELECTED_ON_TEST = "selected on the test images: optimistic"
"""What the fact SELECTION, and everything that shows such a result, says where the test images selected."""
TIME_BUDGET = "time_budget"
"""A fact: ``trained for 600 s``, of a training that had seconds in place of a number of epochs."""
TIME_EPOCHS = "time/epochs"
"""How many epochs such a training has had."""
PARENT_TIME_BUDGET, PARENT_EPOCHS = "parent_time_budget", "parent_epochs"
"""Facts: the same of the source network that a replicate starts from."""

ACCURACY = "val/accuracy"
SPARSITY = "sparsity/overall"
TEST_ACCURACY = "test/accuracy"
NUM_CLASSES = "num_classes"
"""A fact: of how many classes the images are."""
NUM_IMAGES = {ACCURACY: "num_validation_images", TEST_ACCURACY: "num_test_images"}
"""Facts: how many images an accuracy is a share of."""
ACCURACY_AT_T = "accuracy_at_t"
"""Validation accuracy of the outputs summed up to time step t, which is the metric's step."""

OBJECTIVES: Mapping[str, Direction] = {ACCURACY: "maximize", SPARSITY: "maximize"}
"""The objectives of a study that names none, primary first; both are of validation images."""

PRUNED = "PRUNED"
"""A ``RunRecord.status``: stopped early because others were better. It is not a failure."""


def facts_of(tags: Mapping[str, str]) -> dict[str, str]:
    """The facts of a replicate's reports among the tags of its run, by name without ``FACT``."""
    of_facts = {tag: text for tag, text in tags.items() if tag.startswith(FACT) and not tag.startswith(CORRECT)}
    return {tag.removeprefix(FACT): text for tag, text in of_facts.items() if tag not in _NAMES}


def correct_tags(correct: Mapping[str, str]) -> dict[str, str]:
    """The tags of a run for the texts that say which images were judged right, by part: ``spikesweep.correct.test.1``, ….

    A text that is longer than a tag may be is spread over several.
    """
    return {
        f"{CORRECT}{part}.{number}": text[start : start + LONGEST_TAG]
        for part, text in correct.items()
        for number, start in enumerate(range(0, len(text), LONGEST_TAG), start=1)
    }


def correct_of(tags: Mapping[str, str]) -> dict[str, str]:
    """The texts, by part, of which ``correct_tags`` has made some of these tags."""
    pieces: dict[str, dict[int, str]] = {}
    for tag, piece in tags.items():
        part, _, number = tag.removeprefix(CORRECT).rpartition(".")
        if tag.startswith(CORRECT) and number.isdecimal():
            pieces.setdefault(part, {})[int(number)] = piece
    return {part: "".join(of_part[number] for number in sorted(of_part)) for part, of_part in pieces.items()}


def level_in_words(level: Level) -> str:
    """A level as a study file has it: null, true, 0.5 (rounded to 6 digits), a text without quotes."""
    if level is None or isinstance(level, bool):
        return json.dumps(level)
    return f"{level:.6g}" if isinstance(level, float) else str(level)


def levels_in_words(levels: Mapping[str, Level]) -> str:
    """The levels of a cell, e.g. ``time_steps=8 feature_scale=0.5``."""
    return " ".join(f"{name}={level_in_words(level)}" for name, level in levels.items())


SHORT_NAMES = {"time_steps": "T", "feature_scale": "fs", "layout": ""}
"""The field's short names of factors that nearly every study has; a layout needs no name."""


def cell_in_short(levels: Mapping[str, Level]) -> str:
    """The levels of a cell with short names, e.g. ``T=8 fs=0.5 64 64 M 128``."""
    return " ".join(_short(name, level) for name, level in levels.items())


def _short(name: str, level: Level) -> str:
    short = SHORT_NAMES.get(name, name)
    return f"{short}={level_in_words(level)}" if short else level_in_words(level)


@dataclass(frozen=True)
class PlannedReplicate:
    """One replicate that a study asks for."""

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
    """What a study asks for: an artifact of the study run, by which missing replicates are known.

    An adaptive search or a tuning asks for its replicates one after the other. They may be missing here, and are then found by
    the tags ROLE, LEVELS and TUNED of their runs. The replicates of cells are all here.
    """

    name: str
    question: str
    trainable: str
    """A trainable's name; several, with commas, where it is a factor."""
    design: str
    """one_factor_at_a_time, leave_one_out, full_factorial, fractional_factorial, random or adaptive_search."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The design's options: resolution, number of cells or trials, the sampler with every argument, the pruner."""
    notes: Sequence[str] = ()
    """Sentences on the design: its resolution, generators and aliases, the cells that constraints exclude, the warm start."""
    objectives: Mapping[str, Direction] = field(default_factory=lambda: dict(OBJECTIVES))
    """Metrics, primary first."""
    baseline: Mapping[str, Level]
    """Empty for the designs random and adaptive_search."""
    factors: Mapping[str, Sequence[Level]]
    """The levels of every factor; an empty list for a range."""
    ranges: Mapping[str, str] = field(default_factory=dict)
    """The factors that are a range, in words, e.g. ``0.0001 to 0.1, log``."""
    bounds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The ranges as numbers, by factor: ``low``, ``high``, ``log``, ``step`` (or None), ``integer``; records of earlier versions
    may lack them."""
    conditions: Mapping[str, Mapping[str, Sequence[Level]]] = field(default_factory=dict)
    """When a factor is active: the levels that other factors must have."""
    references: Mapping[str, Mapping[str, Level]] = field(default_factory=dict)
    """For a factor that is not compared with the baseline, the cell that it is compared with (levels of active factors)."""
    tuning: Mapping[str, Any] = field(default_factory=dict)
    """The nested search in a cell: ``parameters`` (name to range in words), ``num_trials``, ``sampler``, ``seed``; or empty."""
    tuning_bounds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The ranges among these parameters as numbers, as in ``bounds``; records of earlier versions lack them."""
    constraints: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    """What factors, levels and metrics are called in print, see ``studies.label_texts``; records of earlier versions lack it."""
    not_counted: Sequence[str] = ()
    """The identities of trials that do not count since the study's file was changed; records of earlier versions lack them."""
    data: Mapping[str, str] = field(default_factory=dict)
    """The digest of every data set, by its name in the study file; records of earlier versions lack them."""
    seeds: Sequence[int]
    replicates: Sequence[PlannedReplicate]

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, text: str) -> "StudyRecord":
        """Read what ``as_dict`` has written; fields of a newer version are left out (``unknown_fields`` names them).

        Raises:
            ValueError: The text is no JSON.
            TypeError, KeyError: It is no study's record, or lacks a field.
        """
        content = json.loads(text)
        planned = [PlannedReplicate(**_known(PlannedReplicate, replicate)) for replicate in content["replicates"]]
        return cls(**{**_known(cls, content), "replicates": planned})


def unknown_fields(text: str) -> list[str]:
    """The fields of a study's record, as JSON, that this version does not know; a newer version must have written them."""
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
    """One replicate, as it is read from its MLflow run.

    ``status`` is MLflow's: RUNNING, FINISHED, FAILED (with a reason) or KILLED. It is PRUNED for a run that is KILLED and has the
    STATE pruned (the reason says at which epoch), and MISSING where there is no run.
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
    """What its reports have beside metrics, e.g. the digest of a calibration set."""
    begun_at_ms: int = 0
    """Milliseconds since 1970; 0 where it is not known."""
    ended_at_ms: int = 0
    correct: Mapping[str, str] = field(default_factory=dict)
    """Which images it has judged right, as texts by part, ``validation`` and ``test`` (see ``correct_tags``); runs of earlier
    versions have none."""
