"""The answer in one line and in one paragraph, for whoever reads no further."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import pytest

from analysis.reporting.answer import headline, paragraph
from analysis.reporting.formats.markdown import to_markdown
from analysis.reporting.summary_document import summary_document
from analysis.statistics.effects.verdicts import matters_most
from analysis.statistics.summary import Summary, summarise
from studies.run_record import Level
from tests.analysis.examples import run_of, study_of
from tests.analysis.statistics.test_spiking import spiking_study

CELLS: list[dict[str, Level]] = [{"steps": 8, "width": 1}, {"steps": 2, "width": 1}, {"steps": 8, "width": 2}]


def summary_of(gains: Mapping[int, float], num_seeds: int, **others: object) -> Summary:
    """A baseline and a cell for each of two factors, which gains so much; noise is the same for all seeds of a cell."""
    runs = []
    for seed in range(num_seeds):
        for i, levels in enumerate(CELLS):
            run = run_of(levels, seed, 0.7 + gains.get(i, 0.0) + 0.002 * ((seed * (i + 2)) % 5))
            runs.append(replace(run, metrics={**run.metrics, "spikes_per_neuron/overall": 1.0 + i}))
    return summarise(study_of("one_factor_at_a_time", {"steps": [8, 2], "width": [1, 2]}, runs, **others), runs)


def test_the_factor_that_matters_most() -> None:
    """By how much, with its interval, against which level, and how sure."""
    summary = summary_of({1: -0.1, 2: 0.02}, 10)
    assert matters_most(summary.effects[summary.primary]) == "steps"
    assert re.fullmatch(
        r"steps matters most for validation accuracy: 2 instead of 8 lowers it by \d+\.\d\d points "
        r"\(95 % \d+\.\d\d to \d+\.\d\d\)\.",
        headline(summary),
    )
    text = paragraph(summary)
    assert "p = 0.002, the smallest that 10 seeds can give, corrected for 2 comparisons 0.004." in text
    assert "The same change multiplies the spikes per neuron by 2.000 (95 % 2.000 to 2.000)." in text
    assert "Decided as well for validation accuracy: width 2 (+" in text
    assert "Undecided" not in text


def test_which_matters_more_may_be_open() -> None:
    """Two effects of one size: the larger mean is told, but not that it is the larger effect."""
    summary = summary_of({1: -0.05, 2: 0.05}, 10)
    assert matters_most(summary.effects[summary.primary]) is None
    assert " most " not in headline(summary)
    assert "Whether another factor matters more is not decided." in paragraph(summary)


def test_too_few_seeds_decide_nothing() -> None:
    """However large the effect; it says how many can."""
    assert headline(summary_of({1: -0.3}, 3)) == (
        "3 seeds cannot decide 2 comparisons on validation accuracy; that takes at least 7."
    )
    assert paragraph(summary_of({1: -0.3}, 3)) == "Undecided: steps 2, width 2."


def test_no_effect_is_no_answer() -> None:
    """What is not decided is told once, in the paragraph."""
    summary = summary_of({}, 8)
    assert headline(summary) == "No effect on validation accuracy is decided with 8 seeds."
    assert paragraph(summary) == "Shown to be small: width 2. Undecided: steps 2."


def test_nothing_finished() -> None:
    """Without a pair of values there is no comparison."""
    runs = [run_of(levels, 0, status="FAILED") for levels in CELLS]
    summary = summarise(study_of("one_factor_at_a_time", {"steps": [8, 2], "width": [1, 2]}, runs), runs)
    assert headline(summary).startswith("Nothing is compared yet")
    assert paragraph(summary) == ""


def test_one_factor_is_not_the_most() -> None:
    """Where there is one factor, nothing is said of others."""
    runs = [run_of({"a": a}, seed, 0.5 + 0.2 * a + 0.001 * (seed * (a + 2) % 5)) for a in (0, 1) for seed in range(8)]
    summary = summarise(study_of("one_factor_at_a_time", {"a": [0, 1]}, runs), runs)
    assert headline(summary).startswith("a matters for validation accuracy: 1 instead of 0 raises it by ")
    assert "another factor" not in paragraph(summary)


def test_a_search_answers_with_its_best() -> None:
    """The configuration, and the verdicts do not repeat it."""
    runs = [run_of({"lr": 10.0**-i}, 0, 0.5 + i / 10, role="search") for i in (1, 2)]
    summary = summarise(study_of("adaptive_search", {"lr": []}, runs, ranges={"lr": "0.001 to 1"}, seeds=[0]), runs)
    document = summary_document(summary)
    assert "lr=0.01" in document.headline
    assert to_markdown(document).count(document.headline) == 1


def sentences(markdown: str) -> list[str]:
    """All sentences of the prose, without tables and headings."""
    prose = [line.removeprefix("- ") for line in markdown.splitlines() if line and line[0] not in "|#!"]
    return [sentence.strip() for line in prose for sentence in re.split(r"(?<=\.)\s", line) if len(sentence.split()) > 3]


@pytest.mark.parametrize(
    "summary", [spiking_study(), summary_of({1: -0.1}, 8), summary_of({}, 8)], ids=["spiking", "one", "none"]
)
def test_no_sentence_is_said_twice(summary: Summary) -> None:
    """Neither in the answer, nor in captions, warnings and method."""
    counts = Counter(sentences(to_markdown(summary_document(summary))))
    assert {sentence for sentence, count in counts.items() if count > 1} == set()
