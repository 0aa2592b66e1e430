"""The ledger: the Optuna study that says which replicates exist and in what state. The single source of truth.

One Optuna trial a replicate, with its factor levels and seed as parameters and its identity as a user attribute. An
Optuna study holds one space (a categorical distribution cannot change), so a study whose levels change goes on in a new
one; replicates that were finished before are then only repeated from their reports.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from search_spaces.language.designs import Level
from search_spaces.language.space import distributions
from studies.engine.problems import Problem, StudyError, mask_credentials
from studies.engine.replicates import Replicate
from studies.run_record import OBJECTIVES

optuna.logging.set_verbosity(optuna.logging.WARNING)

_STUDY_NAME = "spikesweep.study"
_IDENTITY = "identity"
_REASON = "reason"

WITHDRAWN = "withdrawn: the study did not ask for it any more"
"""The reason of a replicate that was queued, and that a later version of the study left out."""


_UNREACHABLE = (SQLAlchemyError, optuna.exceptions.StorageInternalError, OSError, ImportError)
"""How a database can be out of reach: also by a missing driver package."""


@dataclass(frozen=True)
class Entry:
    """What the ledger says of one replicate: Optuna's trial number and state, values by objective, the reason if it failed."""

    number: int
    state: TrialState
    values: Mapping[str, float]
    reason: str
    levels: Mapping[str, Any]


class Ledger:
    """One study's states. Written by the study's one driver; anyone may read."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def entries(self) -> dict[str, Entry]:
        """The newest entry of every identity."""
        return {trial.user_attrs[_IDENTITY]: _entry(trial) for trial in self._study.get_trials(deepcopy=False)}

    def add(self, replicates: Sequence[Replicate], factors: Mapping[str, Sequence[Level]]) -> None:
        """Queue replicates as WAITING trials, in this order."""
        space = distributions(factors)
        for replicate in replicates:
            self._study.add_trial(
                create_trial(
                    state=TrialState.WAITING,
                    params={**replicate.cell, "seed": replicate.seed},
                    distributions=space,
                    user_attrs={_IDENTITY: replicate.identity},
                )
            )

    def claim(self, identity: str) -> None:
        """Record that a WAITING replicate is RUNNING."""
        trial = self._only(identity, TrialState.WAITING)
        self._study._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)  # noqa: SLF001  # ask() takes the first alone

    def complete(self, identity: str, metrics: Mapping[str, float]) -> None:
        """Record the end of a RUNNING replicate with the values of its objectives."""
        trial = self._only(identity, TrialState.RUNNING)
        self._study.tell(trial.number, values=[metrics[name] for name in OBJECTIVES])

    def fail(self, identity: str, reason: str) -> None:
        """Record the failure of a RUNNING replicate."""
        trial = self._only(identity, TrialState.RUNNING)
        Trial(self._study, trial._trial_id).set_user_attr(_REASON, reason)  # noqa: SLF001  # no public way to a trial of an earlier process
        self._study.tell(trial.number, state=TrialState.FAIL)

    def _only(self, identity: str, state: TrialState) -> FrozenTrial:
        trials = self._study.get_trials(deepcopy=False, states=(state,))
        return next(trial for trial in trials if trial.user_attrs[_IDENTITY] == identity)


def read_ledger(url: str, study_name: str, factors: Mapping[str, Sequence[Level]]) -> dict[str, Entry]:
    """The newest entry of every identity of a study; empty where it has no ledger yet. Makes nothing.

    Raises:
        StudyError: The database cannot be reached.
    """
    if _is_absent(url):
        return {}
    try:
        return Ledger(optuna.load_study(study_name=_name_in_ledger(study_name, factors), storage=_storage(url))).entries()
    except KeyError:
        return {}
    except _UNREACHABLE as error:
        raise _unreachable(url, error) from None


def open_ledger(url: str, study_name: str, factors: Mapping[str, Sequence[Level]]) -> Ledger:
    """The study's ledger, made if it does not exist.

    Raises:
        StudyError: The database cannot be reached or written.
    """
    try:
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            study_name=_name_in_ledger(study_name, factors),
            storage=_storage(url),
            directions=list(OBJECTIVES.values()),
            load_if_exists=True,
        )
        with warnings.catch_warnings(category=ExperimentalWarning, action="ignore"):
            study.set_metric_names(list(OBJECTIVES))
        study.set_user_attr(_STUDY_NAME, study_name)
    except _UNREACHABLE as error:
        raise _unreachable(url, error) from None
    return Ledger(study)


def check_ledger(url: str) -> None:
    """Find out whether the ledger's database answers; a file that does not exist yet is no problem.

    Raises:
        StudyError: It does not.
    """
    try:
        if not _is_absent(url):
            _storage(url)
    except _UNREACHABLE as error:
        raise _unreachable(url, error) from None


def list_ledger(url: str) -> dict[str, dict[str, int]]:
    """The studies of a ledger by name, each with its number of trials per state; empty where there is no ledger yet.

    Raises:
        StudyError: The database cannot be reached.
    """
    if _is_absent(url):
        return {}
    try:
        storage = _storage(url)
        counts: dict[str, dict[str, int]] = {}
        for summary in optuna.get_all_study_summaries(storage):  # a study's newest space comes last
            if name := summary.user_attrs.get(_STUDY_NAME):
                entries = Ledger(optuna.load_study(study_name=summary.study_name, storage=storage)).entries()
                states = [entry.state.name for entry in entries.values()]
                counts[name] = {state: states.count(state) for state in dict.fromkeys(states)}
    except _UNREACHABLE as error:
        raise _unreachable(url, error) from None
    return counts


def _name_in_ledger(study_name: str, factors: Mapping[str, Sequence[Level]]) -> str:
    space = json.dumps({name: list(levels) for name, levels in factors.items()}, sort_keys=True)
    return f"{study_name}-{hashlib.sha256(space.encode()).hexdigest()[:8]}"


def _is_absent(url: str) -> bool:
    return url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists()


def _storage(url: str) -> RDBStorage:
    timeout = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    return RDBStorage(url, engine_kwargs=timeout)


def _entry(trial: FrozenTrial) -> Entry:
    values = dict(zip(OBJECTIVES, trial.values or [], strict=False))
    return Entry(trial.number, trial.state, values, trial.user_attrs.get(_REASON, ""), trial.params)


def _unreachable(url: str, error: Exception) -> StudyError:
    reason = mask_credentials(str(error.__cause__ or error).strip().split("\n")[0])
    repair = "check the URL, the database server and your rights (ledger in the study file, or --set ledger=…)"
    problem = Problem(
        "ledger", "the ledger must be a database that can be written", f"{mask_credentials(url)} ({reason})", repair
    )
    return StudyError([problem])
