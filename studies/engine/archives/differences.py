"""What a run that is in a store already lacks of the archived one, and what speaks against its being the same."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from studies import run_record
from studies.engine.archives.archived_run import PARENT_RUN, STUDY_KEY, ArchivedRun
from studies.engine.archives.metric_histories import Point, repr_of
from studies.engine.recording.replicate_runs import DESCRIPTION

NUM_NAMED = 3
NOT_COMPARED = {PARENT_RUN, DESCRIPTION}
"""Tags that are another store's, and a person's."""


@dataclass(frozen=True)
class Comparison:
    """``missing`` is the archived run without what the store has; it is None where nothing is to be written."""

    missing: ArchivedRun | None
    contradictions: tuple[str, ...] = ()


def compare_runs(archived: ArchivedRun, there: ArchivedRun) -> Comparison:
    """The rule: what the store has stays as it is, what it lacks is added, and what contradicts is told.

    A run that has not ended may be behind the archive, and one may be ahead of an archive that was made while it ran; two that
    have ended must be the same. Tags that only the store has are the user's.
    """
    if archived.key == STUDY_KEY:
        return _compare_studies(archived, there)
    said = _contradicting_facts(archived, there)
    ours, theirs = _points(archived.metrics), _points(there.metrics)
    if not (theirs <= ours or ours <= theirs) or (archived.has_ended and there.has_ended and ours != theirs):
        said.append(f"metrics {_some(name for name, *_ in sorted(ours ^ theirs))}")
    if archived.has_ended and there.has_ended and (archived.status, archived.ended_at_ms) != (there.status, there.ended_at_ms):
        said.append(f"its end (the archive's is {archived.status}, the store's {there.status})")
    if said:
        return Comparison(None, tuple(said))
    return Comparison(None if there.has_ended else _difference(archived, there))


def _compare_studies(archived: ArchivedRun, there: ArchivedRun) -> Comparison:
    """The parent run of a study that has been run in the store since is the store's; only its design must be the archive's."""
    ours, theirs = (run.tags.get(run_record.DESIGN) for run in (archived, there))
    if ours and theirs and ours != theirs:
        return Comparison(None, ("the study's design",))
    is_half_imported = not there.has_ended and there.begun_at_ms == archived.begun_at_ms
    return Comparison(replace(_difference(archived, there), tags=archived.tags) if is_half_imported else None)


def _contradicting_facts(archived: ArchivedRun, there: ArchivedRun) -> list[str]:
    said = [] if archived.begun_at_ms == there.begun_at_ms else ["its start"]
    for kind, ours, theirs in (("parameters", archived.params, there.params), ("tags", archived.tags, there.tags)):
        names = [name for name in ours.keys() & theirs.keys() - NOT_COMPARED if ours[name] != theirs[name]]
        said += [f"{kind} {_some(sorted(names))}"] if names else []
    return said


def _points(metrics: Mapping[str, Iterable[Point]]) -> set[tuple[str, int, int, str]]:
    return {(name, *repr_of(point)) for name, points in metrics.items() for point in points}


def _difference(archived: ArchivedRun, there: ArchivedRun) -> ArchivedRun:
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
