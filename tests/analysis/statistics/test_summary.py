"""The summary: right numbers, missing cells named, every output whole whatever the study lacks."""

import csv
import io
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from analysis.records.loading import RecordedStudy
from analysis.reporting.figures.all_figures import all_figures
from analysis.reporting.figures.style import INK, inline_svg
from analysis.reporting.formats.html import to_html
from analysis.reporting.formats.tables_csv import effects_csv
from analysis.reporting.summary_document import summary_document
from analysis.statistics.data.outcomes import ACCURACY_OUTCOME, SPARSITY_OUTCOME
from analysis.statistics.summary import Summary, summarise
from studies.run_record import Level, PlannedReplicate, RunRecord, StudyRecord
from tests.analysis.examples import all_outputs

EFFECT_OF_16 = 0.05


def recorded(num_seeds: int = 8) -> RecordedStudy:
    """A synthetic study with a planted effect: T=16 is 5 points better than 8, layout b is equal; seeds shift all cells."""
    factors: dict[str, list[Level]] = {"time_steps": [8, 16], "layout": ["64 M", "64 <b>&|A"]}
    baseline: dict[str, Level] = {"time_steps": 8, "layout": "64 M"}
    planned, runs = [], []
    for seed in range(num_seeds):
        for levels in (baseline, {**baseline, "time_steps": 16}, {**baseline, "layout": "64 <b>&|A"}):
            identity = f"{seed}-{levels}"
            planned.append(PlannedReplicate(identity, seed, levels))
            wobble = 0.001 * ((7 * seed + 3 * (levels["layout"] != "64 M") + seed * (levels["time_steps"] == 16)) % 5)
            accuracy = 0.7 + 0.02 * seed + wobble + EFFECT_OF_16 * (levels["time_steps"] == 16)
            metrics = {"val/accuracy": accuracy, "sparsity/overall": 0.9, "test/accuracy": accuracy - 0.01}
            curve = tuple(accuracy * t / 8 for t in range(1, 9))
            runs.append(RunRecord(identity, seed, levels, "FINISHED", metrics=metrics, accuracy_at_t=curve))
    study = StudyRecord(
        name="demo",
        question="Does <T> matter?",
        trainable="bitnet",
        design="one_factor_at_a_time",
        baseline=baseline,
        factors=factors,
        seeds=range(num_seeds),
        replicates=planned,
    )
    return RecordedStudy(study, runs)


def summary_of(study: RecordedStudy) -> Summary:
    return summarise(study.study, study.runs)


def test_planted_effect_is_found() -> None:
    """The better level is found with its size and an exact p of 2/2**8, corrected for two contrasts; the equal one is small."""
    effects = summary_of(recorded()).effects[ACCURACY_OUTCOME]
    found = {effect.level: effect for effect in effects}
    assert [effect.verdict for effect in effects] == ["baseline", "higher", "baseline", "small"]
    contrast = found[16].contrast
    assert contrast is not None
    assert contrast.difference.mean == pytest.approx(EFFECT_OF_16, abs=0.002)
    assert contrast.p == 2 / 2**8
    assert contrast.corrected_p == 4 / 2**8
    assert contrast.difference.low <= EFFECT_OF_16 <= contrast.difference.high


def test_a_constant_difference_has_an_interval_of_no_width() -> None:
    """Sparsity is equal in all cells here: the difference is 0 with no doubt, p is 1."""
    effect = summary_of(recorded()).effects[SPARSITY_OUTCOME][1]
    assert effect.contrast is not None
    assert (effect.contrast.difference.low, effect.contrast.difference.high, effect.contrast.p) == (0, 0, 1)


def test_words_and_numbers_agree() -> None:
    """Sentences, Markdown, CSV and terminal say the same of the planted effect."""
    summary = summary_of(recorded())
    text = all_outputs(summary)
    assert "validation accuracy by time_steps (baseline 8): higher at 16 (+4.98 points, 95 % +" in text.replace("\n", " ")
    rows = list(csv.DictReader(io.StringIO(effects_csv(summary))))
    assert float(rows[1]["difference"]) == pytest.approx(EFFECT_OF_16, abs=0.002)
    assert rows[1]["verdict"] == "higher"
    assert len(rows) == 12  # accuracy, sparsity and test accuracy of four levels


def test_missing_and_failed_replicates_are_named() -> None:
    """They are counted against their cell, listed with their reason, and left out of the means in pairs."""
    study = recorded()
    runs = list(study.runs)
    runs[1] = replace(runs[1], status="FAILED", reason="TrainingError: epoch 3", metrics={})
    runs[3] = replace(runs[3], status="MISSING", reason="never begun", metrics={})
    summary = summarise(study.study, runs)
    text = all_outputs(summary)
    assert "seed 0: failed, TrainingError: epoch 3" in text
    assert "seed 1: missing, never begun" in text
    assert "7 of 8" in text
    contrast = summary.effects[ACCURACY_OUTCOME][1].contrast
    assert contrast is not None
    assert contrast.difference.num_values == 6


@pytest.mark.parametrize("case", ["nothing", "only the baseline", "one seed", "no metric", "not finite", "all failed"])
def test_poor_studies_get_a_report(case: str) -> None:
    """Whatever is lacking, every output is made and says so."""
    study = recorded(1 if case == "one seed" else 8)
    runs = list(study.runs)
    if case == "nothing":
        runs = [replace(run, status="MISSING", reason="never begun", metrics={}, accuracy_at_t=()) for run in runs]
    if case == "only the baseline":
        runs = [
            run if run.levels == study.study.baseline else replace(run, status="MISSING", metrics={}, accuracy_at_t=())
            for run in runs
        ]
    if case == "no metric":
        runs = [replace(run, metrics={"val/accuracy": run.metrics["val/accuracy"]}) for run in runs]
    if case == "not finite":
        runs = [replace(run, metrics={**run.metrics, "val/accuracy": float("nan")}) for run in runs]
    if case == "all failed":
        runs = [replace(run, status="FAILED", reason="x", metrics={}, accuracy_at_t=()) for run in runs]
    summary = summarise(study.study, runs)
    text = all_outputs(summary)
    expected = {"one seed": "no corrected p-value can fall below", "no metric": "no data"}
    assert expected.get(case, "no data") in text


def test_page_escapes_and_figures_are_svg() -> None:
    """Texts from a study cannot become markup; the figures are well-formed and take the page's own ink."""
    summary = summary_of(recorded())
    page = to_html(summary_document(summary))
    assert "Does &lt;T&gt; matter?" in page
    assert "<b>" not in page
    for drawn in all_figures(summary):
        figure = inline_svg(drawn.figure, drawn.title)
        assert ET.fromstring(figure).tag.endswith("svg")
        assert "currentColor" in figure
        assert INK not in figure
