"""What a report says is read back from it and held against planted truths; a lie is found."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.reporting.formats.markdown import to_markdown
from analysis.reporting.summary_document import summary_document
from studies.run_record import ACCURACY
from tests.analysis.reporting.test_answer import summary_of
from tests.benchmarks.sentence_claims import UnknownSentenceError, claims_of
from tests.benchmarks.sentence_promises import report_of
from tests.benchmarks.sentence_truths import FIVE_LEVELS, Drawn, Planted, World, half_a_point
from tests.benchmarks.sentences import Tally, judge


def large_effects(generator: np.random.Generator, num_cells: int, num_seeds: int) -> Drawn:
    """The first level costs ten points, no other anything."""
    drawn = half_a_point(generator, num_cells, num_seeds)
    drawn.accuracy_C[:] = 0.9
    drawn.accuracy_C[1] -= 0.1
    drawn.accuracy_CS[:] = drawn.accuracy_C[:, None] + 0.002 * generator.normal(size=drawn.accuracy_CS.shape)
    return drawn


def planted() -> tuple[Planted, str]:
    found = World("one_factor_at_a_time", FIVE_LEVELS, large_effects).plant(np.random.default_rng(1), 10)
    runs = [replace(run, facts={}) for run in found.runs]  # of 359 images nothing can be called small
    return found, report_of(found.study, runs)


def tally(found: Planted, markdown: str) -> Tally:
    counted = Tally()
    judge(counted, "world", 10, found, claims_of(markdown, found.study))
    return counted


def test_a_lie_is_found() -> None:
    """What a report says of planted effects is true; the same report is false where the truth is another one."""
    found, markdown = planted()
    assert found.difference(ACCURACY, "time_steps", 2) == pytest.approx(-0.1)
    claims = claims_of(markdown, found.study)
    assert (2, -1) in {(claim.level, claim.sign) for claim in claims if claim.kind == "direction"}
    honest = tally(found, markdown)
    assert honest.num_false["direction"] == 0
    assert honest.num_claims["no effect larger than"] > 0
    found.means[ACCURACY][1] += 0.2
    lied = tally(found, markdown)
    assert lied.num_false["direction"] == 1
    assert lied.num_false["verdict of the table"] == 1
    assert lied.num_false["interval of a difference"] > honest.num_false["interval of a difference"]
    found.means[ACCURACY][4:] += 0.02
    assert tally(found, markdown).num_false["no effect larger than"] >= 2


def test_every_sentence_of_the_paragraph_is_read() -> None:
    """None hides behind the one before it."""
    summary = summary_of({1: -0.1, 2: 0.02}, 10)
    answer = to_markdown(summary_document(summary)).partition("\n## ")[0]
    claims = claims_of(answer, summary.study)
    assert ("steps", 2, "spikes per neuron", 100.0) in {(one.factor, one.level, one.outcome, one.low) for one in claims}
    assert ("width", 2, "direction", 1) in {(one.factor, one.level, one.kind, one.sign) for one in claims}


def test_an_unknown_sentence_is_an_error() -> None:
    """A sentence of the answer that no reader knows is an error, and names the sentence."""
    found, markdown = planted()
    with pytest.raises(UnknownSentenceError, match="Everything is fine"):
        claims_of(markdown.replace("\n- ", "\n- Everything is fine.\n- ", 1), found.study)
