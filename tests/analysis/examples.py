"""Small synthetic studies, whose numbers one can work out by hand."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from analysis.reporting.formats.html import to_html
from analysis.reporting.formats.markdown import to_markdown
from analysis.reporting.formats.tables_csv import configurations_csv, effects_csv, replicates_csv
from analysis.reporting.formats.terminal import to_terminal
from analysis.reporting.summary_document import summary_document
from analysis.statistics.summary import Summary
from studies.run_record import ACCURACY, SPARSITY, TEST_ACCURACY, Level, PlannedReplicate, Role, RunRecord, StudyRecord


def run_of(
    levels: Mapping[str, Level],
    seed: int,
    accuracy: float = 0.5,
    *,
    role: Role = "cell",
    status: str = "FINISHED",
    sparsity: float = 0.9,
    tuned: Mapping[str, Level] | None = None,
    **others: float,
) -> RunRecord:
    """A replicate that measured this; without metrics if it has not finished. Its curve climbs to the accuracy in 2 steps."""
    metrics = {ACCURACY: accuracy, SPARSITY: sparsity, TEST_ACCURACY: accuracy - 0.01, **others}
    return RunRecord(
        f"{role} {levels} {tuned} {seed}",
        seed,
        levels,
        status,
        role=role,
        tuned=tuned or {},
        metrics=metrics if status == "FINISHED" else {},
        accuracy_at_t=(accuracy / 2, accuracy) if status == "FINISHED" else (),
    )


def study_of(design: str, factors: Mapping[str, Sequence[Level]], runs: Sequence[RunRecord], **others: Any) -> StudyRecord:
    """The study that asked for these runs; its baseline is the first level of every factor unless given."""
    settings: dict[str, Any] = {
        "name": "demo",
        "question": "Does it matter?",
        "trainable": "bitnet",
        "baseline": {name: levels[0] for name, levels in factors.items() if levels},
        "seeds": sorted({run.seed for run in runs if run.role == "cell"}),
        "replicates": [PlannedReplicate(run.identity, run.seed, run.levels, run.role, run.tuned) for run in runs],
    }
    return StudyRecord(design=design, factors=factors, **{**settings, **others})


def rows(text: str) -> list[dict[str, str]]:
    """A CSV file's lines, by column."""
    return list(csv.DictReader(io.StringIO(text)))


def all_outputs(summary: Summary) -> str:
    """Make every output; the terminal's and Markdown's text."""
    console = Console(width=80, record=True, file=io.StringIO())
    document = summary_document(summary)
    console.print(to_terminal(document))
    page = to_html(document)
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=.(?!#)", page.replace("xlink:href", "href"))  # nothing is fetched
    for text in (effects_csv(summary), configurations_csv(summary), replicates_csv(summary.runs)):
        assert all(None not in row.values() and None not in row for row in rows(text))  # as wide as its header
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    return text + to_markdown(document)
