"""What was run, in words: counts, the grid of cells and seeds, cost, failures, code and data."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from analysis.records.loading import RecordedStudy
from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Line, Section
from analysis.reporting.formats.document import Document
from analysis.statistics.overview import GridLine, Overview, Spread, overview
from studies.run_record import RunRecord, StudyRecord, levels_in_words

SIGNS = {"finished": "✓", "failed": "F", "pruned": "P", "running": "R", "interrupted": "K", "missing": "–"}
NOT_ASKED = "·"
SPREADS = {"duration_s": "from begin to end", "cost/seconds": "training", "cost/gpu_seconds": "on a GPU"}
SECONDS_PER_MINUTE = 60
NUM_NAMED = 3


def overview_document(recorded: RecordedStudy, remarks: Sequence[str]) -> Document:
    """Everything that was run of one study; ``remarks`` are what is odd about it."""
    study, found = recorded.study, overview(recorded.runs)
    sections = [_states(found), _grid(study, found), _spreads(found), _failures(study, found), _provenance(found)]
    return Document(
        title=f"{study.name}: what was run",
        lead=study.question,
        sentences=list(_sentences(study, found)),
        warnings=remarks,
        sections=[section for section in sections if section.lines],
    )


def overview_data(recorded: RecordedStudy, remarks: Sequence[str]) -> dict[str, Any]:
    """The same for a script: plain data, for JSON."""
    study, found = recorded.study, overview(recorded.runs)
    return {
        "name": study.name,
        "design": study.design,
        "seeds": list(study.seeds),
        "states": found.states,
        "grid": [{"levels": line.levels, "role": line.role, "states": line.states} for line in found.grid],
        "spreads": {name: dataclasses.asdict(spread) for name, spread in found.spreads.items()},
        "begun_at": _moment(found.begun_at_ms),
        "ended_at": _moment(found.ended_at_ms),
        "failures": {
            reason: [{"identity": run.identity, "levels": run.levels, "seed": run.seed, "role": run.role} for run in runs]
            for reason, runs in found.failures.items()
        },
        "provenance": found.provenance,
        "warnings": list(remarks),
    }


def _sentences(study: StudyRecord, found: Overview) -> Iterator[str]:
    seeds, trainable = formatting.named_seeds(study.seeds), study.trainable or "unknown"
    yield f"Design {study.design.replace('_', ' ')}, {seeds}, trainable {trainable}."
    for role, states in found.states.items():
        counts = ", ".join(f"{num} {state}" for state, num in states.items())
        yield f"{_of_role(role)}: {sum(states.values())} replicates: {counts}."
    if found.begun_at_ms:
        until = f"the last ended {_moment(found.ended_at_ms)}" if found.ended_at_ms else "none has ended"
        yield f"The first began {_moment(found.begun_at_ms)}, {until}."
    for name, spread in found.spreads.items():
        yield f"Time {SPREADS[name]}: {_duration(spread.total)} in all."


def _of_role(role: str) -> str:
    return {"cell": "Cells", "search": "Trials of the search", "finalist": "Finalists", "tuning": "Trials of the tuning"}[role]


def _states(found: Overview) -> Section:
    columns = [Column("replicates", is_text=True), *(Column(state) for state in SIGNS), Column("in all")]
    lines = [
        Line([_of_role(role), *(str(states.get(state, 0)) for state in SIGNS), str(sum(states.values()))])  # type: ignore[call-overload]
        for role, states in found.states.items()
    ]
    return Section("Replicates by state", "Of every kind of replicate.", columns, lines)


def _grid(study: StudyRecord, found: Overview) -> Section:
    seeds = sorted({seed for line in found.grid for seed in line.states})
    legend = ", ".join(f"{sign} {state}" for state, sign in SIGNS.items())
    caption = f"A sign for every seed, in their order ({', '.join(map(str, seeds))}): {legend}, {NOT_ASKED} not asked for."
    columns = [Column("cell", is_text=True), Column("seeds", is_text=True), Column("finished")]
    return Section("Cells and seeds", caption, columns, [Line(_grid_cells(study, line, seeds)) for line in found.grid])


def _grid_cells(study: StudyRecord, line: GridLine, seeds: Sequence[int]) -> list[str]:
    signs = "".join(SIGNS[line.states[seed]] if seed in line.states else NOT_ASKED for seed in seeds)
    num_finished = sum(state == "finished" for state in line.states.values())
    finalist = "finalist " if line.role == "finalist" else ""
    cell = formatting.configuration_in_words(study, line.levels) or levels_in_words(line.levels) or "the only one"
    return [f"{finalist}{cell}", signs, f"{num_finished} of {len(line.states)}"]


def _spreads(found: Overview) -> Section:
    columns = [Column("time", is_text=True), *map(Column, ("replicates", "in all", "shortest", "median", "longest"))]
    lines = [Line([SPREADS[name], *_spread(spread)]) for name, spread in found.spreads.items()]
    return Section("Cost", "Of the replicates that say what they took.", columns, lines)


def _spread(spread: Spread) -> list[str]:
    return [str(spread.num_values), *map(_duration, (spread.total, spread.smallest, spread.median, spread.largest))]


def _failures(study: StudyRecord, found: Overview) -> Section:
    columns = [Column("reason", is_text=True), Column("replicates"), Column("which", is_text=True)]
    lines = [Line([reason, str(len(runs)), _which(study, runs)]) for reason, runs in found.failures.items()]
    return Section("Failures", "By reason, the most frequent first.", columns, lines)


def _which(study: StudyRecord, runs: Sequence[RunRecord]) -> str:
    more = f" and {len(runs) - NUM_NAMED} more" if len(runs) > NUM_NAMED else ""
    named = (f"{formatting.configuration_in_words(study, run.levels)} · seed {run.seed}" for run in runs[:NUM_NAMED])
    return "; ".join(named) + more


def _provenance(found: Overview) -> Section:
    columns = [Column("what", is_text=True), Column("value", is_text=True), Column("replicates")]
    lines = [Line([what, value, str(num)]) for what, values in found.provenance.items() for value, num in _most(values)]
    return Section("Code and data", "What the replicates' runs say, and how many say so.", columns, lines)


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
