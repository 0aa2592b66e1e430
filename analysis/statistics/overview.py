"""What was run: replicates by state, cells by seed, cost, durations, failures, code and data."""

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.statistics.data.cells import group_by_levels
from studies.run_record import COMPARED_ROLES, Level, Role, RunRecord

State = Literal["finished", "failed", "pruned", "running", "interrupted", "missing"]
STATES: Mapping[str, State] = {
    "FINISHED": "finished",
    "FAILED": "failed",
    "PRUNED": "pruned",
    "RUNNING": "running",
    "SCHEDULED": "running",
    "KILLED": "interrupted",
    "MISSING": "missing",
}
"""By a ``RunRecord.status``."""
COSTS = ("cost/seconds", "cost/gpu_seconds")


@dataclass(frozen=True)
class SeedGridRow:
    """One cell of the design, or one finalist: the state of each of its replicates, by seed."""

    levels: Mapping[str, Level]
    role: Role
    states: Mapping[int, State]


@dataclass(frozen=True)
class Durations:
    """How long some replicates took, each and in all, in seconds."""

    num_values: int
    total: float
    smallest: float
    median: float
    largest: float


@dataclass(frozen=True)
class Overview:
    """What was run of a study, counted over all replicates, those of searches and tunings too."""

    states: Mapping[Role, Mapping[State, int]]
    grid: Sequence[SeedGridRow]
    durations: Mapping[str, Durations]
    """Of ``duration_s`` (from start to end of a run that has ended) and of every cost metric that there is, in seconds."""
    begun_at_ms: int
    """The first one; 0 where none has begun."""
    ended_at_ms: int
    failures: Mapping[str, Sequence[RunRecord]]
    """By reason, the most frequent first."""
    provenance: Mapping[str, Mapping[str, int]]
    """Of data, commit, each package and each fact: the values, and how many replicates have each."""


def overview(runs: Sequence[RunRecord]) -> Overview:
    """Count the replicates of one study by state, cost, failure and provenance."""
    begun = [run.begun_at_ms for run in runs if run.begun_at_ms]
    return Overview(
        states=_states(runs),
        grid=_grid(runs),
        durations=_durations(runs),
        begun_at_ms=min(begun, default=0),
        ended_at_ms=max((run.ended_at_ms for run in runs), default=0),
        failures=_failures(runs),
        provenance=_provenance(runs),
    )


def state_of(run: RunRecord) -> State:
    """A replicate's state in one word; what MLflow does not know either counts as running."""
    return STATES.get(run.status, "running")


def _states(runs: Sequence[RunRecord]) -> dict[Role, dict[State, int]]:
    counts: dict[Role, dict[State, int]] = {}
    for run in runs:
        of_role = counts.setdefault(run.role, {})
        of_role[state_of(run)] = of_role.get(state_of(run), 0) + 1
    return counts


def _grid(runs: Sequence[RunRecord]) -> list[SeedGridRow]:
    return [
        SeedGridRow(cell[0].levels, role, {run.seed: state_of(run) for run in cell})
        for role in COMPARED_ROLES
        for cell in group_by_levels(run for run in runs if run.role == role).values()
    ]


def _durations(runs: Sequence[RunRecord]) -> dict[str, Durations]:
    from_begin_to_end = [(run.ended_at_ms - run.begun_at_ms) / 1000 for run in runs if run.ended_at_ms and run.begun_at_ms]
    values = {"duration_s": from_begin_to_end}
    for cost in COSTS:
        values[cost] = [run.metrics[cost] for run in runs if math.isfinite(run.metrics.get(cost, math.nan))]
    return {name: _durations_of(found) for name, found in values.items() if found}


def _durations_of(values: Sequence[float]) -> Durations:
    return Durations(len(values), math.fsum(values), min(values), statistics.median(values), max(values))


def _failures(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    by_reason: dict[str, list[RunRecord]] = {}
    for run in runs:
        if run.status == "FAILED":
            by_reason.setdefault(run.reason or "no reason was recorded", []).append(run)
    return dict(sorted(by_reason.items(), key=lambda pair: -len(pair[1])))


def _provenance(runs: Sequence[RunRecord]) -> dict[str, dict[str, int]]:
    begun = [run for run in runs if run.run_id]
    found = {"data digest": _counts(run.data_digest for run in begun), "commit": _counts(run.git_commit for run in begun)}
    for text, num in _counts(run.versions for run in begun).items():
        for package, version in _versions(text).items():
            of_package = found.setdefault(package, {})
            of_package[version] = of_package.get(version, 0) + num
    for fact in sorted({name for run in begun for name in run.facts}):
        found[fact] = _counts(run.facts.get(fact, "") for run in begun)
    return {what: values for what, values in found.items() if values}


def _versions(text: str) -> dict[str, str]:
    try:
        return {str(package): str(version) for package, version in json.loads(text).items()}
    except (ValueError, AttributeError):  # set by hand
        return {}


def _counts(texts: Iterable[str]) -> dict[str, int]:
    return dict(Counter(text for text in texts if text).most_common())
