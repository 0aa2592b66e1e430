"""The runs that MLflow has of a study, also where a person has since deleted some of them, or has changed their tags."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Run, RunTag

from studies import run_record
from studies.engine.binding.replicates import Replicate
from studies.engine.definition.study import Study
from studies.engine.recording.replicate_runs import PARENT, tags_of
from studies.stores.mlflow_access import search_runs

_FOUND_BY = (run_record.KIND, run_record.STUDY, run_record.IDENTITY, PARENT)
"""The tags by which a run is found; whatever else a person has written into them is put right."""
_RECIPE = (run_record.TRAINABLE, run_record.CONFIG, run_record.SEED, run_record.DATA_DIGEST)
"""The tags that say what a replicate was trained with: no two replicates of a study have all the same."""


@dataclass(frozen=True)
class FoundRuns:
    """The study's own run, if there is one, and the run of each replicate, by identity."""

    study_run: Run | None
    replicates: Mapping[str, Run]


def find_runs(client: MlflowClient, study: Study, experiment_id: str, planned: Sequence[Replicate]) -> FoundRuns:
    """Find the runs of a study, and restore and mend those of its own and of planned replicates, so that none is made twice.

    A run that was deleted is restored. One whose tags were changed or deleted is known by its parent and by what it was trained
    with, and gets the tags by which it is found.
    """
    active = list(search_runs(client, experiment_id))  # all of them: no query finds a run whose tag is missing
    deleted = list(search_runs(client, experiment_id, deleted=True))
    parents = Counter(run.data.tags.get(PARENT, "") for run in (*active, *deleted) if _is_replicate(run, study))
    study_run = _first_study_run(active, study, parents) or _restored(client, _first_study_run(deleted, study, parents))
    ids = {*parents, *({study_run.info.run_id} if study_run else ())} - {""}
    found = {run.data.tags[run_record.IDENTITY]: run for run in active if _is_replicate(run, study)}
    lacking = {replicate.identity: replicate for replicate in planned if replicate.identity not in found}
    named = {replicate.identity for replicate in planned}
    strays = [run for run in active if not _is_replicate(run, study) or run.data.tags[run_record.IDENTITY] not in named]
    for runs in (strays, deleted):
        for identity, run in _matched(runs, lacking, study, ids).items():
            found.pop(run.data.tags.get(run_record.IDENTITY, ""), None)
            found[identity] = run if runs is strays else _restored(client, run) or run
            del lacking[identity]
    if study_run:
        for replicate in planned:
            if run := found.get(replicate.identity):
                _mend(client, run, tags_of(study, replicate, study_run.info.run_id, experiment_id))
    return FoundRuns(study_run, found)


def _is_replicate(run: Run, study: Study) -> bool:
    tags = run.data.tags
    return (
        tags.get(run_record.KIND) == run_record.KIND_REPLICATE
        and tags.get(run_record.STUDY) == study.stores.name
        and run_record.IDENTITY in tags
    )


def _may_be_of(run: Run, study: Study, parents: set[str]) -> bool:
    """Whether a run is below the study's own, or says itself that it is of the study."""
    return run.data.tags.get(PARENT) in parents or run.data.tags.get(run_record.STUDY) == study.stores.name


def _first_study_run(runs: Sequence[Run], study: Study, parents: Counter[str]) -> Run | None:
    """The newest study run; else the run that the replicates have as their parent."""
    of_study = (run_record.KIND_STUDY, study.stores.name)
    ours = [run for run in runs if (run.data.tags.get(run_record.KIND), run.data.tags.get(run_record.STUDY)) == of_study]
    return next(iter([*ours, *(run for run in runs if run.info.run_id in parents)]), None)


def _restored(client: MlflowClient, run: Run | None) -> Run | None:
    if run:
        client.restore_run(run.info.run_id)
    return run


def _matched(runs: Sequence[Run], lacking: Mapping[str, Replicate], study: Study, parents: set[str]) -> dict[str, Run]:
    """Of these runs those of replicates that lack one: of several the finished one, and of these the one that began first."""
    by_recipe = {_recipe_of(tags_of(study, replicate, "", "")): identity for identity, replicate in lacking.items()}
    matched: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: (run.info.status != "FINISHED", run.info.start_time or 0)):
        if _may_be_of(run, study, parents):
            tags = run.data.tags
            identity = tags.get(run_record.IDENTITY, "")
            known = identity if identity in lacking else by_recipe.get(_recipe_of(tags), "")
            if known:
                matched.setdefault(known, run)
    return matched


def _recipe_of(tags: Mapping[str, str]) -> tuple[str | None, ...]:
    return tuple(tags.get(name) for name in _RECIPE)


def _mend(client: MlflowClient, run: Run, right: Mapping[str, str]) -> None:
    """Put right the tags by which a run is found, and put back those that are missing."""
    tags = run.data.tags
    wrong = [name for name in right if name not in tags or (name in _FOUND_BY and tags[name] != right[name])]
    if wrong:
        client.log_batch(run.info.run_id, tags=[RunTag(name, right[name]) for name in wrong])
