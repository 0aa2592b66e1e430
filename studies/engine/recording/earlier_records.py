"""What MLflow has of a study before its driver begins: whose it is, and what is finished there although the ledger lacks it.

A study is found in MLflow by its name, which two storages may have given to different studies. So the study's run names the
ledger that it belongs to, and the storage in which that ledger lies.
"""

import json
import math
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from optuna.trial import TrialState

from studies import run_record
from studies.credentials import mask_uri
from studies.engine.binding.replicates import Replicate
from studies.engine.definition.locations import Stores
from studies.engine.definition.study import Study
from studies.engine.errors import Problem, StudyError
from studies.engine.ledger.ledger import Ledger, LedgerEntry
from studies.engine.recording.mlflow_store import store_problem
from studies.run_record import OBJECTIVES
from studies.stores.mlflow_access import StoreError, find_experiment, of_kind, open_store, search_runs
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.files import inside


@dataclass(frozen=True)
class EarlierRecords:
    """Replicates that the ledger lacks and that have ended in MLflow, each with its run."""

    ended: Sequence[tuple[Replicate, Run]] = ()

    def take_over(self, ledger: Ledger) -> None:
        """Give the ledger what MLflow has, so that it is not trained again."""
        for replicate, run in self.ended:
            ledger.begin(replicate)
            if run.info.status == "FINISHED":
                ledger.complete(replicate.identity, run.data.metrics)
            else:
                ledger.fail(replicate.identity, run.data.tags.get(run_record.REASON, "it failed before it was imported"))


def owner_tag(stores: Stores, ledger_id: str) -> str:
    """The text of the tag ``run_record.OWNER``."""
    return json.dumps({"ledger": ledger_id, "storage": str(stores.storage), "host": socket.gethostname()})


def read_earlier_records(study: Study, ledger_id: str | None, entries: Mapping[str, LedgerEntry]) -> EarlierRecords:
    """See whether MLflow's runs of a study are its own, and find those that have ended and that its ledger lacks.

    Args:
        study: The study.
        ledger_id: The id of its ledger; empty if an earlier version made it, None if it has no record of the study.
        entries: The ledger's.

    Raises:
        StudyError: They are another storage's, or are what only their own ledger can continue.
    """
    stores = study.stores
    try:
        client = open_store(stores.tracking_uri)
        experiment_id = find_experiment(client, stores.name, deleted=True)
        if experiment_id is None:
            return EarlierRecords()
        _check_owner(client, stores, experiment_id, ledger_id)
        lacking = {each.identity: each for each in study.replicates if _is_open(entries.get(each.identity))}
        is_proposed = bool(study.search or study.tuning)
        if not lacking and not (is_proposed and ledger_id is None):
            return EarlierRecords()
        runs = list(search_runs(client, experiment_id, of_kind(run_record.KIND_REPLICATE, stores.name)))
    except StoreError:
        return EarlierRecords()  # whoever writes to it will say what is wrong
    except MlflowException as error:
        rule, repair = "MLflow's store must give the study's runs", "see that it is whole, and that it answers"
        raise StudyError([store_problem(stores.tracking_uri, rule, error, repair)]) from None
    if is_proposed:
        _check_can_continue(stores, runs)
        return EarlierRecords()
    ended = {run.data.tags.get(run_record.IDENTITY, ""): run for run in runs if _has_ended(run)}  # the oldest comes last
    ended = {identity: run for identity, run in ended.items() if identity not in entries or run.info.status == "FINISHED"}
    return EarlierRecords([(replicate, ended[identity]) for identity, replicate in lacking.items() if identity in ended])


def _is_open(entry: LedgerEntry | None) -> bool:
    """Whether the ledger knows no end of a replicate; a driver may have died while it took one over."""
    return entry is None or entry.state == TrialState.RUNNING


def _has_ended(run: Run) -> bool:
    """Whether a run is what the ledger calls complete or failed."""
    values = [run.data.metrics.get(name, math.nan) for name in OBJECTIVES]
    return run.info.status == "FAILED" or (run.info.status == "FINISHED" and all(map(math.isfinite, values)))


def _check_can_continue(stores: Stores, runs: Sequence[Run]) -> None:
    """What a search proposes follows from its ledger and from the reports beside its checkpoints, which MLflow has not."""
    finished = [run.data.tags.get(run_record.IDENTITY, "") for run in runs if run.info.status == "FINISHED"]
    folders = [CheckpointFolder(inside(stores.checkpoints, identity)) for identity in finished if identity]
    if lost := [folder for folder in folders if not folder.finished_reports(weights_too=False)]:
        rule = "a search must be continued with its ledger and its checkpoints"
        value = f"{stores.name}: MLflow has {len(lost)} finished replicates of which the storage has no record"
        repair = f"copy the folders ledgers and checkpoints of its storage to {stores.storage}, or begin another: --set name=…"
        raise StudyError([Problem("ledger", rule, value, repair)])


def _check_owner(client: MlflowClient, stores: Stores, experiment_id: str, ledger_id: str | None) -> None:
    of_study = of_kind(run_record.KIND_STUDY, stores.name)
    found = client.search_runs([experiment_id], of_study, run_view_type=ViewType.ALL, max_results=1)
    owner = _owner_in(found[0].data.tags.get(run_record.OWNER, "")) if found else None
    if owner is None:
        return  # an earlier version wrote it, or it was imported: it belongs to whoever continues it first
    storage = Path(owner["storage"])
    is_of_here = owner["host"] == socket.gethostname()
    is_other = is_of_here and storage.is_dir() and not (stores.storage.is_dir() and storage.samefile(stores.storage))
    if owner["ledger"] == ledger_id:
        if stores.has_own_tracking_file or not is_other:
            return
        said = f"; {stores.storage} is a copy of it"
    else:
        if ledger_id is None and not is_other and (stores.has_own_tracking_file or (is_of_here and storage == stores.storage)):
            return  # its ledger was lost
        said = ""
    rule = "the runs that MLflow has of a study must be of this storage"
    value = f"{stores.name} in {mask_uri(stores.tracking_uri)} is of the storage {storage} on {owner['host']}{said}"
    repair = (
        f"go on there, or give this study another name (--set name=…); if that storage is gone, delete the tag {run_record.OWNER}"
    )
    raise StudyError([Problem("name", rule, value, f"{repair} of the study's run in MLflow")])


def _owner_in(text: str) -> dict[str, str] | None:
    """What the tag says; None if there is none, or a person has changed it."""
    try:
        owner = json.loads(text)
        return {name: str(owner[name]) for name in ("ledger", "storage", "host")}
    except (ValueError, TypeError, KeyError):
        return None
