"""How far the studies of a ledger are, read from the ledger alone: no study file is checked, and torch is not imported."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search_spaces.language.space import Cell
from studies.engine.binding.optuna_internals import study_id_of
from studies.engine.ledger.left_aside import LeftAside, left_aside_in_words
from studies.engine.ledger.storage import (
    DATA,
    DATA_DIGEST,
    DATA_DIGESTS,
    DATA_FILES,
    FILE_DIGEST,
    IDENTITY,
    LEDGER_ID,
    LEVELS,
    NUM_REPLICATES,
    OF_EARLIER_VERSIONS,
    REASON,
    STUDY_NAME,
    TITLE,
    TUNED,
    is_absent,
    ledger_problems,
    open_storage,
)
from studies.run_record import OBJECTIVES
from trainables.data.npz_files import FileVersion


@dataclass(frozen=True)
class ReplicateStatus:
    """One replicate, as ``spikesweep status`` shows it: what it is, its state, and its values or the reason of its state."""

    title: str
    state: TrialState
    values: Mapping[str, float]
    reason: str
    levels: Cell
    tuned: Cell
    seed: int


@dataclass(frozen=True)
class LedgerStatus:
    """The status of a study, as its ledger has it.

    Attributes:
        total: How many replicates there will be in all, as far as the last driver knew.
        replicates: Those that have begun.
        notes: Sentences on others that the ledger has.
    """

    total: int
    replicates: Sequence[ReplicateStatus]
    notes: Sequence[str]


@dataclass(frozen=True)
class StudyCounts:
    """How many replicates a study has in each state, as its ledger has it.

    ``num_replicates`` is how many there will be in all, as far as the last driver knew; None if it did not get so far.
    """

    num_replicates: int | None
    states: Mapping[str, int]


def ledger_status(ledger: str, study_name: str, file_digest: str) -> LedgerStatus | None:
    """The status of a study by its ledger alone; None if another version of its file ran last, or with other data, or none at
    all.

    Raises:
        StudyError: The ledger cannot be reached, is none, or is damaged.
    """
    with ledger_problems(ledger):
        if is_absent(ledger):
            return None
        storage = open_storage(ledger)
        of_name = [study for study in storage.get_all_studies() if study.user_attrs.get(STUDY_NAME) == study_name]
        if not of_name or of_name[-1].user_attrs.get(FILE_DIGEST) != file_digest or _has_other_data(of_name[-1].user_attrs):
            return None
        found = of_name[-1]  # a study's newest space comes last
        if not found.user_attrs.keys() >= {OF_EARLIER_VERSIONS, NUM_REPLICATES}:  # its driver died before it wrote them
            return None
        trials = storage.get_all_trials(study_id_of(found), deepcopy=False)
        others = set(found.user_attrs[OF_EARLIER_VERSIONS])
        newest = {trial.user_attrs[IDENTITY]: trial for trial in trials}
        ours = [_replicate_status(trial) for identity, trial in newest.items() if identity not in others]
        aside = [_left_aside(trial) for identity, trial in newest.items() if identity in others]
        notes = left_aside_in_words(aside, found.user_attrs.get(DATA_DIGESTS, {}))
        return LedgerStatus(int(found.user_attrs[NUM_REPLICATES]), ours, notes)


def _has_other_data(attributes: Mapping[str, Any]) -> bool:
    """Whether a data file is not the one that the study was last run with."""
    files = attributes.get(DATA_FILES, [])
    return not all(FileVersion(file, tuple(facts)).is_current() for file, *facts in files)


def _left_aside(trial: FrozenTrial) -> LeftAside:
    return LeftAside(trial.user_attrs.get(DATA, ""), trial.user_attrs.get(DATA_DIGEST, ""))


def ledger_id(ledger: str, study_name: str) -> str | None:
    """What a ledger is known by to a study's runs in MLflow; empty if an earlier version wrote it, None if it has no such study.

    Raises:
        StudyError: The ledger cannot be reached, is none, or is damaged.
    """
    with ledger_problems(ledger):
        if is_absent(ledger):
            return None
        studies = open_storage(ledger).get_all_studies()
        ids = [study.user_attrs.get(LEDGER_ID, "") for study in studies if study.user_attrs.get(STUDY_NAME) == study_name]
        return max(ids, default=None)


def count_replicates(ledger: str) -> dict[str, StudyCounts]:
    """How far each study of a ledger is, by the study's name; empty if there is no ledger yet.

    Raises:
        StudyError: The ledger cannot be reached, is none, or is damaged.
    """
    with ledger_problems(ledger):
        if is_absent(ledger):
            return {}
        storage = open_storage(ledger)
        counts: dict[str, StudyCounts] = {}
        for summary in optuna.get_all_study_summaries(storage):  # a study's newest space comes last
            if name := summary.user_attrs.get(STUDY_NAME):
                study = optuna.load_study(study_name=summary.study_name, storage=storage)
                others = summary.user_attrs.get(OF_EARLIER_VERSIONS, ())
                trials = {trial.user_attrs[IDENTITY]: trial for trial in study.get_trials(deepcopy=False)}
                newest = {identity: trial.state.name for identity, trial in trials.items() if identity not in others}
                counts[name] = StudyCounts(summary.user_attrs.get(NUM_REPLICATES), Counter(newest.values()))
        return counts


def _replicate_status(trial: FrozenTrial) -> ReplicateStatus:
    attributes = trial.user_attrs
    return ReplicateStatus(
        title=attributes[TITLE],
        state=trial.state,
        values=dict(zip(OBJECTIVES, trial.values or [], strict=False)),
        reason=attributes.get(REASON, "") if trial.state in (TrialState.FAIL, TrialState.PRUNED) else "",
        levels=attributes[LEVELS],
        tuned=attributes.get(TUNED, {}),
        seed=trial.params["seed"],
    )
