"""What was run: counts, the grid of cells and seeds, cost, failures, code and data."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from analysis.records.loading import RecordedStudy
from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Document, Row, Table, filled
from analysis.statistics.overview import Durations, Overview, SeedGridRow, overview
from analysis.words import first_of
from studies.run_record import RunRecord, StudyRecord, levels_in_words

SIGNS = {"finished": "✓", "failed": "F", "pruned": "P", "running": "R", "interrupted": "K", "missing": "–"}
NOT_ASKED = "·"
MEASURED = {"duration_s": "from start to end", "cost/seconds": "training", "cost/gpu_seconds": "on a GPU"}
SECONDS_PER_MINUTE = 60
NUM_NAMED = 3


def overview_document(recorded: RecordedStudy, warnings: Sequence[str]) -> Document:
    """What was run of one study, with the warnings about its records and data."""
    study, found = recorded.study, overview(recorded.runs)
    return Document(
        title=f"{study.name}: what was run",
        lead=study.question,
        verdicts=list(_counts_in_words(study, found)),
        warnings=warnings,
        sections=filled(_states(found), _grid(study, found), _costs(found), _failures(study, found), _provenance(found)),
    )


def overview_data(recorded: RecordedStudy, warnings: Sequence[str]) -> dict[str, Any]:
    """What a study ran, as plain data for JSON: replicates by state, the grid of seeds, durations, failures, provenance."""
    study, found = recorded.study, overview(recorded.runs)
    return {
        "name": study.name,
        "design": study.design,
        "seeds": list(study.seeds),
        "states": found.states,
        "grid": [{"levels": row.levels, "role": row.role, "states": row.states} for row in found.grid],
        "durations": {name: dataclasses.asdict(durations) for name, durations in found.durations.items()},
        "begun_at": _moment(found.begun_at_ms),
        "ended_at": _moment(found.ended_at_ms),
        "failures": {
            reason: [{"identity": run.identity, "levels": run.levels, "seed": run.seed, "role": run.role} for run in runs]
            for reason, runs in found.failures.items()
        },
        "provenance": found.provenance,
        "warnings": list(warnings),
    }


def _counts_in_words(study: StudyRecord, found: Overview) -> Iterator[str]:
    seeds, trainable = formatting.named_seeds(study.seeds), study.trainable or "unknown"
    yield f"Design {study.design.replace('_', ' ')}, {seeds}, trainable {trainable}."
    for role, states in found.states.items():
        counts = ", ".join(f"{num} {state}" for state, num in states.items())
        yield f"{_of_role(role)}: {sum(states.values())} replicates: {counts}."
    if found.begun_at_ms:
        until = f"the last one ended {_moment(found.ended_at_ms)}" if found.ended_at_ms else "none has ended"
        yield f"The first one started {_moment(found.begun_at_ms)}, {until}."
    for name, durations in found.durations.items():
        yield f"Time {MEASURED[name]}: {_duration(durations.total)} in all."


def _of_role(role: str) -> str:
    return {"cell": "Cells", "search": "Trials of the search", "finalist": "Finalists", "tuning": "Trials of the tuning"}[role]


def _states(found: Overview) -> Table:
    columns = [Column("replicates", is_text=True), *(Column(state) for state in SIGNS), Column("in all")]
    rows = [
        Row([_of_role(role), *(str(states.get(state, 0)) for state in SIGNS), str(sum(states.values()))])  # type: ignore[call-overload]
        for role, states in found.states.items()
    ]
    return Table("Replicates by state", "By kind of replicate.", columns, rows)


def _grid(study: StudyRecord, found: Overview) -> Table:
    seeds = sorted({seed for row in found.grid for seed in row.states})
    legend = ", ".join(f"{sign} {state}" for state, sign in SIGNS.items())
    caption = f"One sign for each of the seeds {', '.join(map(str, seeds))}: {legend}, {NOT_ASKED} not asked for."
    columns = [Column("cell", is_text=True), Column("seeds", is_text=True), Column("finished")]
    return Table("Cells and seeds", caption, columns, [Row(_grid_cells(study, row, seeds)) for row in found.grid])


def _grid_cells(study: StudyRecord, row: SeedGridRow, seeds: Sequence[int]) -> list[str]:
    signs = "".join(SIGNS[row.states[seed]] if seed in row.states else NOT_ASKED for seed in seeds)
    num_finished = sum(state == "finished" for state in row.states.values())
    finalist = "finalist " if row.role == "finalist" else ""
    cell = formatting.configuration_in_words(study, row.levels) or levels_in_words(row.levels) or "the only one"
    return [f"{finalist}{cell}", signs, f"{num_finished} of {len(row.states)}"]


def _costs(found: Overview) -> Table:
    columns = [Column("time", is_text=True), *map(Column, ("replicates", "in all", "shortest", "median", "longest"))]
    rows = [Row([MEASURED[name], *_durations(durations)]) for name, durations in found.durations.items()]
    return Table("Cost", "Over the replicates that recorded it.", columns, rows)


def _durations(found: Durations) -> list[str]:
    return [str(found.num_values), *map(_duration, (found.total, found.smallest, found.median, found.largest))]


def _failures(study: StudyRecord, found: Overview) -> Table:
    columns = [Column("reason", is_text=True), Column("replicates"), Column("which", is_text=True)]
    rows = [Row([reason, str(len(runs)), _which(study, runs)]) for reason, runs in found.failures.items()]
    return Table("Failures", "By reason, the most frequent first.", columns, rows)


def _which(study: StudyRecord, runs: Sequence[RunRecord]) -> str:
    named = [f"{formatting.configuration_in_words(study, run.levels)} · seed {run.seed}" for run in runs]
    return first_of(named, NUM_NAMED, "; ")


def _provenance(found: Overview) -> Table:
    columns = [Column("what", is_text=True), Column("value", is_text=True), Column("replicates")]
    rows = [Row([what, value, str(num)]) for what, values in found.provenance.items() for value, num in _most(values)]
    return Table("Code and data", "What the replicates' runs have recorded, and how many have each value.", columns, rows)


def _most(values: Mapping[str, int]) -> list[tuple[str, int]]:
    """All if they are few; a fact may differ from replicate to replicate."""
    pairs = list(values.items())
    if len(pairs) <= NUM_NAMED + 1:
        return pairs
    rest = pairs[NUM_NAMED:]
    return [*pairs[:NUM_NAMED], (f"{len(rest)} other values", sum(num for _, num in rest))]


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if milliseconds else ""


def _duration(seconds: float) -> str:
    """``0.85 s``, ``12:05`` (minutes and seconds) or ``3:12:05``."""
    if seconds < SECONDS_PER_MINUTE:
        return f"{formatting.plain_number(seconds)} s"
    minutes, rest = divmod(round(seconds), SECONDS_PER_MINUTE)
    hours, minutes = divmod(minutes, SECONDS_PER_MINUTE)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
