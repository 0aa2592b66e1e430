"""What a run that is in a store lacks of the archived run, and where the two contradict each other."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from studies import run_record
from studies.engine.archives.archived_run import STUDY_KEY, STUDY_RUN_TAG, ArchivedRun, Point
from studies.engine.archives.metric_histories import repr_of
from studies.engine.recording.mlflow_ui_internals import MODEL_HISTORY
from studies.engine.recording.replicate_runs import DESCRIPTION

NUM_NAMED = 3
NOT_COMPARED = {STUDY_RUN_TAG, DESCRIPTION, MODEL_HISTORY}
"""Tags that name ids of a store, or that a person may edit."""


@dataclass(frozen=True)
class ArchiveDifference:
    """How a run in a store differs from the archived one."""

    missing: ArchivedRun | None
    """The archived run without what the store has; None where nothing is to be written."""
    contradictions: tuple[str, ...] = ()
    """What both have and differs, in words; of such a run nothing is written."""


def compare_runs(archived: ArchivedRun, there: ArchivedRun) -> ArchiveDifference:
    """Compare an archived run with the store's: what the store has stays, what it lacks is missing, the rest is a contradiction.

    A run that has not ended may be behind the archive, and one may be ahead of an archive that was made while it ran; two that
    have ended must be the same. Tags that only the store has are the user's.
    """
    if archived.key == STUDY_KEY:
        return _compare_study_runs(archived, there)
    said = _contradicting_facts(archived, there)
    ours, theirs = _points(archived.metrics), _points(there.metrics)
    if not (theirs <= ours or ours <= theirs) or (archived.has_ended and there.has_ended and ours != theirs):
        said.append(f"metrics {_some(name for name, *_ in sorted(ours ^ theirs))}")
    if archived.has_ended and there.has_ended and (archived.status, archived.ended_at_ms) != (there.status, there.ended_at_ms):
        said.append(f"its end (the archive's is {archived.status}, the store's {there.status})")
    if said:
        return ArchiveDifference(None, tuple(said))
    return ArchiveDifference(None if there.has_ended else _missing_part(archived, there))


def _compare_study_runs(archived: ArchivedRun, there: ArchivedRun) -> ArchiveDifference:
    """A study that was run in the store since keeps its study run; only the design must be the archive's."""
    ours, theirs = (run.tags.get(run_record.DESIGN) for run in (archived, there))
    if ours and theirs and not _is_same_design(ours, theirs):
        return ArchiveDifference(None, ("the study's design",))
    is_half_imported = not there.has_ended and there.begun_at_ms == archived.begun_at_ms
    return ArchiveDifference(replace(_missing_part(archived, there), tags=archived.tags) if is_half_imported else None)


def _is_same_design(first: str, second: str) -> bool:
    """Whether two study records without replicates, as JSON, agree in every field that both have: versions differ in fields."""
    if first == second:
        return True
    try:
        ours, theirs = json.loads(first), json.loads(second)
        return all(ours[name] == theirs[name] for name in ours.keys() & theirs.keys())
    except (ValueError, AttributeError):
        return False


def _contradicting_facts(archived: ArchivedRun, there: ArchivedRun) -> list[str]:
    said = [] if archived.begun_at_ms == there.begun_at_ms else ["its start"]
    for kind, ours, theirs in (("parameters", archived.params, there.params), ("tags", archived.tags, there.tags)):
        names = [name for name in ours.keys() & theirs.keys() - NOT_COMPARED if ours[name] != theirs[name]]
        said += [f"{kind} {_some(sorted(names))}"] if names else []
    return said


def _points(metrics: Mapping[str, Iterable[Point]]) -> set[tuple[str, int, int, str]]:
    return {(name, *repr_of(point)) for name, points in metrics.items() for point in points}


def _missing_part(archived: ArchivedRun, there: ArchivedRun) -> ArchivedRun:
    known = _points(there.metrics)
    metrics = {
        name: [point for point in points if (name, *repr_of(point)) not in known] for name, points in archived.metrics.items()
    }
    return replace(
        archived,
        metrics={name: points for name, points in metrics.items() if points},
        params={name: value for name, value in archived.params.items() if name not in there.params},
        tags={name: value for name, value in archived.tags.items() if name not in there.tags},
    )


def _some(names: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - NUM_NAMED} more" if len(distinct) > NUM_NAMED else ""
    return ", ".join(distinct[:NUM_NAMED]) + more
