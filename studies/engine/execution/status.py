"""How a study stands: by its ledger alone where that was written by the study as its file is now, else by working it out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.trial import TrialState

from studies.engine.definition.lookup import find_study
from studies.engine.ledger.ledger import ReplicateStatus, ledger_status
from studies.run_record import ACCURACY


@dataclass(frozen=True)
class StudyStatus:
    """How a study stands.

    Attributes:
        name: The study's.
        num_replicates: How many there will be in all, as far as is known.
        states: How many replicates are PLANNED, RUNNING, COMPLETE, PRUNED, or FAIL.
        best: The most accurate replicate so far, if any is COMPLETE.
        failures: Reason by title.
    """

    name: str
    num_replicates: int
    states: Mapping[str, int]
    best: ReplicateStatus | None
    failures: Mapping[str, str]


def study_status(study: str, overrides: Sequence[str] = ()) -> StudyStatus:
    """How a study stands, also while it runs; nothing is written.

    Raises:
        StudyError: The study is wrong, its ledger cannot be read, or MLflow's store where it begins from earlier studies.
    """
    content, stores = find_study(study, overrides)
    outline = ledger_status(stores.ledger, stores.name, content.digest)
    if outline is None:
        return _worked_out(study, overrides)
    return _study_status(stores.name, outline.total, outline.replicates)


def _worked_out(study: str, overrides: Sequence[str]) -> StudyStatus:
    from studies.engine.definition.loading import load_study  # noqa: PLC0415  # knows the trainables, which takes seconds
    from studies.engine.execution.runner import replicate_statuses  # noqa: PLC0415

    loaded = load_study(study, overrides)
    return _study_status(loaded.stores.name, *replicate_statuses(loaded))


def _study_status(name: str, total: int, replicates: Sequence[ReplicateStatus]) -> StudyStatus:
    states = Counter(replicate.state.name for replicate in replicates)
    planned = total - len(replicates)
    complete = [replicate for replicate in replicates if replicate.state == TrialState.COMPLETE]
    return StudyStatus(
        name=name,
        num_replicates=total,
        states={**states, **({"PLANNED": planned} if planned else {})},
        best=max(complete, key=lambda replicate: replicate.values[ACCURACY], default=None),
        failures={replicate.title: replicate.reason for replicate in replicates if replicate.state == TrialState.FAIL},
    )
