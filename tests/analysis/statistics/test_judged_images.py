"""What is known of the images behind an accuracy."""

import pytest

from analysis.statistics.data.judged_images import JudgedImages, collapsed_seeds, fewest_images, judged_images
from analysis.statistics.data.outcomes import ACCURACY_OUTCOME, SPARSITY_OUTCOME
from studies.run_record import RunRecord
from tests.analysis.examples import run_of


def with_facts(**facts: str) -> RunRecord:
    run = run_of({"a": 0}, 0, 0.123456789123)
    return RunRecord(run.identity, run.seed, run.levels, run.status, metrics=run.metrics, facts=facts)


def test_what_is_recorded_is_known() -> None:
    """Numbers of images and classes are facts of the runs; where runs differ, or lack them, nothing is known."""
    recorded = with_facts(num_validation_images="359", num_classes="10")
    assert judged_images([recorded], ACCURACY_OUTCOME) == JudgedImages(359, 10)
    assert judged_images([recorded], SPARSITY_OUTCOME) == JudgedImages()
    assert judged_images([recorded, with_facts(num_classes="10")], ACCURACY_OUTCOME) == JudgedImages(None, 10)
    assert judged_images([with_facts()], ACCURACY_OUTCOME) == JudgedImages()


def test_accuracies_tell_how_many_images_there_were() -> None:
    """Earlier versions have not recorded it: shares of 359 images have no smaller common denominator, drawn numbers none."""
    assert fewest_images([right / 359 for right in (340, 341, 350)]) == 359
    assert fewest_images([0.7123456789, 0.5]) is None
    assert fewest_images([1.0, 0.0]) is None
    assert fewest_images([]) is None


@pytest.mark.parametrize(
    ("values", "collapsed"),
    [
        ([0.95, 0.949, 0.953, 0.948, 0.950, 0.952, 0.85], set()),
        ([0.95, 0.949, 0.953, 0.948, 0.950, 0.952, 0.84], {6}),
        ([0.5, 0.6, 0.7, 0.8, 0.9], set()),
        ([0.95, 0.11, 0.95, 0.10], {1, 3}),
        ([0.11, 0.09], {0, 1}),
        ([0.95, 0.5], set()),
    ],
)
def test_seeds_that_collapse(values: list[float], collapsed: set[int]) -> None:
    """Far below the others in points and in spreads, or where guessing would be; a wide spread is no collapse."""
    assert collapsed_seeds(dict(enumerate(values)), JudgedImages(1000, 10)) == collapsed
