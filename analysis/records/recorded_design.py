"""What a study asked for: its record among the artifacts of its study run, or what can be put together without it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from mlflow import MlflowClient

from analysis.records.legacy_bounds import bounds_from_words
from analysis.records.mlflow_store import StoredRun
from analysis.words import distinct
from studies import run_record
from studies.credentials import mask_credentials
from studies.process_folders import temporary_folder
from studies.run_record import Level, PlannedReplicate, Role, StudyRecord, unknown_fields
from studies.stores.artifact_locations import artifacts_at

FOUND_BY_TAGS = ("search", "finalist", "tuning")
"""Roles of replicates that a study's record cannot name before they are proposed."""


def read_study_record(
    client: MlflowClient, name: str, study_run: StoredRun | None, runs: Sequence[StoredRun]
) -> tuple[StudyRecord, list[str]]:
    """Read the study's record.

    Args:
        client: Of the store.
        name: The study's name.
        study_run: The study run; None if it is gone.
        runs: The replicate runs, from which the record is put together where it cannot be read.

    Returns:
        The record, and sentences on what is wrong with it.
    """
    if study_run is None:
        said = "The study run is gone from MLflow, and what was asked with it"
        return _pieced_together(name, "", runs), [f"{said}; it is {_PIECED}"]
    text, problem = _record_text(client, study_run)
    if not problem:
        try:
            return StudyRecord.from_json(text), _newer(text)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            problem = f"{type(error).__name__}: {error}"
    said = f"The study's record ({run_record.STUDY_ARTIFACT}) cannot be read ({problem})"
    if design := study_run.tags.get(run_record.DESIGN):
        try:
            study = StudyRecord.from_json(design)
        except (ValueError, TypeError, KeyError, AttributeError):
            pass
        else:
            return _filled(study, runs), [
                f"{said}: the design is as its study run has it, and cells that have no run are unknown."
            ]
    question = study_run.tags.get("mlflow.note.content", "").partition("\n")[0]
    return _pieced_together(name, question, runs), [f"{said}; what was asked is {_PIECED}"]


_PIECED = "pieced together from the replicates' tags: it has no baseline, and replicates that were never begun are unknown."


def _record_text(client: MlflowClient, study_run: StoredRun) -> tuple[str, str]:
    """The text of the record, or why it cannot be read."""
    with temporary_folder("record") as folder:
        try:
            location = client.get_run(study_run.run_id).info.artifact_uri
            artifact = artifacts_at(client, location).download_artifacts(run_record.STUDY_ARTIFACT, str(folder))
            return Path(artifact).read_text(encoding="utf-8"), ""
        except Exception as error:  # noqa: BLE001  # artifact stores have their own kinds
            (first, *_) = str(error).splitlines() or [""]
            return "", mask_credentials(f"{type(error).__name__}: {first}").removesuffix(".")


def _newer(text: str) -> list[str]:
    unknown = unknown_fields(text)
    if not unknown:
        return []
    return [
        f"The study was recorded by a newer spikesweep: {', '.join(unknown)} in its record mean nothing here, and are left out."
    ]


def _filled(study: StudyRecord, runs: Sequence[StoredRun]) -> StudyRecord:
    """The study with a replicate for every seed of every cell that has a run."""
    planned = {planned.identity: planned for planned in map(planned_of, runs) if planned.role not in FOUND_BY_TAGS}
    cells = {_key(replicate.levels): replicate.levels for replicate in planned.values()}
    begun = {(_key(replicate.levels), replicate.seed) for replicate in planned.values()}
    missing = [
        PlannedReplicate("", seed, levels) for key, levels in cells.items() for seed in study.seeds if (key, seed) not in begun
    ]
    ordered = sorted([*planned.values(), *missing], key=lambda replicate: list(cells).index(_key(replicate.levels)))
    return replace(study, replicates=ordered)


def _pieced_together(name: str, question: str, runs: Sequence[StoredRun]) -> StudyRecord:
    planned = [planned_of(run) for run in runs]
    factors: dict[str, list[Level]] = {}
    for replicate in planned:
        for factor, level in replicate.levels.items():
            if level not in factors.setdefault(factor, []):
                factors[factor].append(level)
    study = StudyRecord(
        name=name,
        question=question or "What was asked is not recorded.",
        trainable=", ".join(distinct(run.tags.get(run_record.TRAINABLE, "") for run in runs)),
        design="adaptive_search" if any(replicate.role == "search" for replicate in planned) else "random",
        baseline={},
        factors=factors,
        seeds=sorted({replicate.seed for replicate in planned if replicate.role == "cell"}),
        replicates=[],
    )
    return _filled(study, runs)


def planned_of(run: StoredRun) -> PlannedReplicate:
    """The replicate that the tags of a run describe.

    Raises:
        ValueError: The tags are not as spikesweep writes them.
    """
    levels, tuned = (json.loads(run.tags.get(tag, "{}")) for tag in (run_record.LEVELS, run_record.TUNED))
    if not all(
        isinstance(found, dict) and not any(isinstance(level, dict | list) for level in found.values())
        for found in (levels, tuned)
    ):
        raise ValueError("levels must be a mapping of names to plain values")
    role = _role(run.tags.get(run_record.ROLE, "cell"))
    return PlannedReplicate(run.tags[run_record.IDENTITY], int(run.tags.get(run_record.SEED, "0")), levels, role, tuned)


def is_of_space(study: StudyRecord, replicate: PlannedReplicate) -> bool:
    """Whether a replicate's levels are of the study's factors, and its tuned values of the parameters, as they are now."""
    parameters = study.tuning.get("parameters", {})
    return all(
        name in study.factors
        and (_is_within(level, _bounds_of(study, name)) if name in study.ranges else level in study.factors[name])
        for name, level in replicate.levels.items()
    ) and all(
        not parameters or (name in parameters and _is_within(value, _tuning_bounds_of(study, name)))
        for name, value in replicate.tuned.items()
    )


def _bounds_of(study: StudyRecord, factor: str) -> Mapping[str, Any] | None:
    return study.bounds.get(factor) or bounds_from_words(study.ranges[factor])


def _tuning_bounds_of(study: StudyRecord, parameter: str) -> Mapping[str, Any] | None:
    return study.tuning_bounds.get(parameter) or bounds_from_words(str(study.tuning["parameters"][parameter]))


def _is_within(value: Level, bounds: Mapping[str, Any] | None) -> bool:
    """Whether a value is in a range; without bounds, and of what is no number, any value may be."""
    if bounds is None or isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return bool(bounds["low"] <= value <= bounds["high"])


def _role(text: str) -> Role:
    return next((role for role in get_args(Role) if role == text), "cell")


def _key(levels: Mapping[str, Level]) -> frozenset[tuple[str, Level]]:
    return frozenset(levels.items())
