"""How far claims reach: which are confirmatory, and what the test images and other images say of them."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.reporting.summary_document import summary_document, verdicts
from analysis.reporting.topics.claims.families import EXPLORATORY, claims_in_words
from analysis.reporting.topics.claims.other_images import on_other_images, other_images_tables
from analysis.statistics.summary import Summary, summarise
from studies.run_record import ACCURACY, SPARSITY, TEST_ACCURACY, RunRecord
from tests.analysis.examples import all_outputs, rows, run_of, study_of
from tests.analysis.statistics.data.test_image_correctness import with_images

FACTORS = {"layout": ["64 M", "64 A"]}


def runs_of(validation: float, test: float, noise: float = 0.001) -> list[RunRecord]:
    """Ten seeds of a baseline and another layout, whose mean differences on the two parts are these."""
    generator = np.random.default_rng(0)
    drawn = generator.normal(size=(2, 2, 10))
    drawn -= drawn.mean(axis=2, keepdims=True)
    return [
        run_of(
            {"layout": layout},
            seed,
            0.9 + place * validation + noise * drawn[place, 0, seed],
            **{TEST_ACCURACY: 0.9 + place * test + noise * drawn[place, 1, seed]},
        )
        for place, layout in enumerate(FACTORS["layout"])
        for seed in range(10)
    ]


def summary_of(runs: list[RunRecord], **others: object) -> Summary:
    return summarise(study_of("one_factor_at_a_time", FACTORS, runs, **others), runs)


def test_the_test_images_disagree() -> None:
    """Where the validation images decide and the test images do not, the sentence has both, with the test's interval."""
    summary = summary_of(runs_of(-0.0145, 0.0))
    said = on_other_images(summary, "layout")
    assert len(said) == 1
    assert said[0].startswith("on the test images 64 A is undecided (")
    assert said[0] in verdicts(summary)[0]
    assert verdicts(summary)[0].startswith("validation accuracy by layout")
    assert "But on the test images layout 64 A is undecided (" in summary_document(summary).summary


def test_the_test_images_agree() -> None:
    """Where both say the same, nothing is added, and the table has both."""
    summary = summary_of(runs_of(-0.0145, -0.0083))
    assert on_other_images(summary, "layout") == []
    (table,) = other_images_tables(summary)
    (row,) = table.rows
    assert row.cells[row.cells.index("lower") - 2].startswith("-0.83 (")


def test_other_images_might_undo_it() -> None:
    """A difference that these images decide, and that few of them make, may be none on others: the sentence says so."""
    generator = np.random.default_rng(1)
    always = generator.random(100) < 0.9
    few = always.copy()
    few[np.flatnonzero(always)[:2]] = False  # two images of a hundred, wrong in every seed

    def images(level: str, seed: int) -> RunRecord:
        own = (always if level == "64 M" else few).copy()
        place = np.flatnonzero(always)[10 + seed // 2]
        own[place] = own[place] and seed % 2 == 0
        return with_images(run_of({"layout": level}, seed), list(own))

    runs = [images(level, seed) for level in FACTORS["layout"] for seed in range(10)]
    summary = summary_of(runs)
    (said,) = on_other_images(summary, "layout")
    assert said.startswith("on other images 64 A may differ by -")
    assert said in verdicts(summary)[0]
    (table,) = other_images_tables(summary)
    assert "crossed random effects" in table.caption
    assert table.rows[0].cells[-1].startswith("-2.00 (")
    assert "on other images" in all_outputs(summary)


def test_confirmatory_claims_come_first() -> None:
    """The contrasts of the primary outcome are confirmatory, all others exploratory; tables, sentences and the method say so."""
    summary = summary_of(runs_of(-0.0145, -0.0083))
    said = verdicts(summary)
    place = said.index(EXPLORATORY)
    assert [text.partition(" by ")[0] for text in said[:place]] == ["validation accuracy"]
    assert any(text.startswith("activation sparsity") for text in said[place:])
    captions = {section.title: section.caption for section in summary_document(summary).sections if hasattr(section, "caption")}
    assert captions["Validation accuracy"].startswith("Confirmatory: validation accuracy is the primary outcome.")
    assert captions["Activation sparsity"].startswith("Exploratory: corrected within this table alone.")
    assert captions["On the test images, and on other images"].startswith("Exploratory.")
    assert claims_in_words(summary)[0].startswith("Claims: confirmatory are the 1 contrast of validation accuracy")


@pytest.mark.parametrize("primary", [SPARSITY, TEST_ACCURACY, "ops/energy_pj"])
def test_another_primary_outcome(primary: str) -> None:
    """The outcome that a study is about is the confirmatory one; accuracy is exploratory then."""
    runs = [replace(run, metrics={**run.metrics, "ops/energy_pj": 1e6 + run.seed}) for run in runs_of(-0.0145, -0.0083)]
    summary = summary_of(runs, objectives={primary: "minimize" if "energy" in primary else "maximize", ACCURACY: "maximize"})
    assert summary.primary.metric == primary
    said = verdicts(summary)
    assert said[0].startswith(summary.primary.name)
    assert any(text.startswith("validation accuracy") for text in said[said.index(EXPLORATORY) :])
    all_outputs(summary)


def test_the_file_of_effects_has_the_test_images() -> None:
    """effects.csv has a line for every level on the test images, and bounds over images where they are known."""
    from analysis.reporting.formats.tables_csv import effects_csv

    lines = rows(effects_csv(summary_of(runs_of(-0.0145, -0.0083))))
    (line,) = [line for line in lines if line["outcome"] == TEST_ACCURACY and line["level"] == "64 A"]
    assert float(line["difference"]) == pytest.approx(-0.0083)
    assert line["verdict"] == "lower"
    assert line["low_over_images"] == ""
