"""The status of a study: from its ledger alone if the study file has not changed since its last run, else worked out anew."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import TrialState

from studies.engine.definition.file_model import StudyFile
from studies.engine.definition.lookup import find_study
from studies.engine.ledger.reading import ReplicateStatus, ledger_status
from studies.run_record import ACCURACY, SELECTED_ON_TEST


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is.

    Attributes:
        name: The name of the study.
        num_replicates: How many replicates there will be in all, as far as is known.
        states: How many replicates are PLANNED, RUNNING, COMPLETE, PRUNED or FAIL; states that none has are left out.
        best: The complete replicate with the highest validation accuracy; None if none is complete.
        failures: The reason of each failure, by the replicate's title.
        notes: Sentences on replicates that do not count, since the study asks for something else now, and on what its accuracies
            are not.
    """

    name: str
    num_replicates: int
    states: Mapping[str, int]
    best: ReplicateStatus | None
    failures: Mapping[str, str]
    notes: Sequence[str]


def study_status(study: str, overrides: Sequence[str] = ()) -> StudyStatus:
    """The status of a study, also while it runs; nothing is written.

    Args:
        study: Its file or its name.
        overrides: Changes to the file, ``key=value``.

    Raises:
        StudyError: The study is wrong, its ledger cannot be read, or MLflow's store if it starts from earlier studies.
    """
    content, stores = find_study(study, overrides)
    recorded = ledger_status(stores.ledger, stores.name, content.digest)
    if recorded is None:
        return _worked_out(study, overrides)
    values = content.values_of("selection", _preset(content) | content.config)
    labels = [f"Epochs are {SELECTED_ON_TEST}."] if "best_on_test" in values else []
    return _study_status(stores.name, recorded.total, recorded.replicates, [*recorded.notes, *labels])


def _preset(content: StudyFile) -> dict[str, Any]:
    if not content.preset:
        return {}
    from studies.engine.binding.trainable_modules import all_presets  # noqa: PLC0415  # imports the trainables too

    offered = [presets.get(content.preset, {}) for presets in all_presets().values()]
    return {name: value for values in offered for name, value in values.items()}


def _worked_out(study: str, overrides: Sequence[str]) -> StudyStatus:
    from studies.engine.definition.loading import load_study  # noqa: PLC0415  # imports the trainables, which takes seconds
    from studies.engine.execution.runner import replicate_statuses  # noqa: PLC0415

    loaded = load_study(study, overrides)
    total, replicates, notes = replicate_statuses(loaded)
    return _study_status(loaded.stores.name, total, replicates, [*notes, *loaded.warnings])


def _study_status(name: str, total: int, replicates: Sequence[ReplicateStatus], notes: Sequence[str]) -> StudyStatus:
    states = Counter(replicate.state.name for replicate in replicates)
    planned = total - len(replicates)
    complete = [replicate for replicate in replicates if replicate.state == TrialState.COMPLETE]
    return StudyStatus(
        name=name,
        num_replicates=total,
        states={**states, **({"PLANNED": planned} if planned else {})},
        best=max(complete, key=lambda replicate: replicate.values[ACCURACY], default=None),
        failures={replicate.title: replicate.reason for replicate in replicates if replicate.state == TrialState.FAIL},
        notes=notes,
    )
