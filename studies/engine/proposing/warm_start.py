"""Warm start: results of earlier studies that a search may learn from, read from MLflow."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities import Run

from search_spaces.language.space import Cell, cell_key
from studies import run_record
from studies.engine.binding.configurations import TRAINABLE
from studies.engine.definition.study import Study
from studies.engine.errors import Problem, StudyError, closest
from studies.engine.proposing.adaptive_search import KnownConfiguration, WarmStart
from studies.engine.recording.mlflow_store import connect
from studies.stores.mlflow_access import all_experiments, find_experiment, of_kind, search_runs
from studies.stores.store_uris import sqlite_file


def read_warm_start(study: Study) -> WarmStart:
    """The configurations of earlier studies that this study would train in the very same way (same identity).

    Replicates that did not complete are left out, and so are those of seeds that finalists will be trained with, which must not
    play a part in choosing them.

    Raises:
        StudyError: The store does not answer or has no such study, or the study names itself.
    """
    if study.search is None or not study.search.warm_start:
        return WarmStart()
    kept_back = study.seeds[study.search.seeds_per_trial :] if study.search.finalists else ()
    left_out: Counter[str] = Counter()
    found: dict[object, tuple[Cell, dict[int, Mapping[str, float]]]] = {}
    for run in _finished_runs(study, study.search.warm_start):
        cell, why_not = _cell_of(study, run)
        seed = int(run.data.tags[run_record.SEED])
        if cell is None:
            left_out[why_not] += 1
        elif seed in kept_back:
            left_out["are of the seeds that finalists are trained with"] += 1
        else:
            _, metrics = found.setdefault(cell_key(cell), (cell, {}))
            metrics[seed] = dict(run.data.metrics)
    notes = [f"Of the earlier studies' runs {num} {why}, and were left out." for why, num in sorted(left_out.items())]
    return WarmStart([KnownConfiguration(cell, metrics) for cell, metrics in found.values()], notes)


def _finished_runs(study: Study, names: Sequence[str]) -> list[Run]:
    """The complete replicates of studies, in the order in which they began."""
    file = sqlite_file(study.stores.tracking_uri)
    client = None if file and not file.exists() else connect(study.stores.tracking_uri)  # which would make the file
    runs = [run for name in dict.fromkeys(names) for run in _runs_of(study, client, name)]
    return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))


def _runs_of(study: Study, client: MlflowClient | None, name: str) -> list[Run]:
    if name == study.stores.name:
        rule, repair = "warm_start must name other studies", "leave it out: a study knows its own runs"
        raise StudyError([Problem("design.warm_start", rule, name, repair)])
    experiment_id = find_experiment(client, name) if client else None
    if client is None or experiment_id is None:
        names = [other.name for other in all_experiments(client)] if client else []
        rule, repair = "warm_start must name studies that this MLflow store has", closest(name, names)
        raise StudyError([Problem("design.warm_start", rule, name, repair if names else "run that study first, or leave it out")])
    query = f"{of_kind(run_record.KIND_REPLICATE, name)} and attributes.status = 'FINISHED'"
    return list(search_runs(client, experiment_id, query))


def _cell_of(study: Study, run: Run) -> tuple[Cell | None, str]:
    """The run's cell in this study's space if this study would train the same replicate for it; else None and the reason."""
    tags = run.data.tags
    outside = "are outside of the search space"
    try:
        config = {**json.loads(tags[run_record.CONFIG]), TRAINABLE: tags[run_record.TRAINABLE]}
        cell = study.space.active(config)
        if not study.space.contains(cell) or not study.binder.accepts(cell):
            return None, outside
        replicate = study.binder.replicate(cell, int(tags[run_record.SEED]))
    except (KeyError, ValueError):
        return None, outside
    return (cell, "") if replicate.identity == tags[run_record.IDENTITY] else (None, "have another recipe or other data")
