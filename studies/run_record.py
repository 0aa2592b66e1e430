"""How a study and its replicates stand in MLflow: the names, and the records that are read back.

The writer (``studies.engine.tracking``) and the reader (``analysis.reporting.records``) meet here and nowhere else.
Standard library only.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Level = bool | int | float | str
Direction = Literal["maximize", "minimize"]

KIND = "spikesweep.kind"
KIND_STUDY = "study"
KIND_REPLICATE = "replicate"
STUDY = "spikesweep.study"
IDENTITY = "spikesweep.identity"
SEED = "spikesweep.seed"
CONFIG = "spikesweep.config"
DATA_DIGEST = "spikesweep.data_digest"
PARENT = "spikesweep.parent"
"""The identity of what was trained first, for a replicate that started from it."""
REASON = "spikesweep.reason"
VERSIONS = "spikesweep.versions"

FACT = "spikesweep."
"""What stands before the names of a report's facts."""

STUDY_ARTIFACT = "study.json"
STUDY_FILE_ARTIFACT = "study.yaml"
REPORT_ARTIFACTS = "report"
TRACEBACK_ARTIFACT = "traceback.txt"

ACCURACY = "val/accuracy"
SPARSITY = "sparsity/overall"
TEST_ACCURACY = "test/accuracy"
ACCURACY_AT_T = "accuracy_at_t"
"""Validation accuracy of the spike counts up to t; t is the metric's step."""

OBJECTIVES: Mapping[str, Direction] = {ACCURACY: "maximize", SPARSITY: "maximize"}
"""What a study is judged on, primary first; always on validation images."""


def levels_in_words(levels: Mapping[str, Level]) -> str:
    """What a person calls a cell, e.g. ``time_steps=8 feature_scale=0.5``."""
    return " ".join(f"{name}={level}" for name, level in levels.items())


@dataclass(frozen=True)
class PlannedReplicate:
    """One replicate that the study asks for."""

    identity: str
    seed: int
    levels: Mapping[str, Level]


@dataclass(frozen=True)
class StudyRecord:
    """What was asked: kept as an artifact of the study's parent run, so that missing replicates can be named."""

    name: str
    question: str
    trainable: str
    design: str
    baseline: Mapping[str, Level]
    factors: Mapping[str, Sequence[Level]]
    seeds: Sequence[int]
    replicates: Sequence[PlannedReplicate]

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, text: str) -> "StudyRecord":
        """The record that ``as_dict`` gave to JSON."""
        content = json.loads(text)
        planned = [PlannedReplicate(**replicate) for replicate in content.pop("replicates")]
        return cls(**content, replicates=planned)


@dataclass(frozen=True)
class RunRecord:
    """One replicate, as its MLflow run has it.

    ``status`` is MLflow's: RUNNING, FINISHED, FAILED (then with a reason) or KILLED; MISSING where there is no run.
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
