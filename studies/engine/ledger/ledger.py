"""The ledger: an Optuna study that holds the state of every replicate. It is the single source of truth.

Each replicate is an Optuna trial, with its factor levels and its seed as parameters; its identity, its role and the notes of
the sampler that proposed it are user attributes. What remains to be trained follows from the study file and the ledger. The
ledger is a file of its own (``journal.py``) or a database that SQLAlchemy supports.

An Optuna study has one search space (a categorical distribution cannot change). So a study whose factors change continues in a
new Optuna study of the same ledger; replicates that were complete before are then read from their reports, not trained again,
and a search takes over the trials that lie in its new space (``proposing/earlier_trials.py``).
"""

import dataclasses
import hashlib
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import InterfaceError, OperationalError

from search_spaces.language.space import Cell, Space, cell_of_params, params_and_distributions
from studies.credentials import mask_credentials
from studies.engine.binding.optuna_internals import storage_of, study_id_of, trial_id_of
from studies.engine.ledger.reading import ledger_id
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
    file_of,
    is_absent,
    ledger_problems,
    open_storage,
)
from studies.plain_text import first_line
from studies.run_record import OBJECTIVES, Role
from trainables.data.npz_files import FileVersion

if TYPE_CHECKING:  # it imports the trainables, which takes seconds that readers of a ledger need not wait
    from studies.engine.binding.replicates import Replicate


Written = TypeVar("Written")

_ROLE = "role"
_NOTES = "notes"
_OUT_OF_MEMORY = "num_out_of_memory"
_END = "end"
METER = "meter"
"""The user attribute of an Optuna study that has what the study has cost."""

WITHDRAWN = "withdrawn: the study did not ask for it any more"
"""The reason of a replicate that was RUNNING when a later version of the study file left it out. Ledgers hold this very text."""

SECONDS_OF_PATIENCE = 300.0
"""How long a write waits for a database that does not answer, for example during its restart; no file is waited for."""
SECONDS_BETWEEN_TRIES = 1.0


LONGEST_TRACEBACK = 5_000
"""Characters of a traceback that a ledger keeps: its beginning and, above all, its end."""


class LedgerError(Exception):
    """The ledger could not be written to, and is as it was before."""


@dataclass(frozen=True)
class ReplicateEnd:
    """What only the driver knows of a replicate's end, beside its state, and what MLflow gets of it.

    Attributes:
        at_ms: When it ended, milliseconds since 1970.
        cost: Metrics of what it has cost, by name.
        traceback: Of the error that it failed with; empty if there was none.
    """

    at_ms: int
    cost: Mapping[str, float] = dataclasses.field(default_factory=dict)
    traceback: str = ""

    @classmethod
    def now(cls, cost: Mapping[str, float] | None = None, traceback: str = "") -> "ReplicateEnd":
        """An end at this moment."""
        return cls(time.time_ns() // 1_000_000, cost or {}, traceback)


@dataclass(frozen=True)
class LedgerEntry:
    """One replicate in the ledger.

    Attributes:
        trial_id: The number of its Optuna trial in the storage.
        state: RUNNING, COMPLETE, PRUNED or FAIL.
        values: By objective, once it is COMPLETE.
        reason: Why it is FAIL or PRUNED.
        begun_at_ms: When it was first begun, milliseconds since 1970.
        end: What is known of its end; None while it is RUNNING, and where nothing was recorded, as by earlier versions.
        cell: Its factor levels.
        seed: Its seed.
        role: What it is for: a cell of a design, a trial of a search or of a tuning, or a finalist.
        tuned: The values of its tuned hyperparameters.
        notes: What its sampler needs to find again.
        num_out_of_memory: How often it has run out of memory.
        data: The name of its data set in the study file; empty where an earlier version wrote the entry.
        data_digest: The digest of the data; empty as ``data`` is.
    """

    trial_id: int
    state: TrialState
    values: Mapping[str, float]
    reason: str
    cell: Cell
    seed: int
    role: Role
    tuned: Cell
    notes: Mapping[str, Any]
    num_out_of_memory: int = 0
    data: str = ""
    data_digest: str = ""
    begun_at_ms: int = 0
    end: ReplicateEnd | None = None


class Ledger:
    """The states of one study's replicates. The study's driver is the only writer; others may read.

    Methods that write wait for a database that does not answer, and raise a ``LedgerError`` if they cannot write.

    Args:
        study: The Optuna study.
        space: The search space of the study, with the same factors.
    """

    def __init__(self, study: optuna.Study, space: Space) -> None:
        self._study, self._space = study, space
        self._storage = storage_of(study)  # a study's own methods read the trial four times
        self._tries = 0
        """How often the present write has failed so far."""
        self._attributes = study.user_attrs
        trials = study.get_trials(deepcopy=False)
        self._entries = {trial.user_attrs[IDENTITY]: entry_of(trial, cell_of_params(space, trial.params)) for trial in trials}

    @property
    def id(self) -> str:
        """What the ledger is known by to the study's runs in MLflow; the same for all spaces that the study has had."""
        return str(self._attributes[LEDGER_ID])

    def entries(self) -> Mapping[str, LedgerEntry]:
        """The newest entry of every identity, in the order in which the replicates began."""
        return self._entries

    def begin(self, replicate: "Replicate") -> None:
        """Record that a replicate is RUNNING; if an earlier driver left it RUNNING, it stays the same Optuna trial."""
        known = self._entries.get(replicate.identity)
        if known and known.state == TrialState.RUNNING:
            return
        entry = LedgerEntry(
            trial_id=-1,
            state=TrialState.RUNNING,
            values={},
            reason="",
            cell=replicate.cell,
            seed=replicate.seed,
            role=replicate.role,
            tuned=replicate.tuned,
            notes=replicate.notes,
            data=replicate.recipe.data,
            data_digest=replicate.data_digest,
        )
        self._record(replicate, entry, unlike=known)

    def take_over(self, replicate: "Replicate", entry: LedgerEntry) -> None:
        """Record a finished replicate of an earlier search space with its entry there, unless the ledger has it already."""
        if replicate.identity not in self._entries:
            self._record(replicate, dataclasses.replace(entry, cell=replicate.cell), unlike=None)

    def _record(self, replicate: "Replicate", entry: LedgerEntry, *, unlike: LedgerEntry | None) -> None:
        """Make an Optuna trial of an entry."""
        params, distributions = params_and_distributions(self._space, entry.cell, entry.seed)
        attributes = {
            IDENTITY: replicate.identity,
            TITLE: replicate.title,
            LEVELS: entry.cell,
            _ROLE: entry.role,
            TUNED: entry.tuned,
            _NOTES: entry.notes,
            REASON: entry.reason,
            _OUT_OF_MEMORY: entry.num_out_of_memory,
            DATA: entry.data,
            DATA_DIGEST: entry.data_digest,
            _END: _stored_end(entry.end) if entry.end else None,
        }
        trial = create_trial(
            state=entry.state,
            params=params,
            distributions=distributions,
            values=[entry.values[name] for name in OBJECTIVES] if entry.state == TrialState.COMPLETE else None,
            user_attrs={name: value for name, value in attributes.items() if value},
        )
        trial_id = self._written(lambda: self._create(replicate.identity, trial, unlike=unlike))
        self._entries[replicate.identity] = dataclasses.replace(entry, trial_id=trial_id, begun_at_ms=_begun_at_ms(trial))

    def describe(
        self, file_digest: str, planned: Collection[str], data_digests: Mapping[str, str], data_files: Sequence[FileVersion]
    ) -> None:
        """Record which version of the study file is run, with which data, and which replicates of the ledger are not among those
        that it plans.
        """
        self._attribute(DATA_DIGESTS, dict(data_digests))
        self._attribute(DATA_FILES, [[version.file, *version.facts] for version in data_files])
        self._attribute(FILE_DIGEST, file_digest)
        self._attribute(OF_EARLIER_VERSIONS, [identity for identity in self._entries if identity not in planned])

    def expect(self, total: int) -> None:
        """Record how many replicates there will be in all, as far as is known now."""
        self._attribute(NUM_REPLICATES, total)

    def _attribute(self, name: str, value: Any) -> None:
        if self._attributes.get(name) != value:
            self._written(lambda: self._study.set_user_attr(name, value))
            self._attributes[name] = value

    def complete(self, identity: str, metrics: Mapping[str, float], end: ReplicateEnd | None = None) -> None:
        """Record that a RUNNING replicate is COMPLETE, with the values of its objectives."""
        values = {name: metrics[name] for name in OBJECTIVES}
        self._finish(identity, TrialState.COMPLETE, values, end=end)

    def prune(self, identity: str, reason: str, end: ReplicateEnd | None = None) -> None:
        """Record that a RUNNING replicate is PRUNED."""
        self._finish(identity, TrialState.PRUNED, reason=reason, end=end)

    def fail(self, identity: str, reason: str, end: ReplicateEnd | None = None) -> None:
        """Record that a RUNNING replicate has failed (FAIL)."""
        self._finish(identity, TrialState.FAIL, reason=reason, end=end)

    def ran_out_of_memory(self, identity: str, times: int) -> None:
        """Record how often a RUNNING replicate has run out of memory."""
        entry = self._entries[identity]
        self._written(lambda: self._storage.set_trial_user_attr(entry.trial_id, _OUT_OF_MEMORY, times))
        self._entries[identity] = dataclasses.replace(entry, num_out_of_memory=times)

    def meter(self) -> Mapping[str, Any]:
        """What ``store_meter`` stored last; empty if it never did."""
        meter: Mapping[str, Any] = self._attributes.get(METER, {})
        return meter

    def store_meter(self, meter: Mapping[str, Any]) -> None:
        """Record what the study has cost so far (see ``CostMeter.stored``)."""
        self._attribute(METER, dict(meter))

    def _create(self, identity: str, trial: FrozenTrial, *, unlike: LedgerEntry | None) -> int:
        """The id of a new trial, or of the one that an earlier try created without hearing the answer."""
        if self._tries:
            for made in reversed(self._study.get_trials(deepcopy=False)):
                if made.user_attrs.get(IDENTITY) == identity and (unlike is None or trial_id_of(made) != unlike.trial_id):
                    return trial_id_of(made)
        trial_id: int = self._storage.create_new_trial(
            study_id_of(self._study), template_trial=trial
        )  # add_trial does not tell the id
        return trial_id

    def _finish(
        self,
        identity: str,
        state: TrialState,
        values: Mapping[str, float] | None = None,
        *,
        reason: str = "",
        end: ReplicateEnd | None = None,
    ) -> None:
        """The state comes last: until it is there, the trial is RUNNING, and its attributes are written again."""
        entry = self._entries[identity]
        if reason:
            self._written(lambda: self._storage.set_trial_user_attr(entry.trial_id, REASON, reason))
        if end:
            self._written(lambda: self._storage.set_trial_user_attr(entry.trial_id, _END, _stored_end(end)))
        self._written(lambda: self._set_state(entry.trial_id, state, list(values.values()) if values else None))
        self._entries[identity] = dataclasses.replace(entry, state=state, values=values or {}, reason=reason, end=end)

    def _set_state(self, trial_id: int, state: TrialState, values: list[float] | None) -> None:
        try:
            self._storage.set_trial_state_values(trial_id, state, values)
        except UpdateFinishedTrialError:  # an earlier try has set it, without hearing the answer
            if not self._tries:
                raise

    def _written(self, write: Callable[[], Written]) -> Written:
        """Write, and try again while a database does not answer."""
        self._tries = 0
        until = time.monotonic() + SECONDS_OF_PATIENCE
        while True:
            try:
                return write()
            except OSError as error:
                raise LedgerError(f"the ledger could not be written ({error.strerror or error})") from error
            except (OperationalError, InterfaceError, optuna.exceptions.StorageInternalError) as error:
                if time.monotonic() >= until:
                    reason = mask_credentials(first_line(error.__cause__ or error))
                    raise LedgerError(f"the ledger's database did not answer for {SECONDS_OF_PATIENCE:g} s ({reason})") from error
                self._tries += 1
                time.sleep(SECONDS_BETWEEN_TRIES)


def read_ledger(ledger: str, study_name: str, space: Space) -> Mapping[str, LedgerEntry]:
    """The newest entry of every identity of a study; empty if it has no ledger yet. Creates nothing.

    Raises:
        StudyError: The ledger cannot be reached, is none, or is damaged.
    """
    name = name_in_ledger(study_name, space)
    with ledger_problems(ledger):
        if is_absent(ledger):
            return {}
        storage = open_storage(ledger)
        if name not in optuna.get_all_study_names(storage):
            return {}
        return Ledger(optuna.load_study(study_name=name, storage=storage), space).entries()


def open_ledger(ledger: str, study_name: str, space: Space) -> Ledger:
    """The study's ledger, created if it does not exist.

    Raises:
        StudyError: The ledger cannot be reached or written, is none, or is damaged.
    """
    with ledger_problems(ledger):
        if file := file_of(ledger):
            file.parent.mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            study_name=name_in_ledger(study_name, space),
            storage=open_storage(ledger),
            directions=list(OBJECTIVES.values()),
            load_if_exists=True,
        )
        with warnings.catch_warnings(category=ExperimentalWarning, action="ignore"):
            study.set_metric_names(list(OBJECTIVES))
        study.set_user_attr(STUDY_NAME, study_name)
        if LEDGER_ID not in study.user_attrs:
            study.set_user_attr(LEDGER_ID, ledger_id(ledger, study_name) or uuid4().hex)
        return Ledger(study, space)


def name_in_ledger(study_name: str, space: Space) -> str:
    """The name of the Optuna study that holds a study's replicates in this space."""
    essence = "; ".join(f"{factor.name}: {factor.domain!r} {dict(factor.when)!r}" for factor in space.factors)
    return f"{study_name}-{hashlib.sha256(essence.encode()).hexdigest()[:8]}"


def _stored_end(end: ReplicateEnd) -> dict[str, Any]:
    text = end.traceback
    if (left_out := len(text) - LONGEST_TRACEBACK) > 0:
        head, tail = text[: LONGEST_TRACEBACK // 5], text[-LONGEST_TRACEBACK * 4 // 5 :]
        text = f"{head}\n[{left_out} characters left out]\n{tail}"
    return {"at_ms": end.at_ms, "cost": dict(end.cost), **({"traceback": text} if text else {})}


def _read_end(stored: Mapping[str, Any]) -> ReplicateEnd:
    return ReplicateEnd(stored["at_ms"], stored["cost"], stored.get("traceback", ""))


def _begun_at_ms(trial: FrozenTrial) -> int:
    return int(trial.datetime_start.timestamp() * 1000) if trial.datetime_start else 0


def entry_of(trial: FrozenTrial, cell: Cell) -> LedgerEntry:
    """The entry of a replicate, of its Optuna trial and the cell that it stands for."""
    attributes, has_reason = trial.user_attrs, trial.state in (TrialState.FAIL, TrialState.PRUNED)
    has_end = trial.state.is_finished() and _END in attributes
    return LedgerEntry(
        trial_id=trial_id_of(trial),
        state=trial.state,
        values=dict(zip(OBJECTIVES, trial.values or [], strict=False)),
        reason=attributes.get(REASON, "") if has_reason else "",  # else a driver died before it had written the state
        cell=cell,
        seed=trial.params["seed"],
        role=attributes.get(_ROLE, "cell"),
        tuned=attributes.get(TUNED, {}),
        notes=attributes.get(_NOTES, {}),
        num_out_of_memory=attributes.get(_OUT_OF_MEMORY, 0),
        data=attributes.get(DATA, ""),
        data_digest=attributes.get(DATA_DIGEST, ""),
        begun_at_ms=_begun_at_ms(trial),
        end=_read_end(attributes[_END]) if has_end else None,
    )
