"""What a report promises of more seeds, kept or not: the study is drawn again with so many, as if what was measured were true."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from unittest.mock import patch

import numpy as np

from analysis.reporting import summary_document
from analysis.reporting.formats.markdown import to_markdown
from analysis.statistics import summary
from analysis.statistics.effects import sign_flips
from studies.run_record import ACCURACY, SPARSITY, RunRecord, StudyRecord
from tests.benchmarks.sentence_claims import Claim, claims_of
from tests.benchmarks.sentence_truths import Planted, run_of
from tests.benchmarks.simulated_studies import FloatArray

PROMISED = 0.8
SETTLED = ("direction", "no effect larger than", "equal in every seed")
FEW_FLIPS = 1999
"""Of a study that is drawn again with more than 16 seeds, where a report takes 100,000."""


def report_of(study: StudyRecord, runs: Sequence[RunRecord], *, is_quick: bool = False) -> str:
    """A study's report in Markdown, without figures; a quick one is without rank stability, and with fewer random flips."""
    with ExitStack() as changed:
        changed.enter_context(patch.object(summary_document, "all_figures", return_value=[]))
        if is_quick:
            changed.enter_context(patch.object(summary, "rank_stability", return_value=None))
            changed.enter_context(patch.object(sign_flips, "NUM_RANDOM_FLIPS", FEW_FLIPS))
        return to_markdown(summary_document.summary_document(summary.summarise(study, runs)))


def is_broken(planted: Planted, claim: Claim, generator: np.random.Generator, num_studies: int) -> bool | None:
    """Whether a promise does not hold, by more than two simulation errors; None where fewer than 3 seeds are whole."""
    values = _measured(planted)
    if values.shape[-1] < 3:
        return None
    is_enough = claim.kind == "more seeds"
    num_seeds = int(claim.number) + (len(planted.study.seeds) if is_enough else 0)
    power = float(np.mean([_is_settled(planted, claim, values, num_seeds, generator) for _ in range(num_studies)]))
    error = (max(power * (1 - power), 1 / num_studies) / num_studies) ** 0.5
    return bool(power + 2 * error < PROMISED if is_enough else power - 2 * error > PROMISED)


def _measured(planted: Planted) -> FloatArray:
    """Accuracy and activity by cell, of the seeds that have both in every cell."""
    by_cell: dict[frozenset[tuple[str, object]], dict[int, tuple[float, float]]] = {}
    for run in planted.runs:
        of_cell = by_cell.setdefault(frozenset(run.levels.items()), {})
        if run.status == "FINISHED":
            of_cell[run.seed] = run.metrics[ACCURACY], 1 - run.metrics[SPARSITY]
    seeds = sorted(set.intersection(*map(set, by_cell.values())))
    found: FloatArray = np.array([[of_cell[seed] for seed in seeds] for of_cell in by_cell.values()]).transpose(2, 0, 1)
    return found


def _is_settled(planted: Planted, claim: Claim, values: FloatArray, num_seeds: int, generator: np.random.Generator) -> bool:
    """Whether a study of so many seeds, normal with the measured means and covariance, says something of the level."""
    num_measured = values.shape[-1]
    means = values.mean(axis=-1, keepdims=True)
    mixed = generator.normal(size=(num_measured, num_seeds)) / (num_measured - 1) ** 0.5
    accuracy, activity = means + (values - means) @ mixed
    cells = list(dict.fromkeys(frozenset(run.levels.items()) for run in planted.runs))
    runs = [
        run_of(dict(cell), seed, accuracy[place, seed], max(1e-6, activity[place, seed]))
        for place, cell in enumerate(cells)
        for seed in range(num_seeds)
    ]
    study = replace(planted.study, seeds=range(num_seeds))
    about = (claim.outcome, claim.factor, claim.level)
    return any(
        found.kind in SETTLED and (found.outcome, found.factor, found.level) == about
        for found in claims_of(report_of(study, runs, is_quick=True), study)
    )
