"""Intervals over seeds and images: against planted truths, and of the replicates that have their images recorded."""

import base64
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.data.cell_by_seed import FloatArray
from analysis.statistics.data.estimates import mean_interval
from analysis.statistics.data.image_correctness import image_warnings, two_way_interval
from analysis.statistics.summary import Summary, summarise
from studies.run_record import ACCURACY, TEST_ACCURACY, Level, RunRecord
from tests.analysis.examples import run_of, study_of

Truth = tuple[float, float, float, float]
"""Standard deviations of what decides on an image: the image for all networks, the image for one level, the seed, the rest."""


def differences(generator: np.random.Generator, truth: Truth, levels: tuple[float, float], size: tuple[int, int]) -> FloatArray:
    """Right minus wrong of two levels, a row for every seed and a column for every image.

    A network is right where a normal value is below the level's bound, so that a level's accuracy over all seeds and images is
    known: Φ(bound / standard deviation of the sum of all parts).
    """
    of_image, of_level, of_seed, rest = truth
    num_seeds, num_images = size
    shared = of_image * generator.normal(size=(1, num_images))
    right = [
        shared
        + of_level * generator.normal(size=(1, num_images))
        + of_seed * generator.normal(size=(num_seeds, 1))
        + rest * generator.normal(size=size)
        < bound
        for bound in levels
    ]
    return right[1].astype(np.float64) - right[0]


@pytest.mark.parametrize(
    ("truth", "num_seeds", "seeds_suffice"),
    [
        ((1.0, 0.5, 0.2, 0.3), 3, True),
        ((1.0, 0.5, 0.05, 0.3), 10, False),
        ((1.0, 0.0, 0.2, 0.5), 5, True),
        ((0.0, 0.0, 0.0, 1.0), 6, True),
    ],
)
def test_coverage(truth: Truth, num_seeds: int, seeds_suffice: bool) -> None:
    """Other seeds and other images: the interval holds the true difference in 95 % of 300 tables at least, within simulation
    error. Where images are right for a level as a whole, an interval over seeds alone holds it far too rarely.
    """
    generator = np.random.default_rng(num_seeds)
    bounds = (1.6, 1.5)
    total = math.sqrt(sum(part**2 for part in truth))
    true = float(stats.norm.cdf(bounds[1] / total) - stats.norm.cdf(bounds[0] / total))
    num_held = num_held_by_seeds = 0
    for _ in range(300):
        values_SN = differences(generator, truth, bounds, (num_seeds, 300))
        both, seeds = two_way_interval(values_SN), mean_interval(list(values_SN.mean(axis=1)))
        assert both.low <= seeds.low + 1e-12
        assert seeds.high - 1e-12 <= both.high
        num_held += both.low <= true <= both.high
        num_held_by_seeds += seeds.low <= true <= seeds.high
    assert num_held >= stats.binom.ppf(0.01, 300, 0.95)
    assert (num_held_by_seeds >= 255) == seeds_suffice


def test_the_variance_by_hand() -> None:
    """Two seeds, three images: the mean squares of the table and Satterthwaite's degrees of freedom, worked out."""
    values_SN = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    # means of rows 1/3 and 2/3, of columns 1, 1/2 and 0, of all 1/2; sums of squares 1/6, 1 and 1/3 of 3/2
    seeds, images, rest = 1 / 6 / 1, 1 / 2, 1 / 3 / 2
    total = seeds + images - rest
    df = max(1.0, total**2 / (seeds**2 / 1 + images**2 / 2 + rest**2 / 2))
    half = max(
        stats.t.ppf(0.975, df) * math.sqrt(total / 6), stats.t.ppf(0.975, 1) * math.sqrt(seeds / 6)
    )  # that over seeds alone
    found = two_way_interval(values_SN)
    assert (found.mean, found.num_values) == (0.5, 2)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half))


def test_the_pigeonhole_bootstrap_agrees() -> None:
    """Drawing seeds and images with replacement, as Owen (2007) does, gives the same standard error for many seeds."""
    generator = np.random.default_rng(0)
    values_SN = differences(generator, (1.0, 0.5, 0.1, 0.3), (1.6, 1.5), (40, 200))
    drawn = []
    for _ in range(1000):
        seeds, images = generator.integers(40, size=40), generator.integers(200, size=200)
        drawn.append(values_SN[seeds][:, images].mean())
    found = two_way_interval(values_SN)
    assert (found.high - found.low) / 2 / 2 == pytest.approx(float(np.std(drawn)), rel=0.1)


def test_tables_that_tell_little() -> None:
    """One seed has no interval; a table without any variation one of no width; an empty one is an error."""
    assert math.isnan(two_way_interval(np.ones((1, 5))).low)
    assert two_way_interval(np.ones((3, 5))).low == 1
    with pytest.raises(ValueError, match="at least 1 value"):
        two_way_interval(np.ones((0, 5)))


def with_images(run: RunRecord, correct: Sequence[bool], digest: str = "images") -> RunRecord:
    """A replicate that has judged these images right, of both parts."""
    packed = base64.b64encode(np.packbits(np.array(correct, dtype=np.bool_)).tobytes()).decode()
    text = f"{len(correct)} {digest} {packed}"
    metrics = {**run.metrics, ACCURACY: float(np.mean(correct)), TEST_ACCURACY: float(np.mean(correct))}
    return replace(run, metrics=metrics, data_digest="data", correct={"validation": text, "test": text})


def study_with_images(
    factors: dict[str, list[Level]], design: str = "one_factor_at_a_time", num_seeds: int = 8
) -> list[RunRecord]:
    generator = np.random.default_rng(0)
    first, *others = factors
    cells: list[dict[str, Level]] = [{name: levels[0] for name, levels in factors.items()}]
    if design == "full_factorial":
        cells = [{first: a, others[0]: b} for a in factors[first] for b in factors[others[0]]]
    else:
        cells += [{**cells[0], name: level} for name, levels in factors.items() for level in levels[1:]]
    return [with_images(run_of(cell, seed), list(generator.random(50) < 0.8)) for cell in cells for seed in range(num_seeds)]


def summary_of(runs: Sequence[RunRecord], factors: dict[str, list[Level]], design: str = "one_factor_at_a_time") -> Summary:
    return summarise(study_of(design, factors, runs), runs)


@pytest.mark.parametrize("design", ["one_factor_at_a_time", "full_factorial"])
def test_differences_are_those_of_the_effects(design: str) -> None:
    """Every level's difference over images is that over seeds, whose interval its own one holds; of both parts."""
    factors: dict[str, list[Level]] = {"a": [1, 2, 3], "b": [1, 2]}
    summary = summary_of(study_with_images(factors, design), factors, design)
    effects = next(iter(summary.effects.values()))
    assert summary.over_images.keys() == {ACCURACY, TEST_ACCURACY}
    for effect, over in zip(effects, summary.over_images[ACCURACY], strict=True):
        if effect.is_baseline:
            assert over is None
            continue
        assert effect.contrast
        assert over
        assert over.mean == pytest.approx(effect.contrast.difference.mean)
        assert over.low <= effect.contrast.difference.low
        assert effect.contrast.difference.high <= over.high
        assert over.num_values == 8
    assert not image_warnings(summary.runs)


def test_what_is_not_recorded_has_no_interval() -> None:
    """A cell of an earlier version, or of other images, has none, and the others keep theirs; a text that cannot be read, or
    gives another accuracy, is told.
    """
    factors: dict[str, list[Level]] = {"a": [1, 2, 3]}
    runs = study_with_images(factors)

    def known(changed: Any) -> list[bool]:
        found = [changed(run) if run.levels["a"] == 2 and run.seed == 1 else run for run in runs]
        return [over is not None for over in summary_of(found, factors).over_images[ACCURACY]]

    assert known(lambda run: run) == [False, True, True]
    assert known(lambda run: replace(run, correct={})) == [False, False, True]
    assert known(lambda run: with_images(run, [True] * 50, "others")) == [False, False, True]
    for text in ("50 images", "50 images AAA", "49 images" + "A" * 12, "x images AAAAAAAAAA==", ""):
        assert known(lambda run, text=text: replace(run, correct={"validation": text})) == [False, False, True]
    bad = [replace(run, metrics={**run.metrics, ACCURACY: 0.123}) if run.seed == 1 else run for run in runs]
    assert image_warnings(bad)[0].startswith("Which images were judged right cannot be read of 3 of 24 replicates")
    assert not summary_of([run_of({"a": 1}, 0), run_of({"a": 2}, 0)], factors).over_images
