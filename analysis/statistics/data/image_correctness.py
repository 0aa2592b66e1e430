"""Which images replicates have judged right, and differences of accuracy with intervals over seeds and images together.

An interval over seeds says what other seeds would give on these images. Images are a sample too: over both, a difference of two
levels is a mean of a table of seeds by images, in which either may be another one.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.statistics.data.cell_by_seed import FloatArray
from analysis.statistics.data.cells import Cell, finite_values
from analysis.statistics.data.estimates import Estimate, t_quantile
from analysis.statistics.data.level_cells import LevelCells
from studies.run_record import ACCURACY, COMPARED_ROLES, TEST_ACCURACY, RunRecord

PARTS: Mapping[str, str] = {ACCURACY: "validation", TEST_ACCURACY: "test"}
"""The images that a metric is the accuracy on, as ``RunRecord.correct`` calls them."""


@dataclass(frozen=True)
class RightImages:
    """The images that a replicate was judged on.

    Attributes:
        image_set: Equal for equal images in equal order.
        correct_N: Whether each was judged right.
    """

    image_set: tuple[str, str]
    correct_N: npt.NDArray[np.bool_]


def right_images(run: RunRecord, metric: str) -> RightImages | None:
    """The images behind an accuracy of a finished replicate; None where they are not recorded, or do not give that accuracy.

    The text is that of ``trainables.training.epochs.correct_images``: a number, a digest, bits in Base64.
    """
    text = run.correct.get(PARTS[metric], "")
    if run.status != "FINISHED" or not text:
        return None
    try:
        number, digest, packed = text.split(" ")
        num_images, stored = int(number), base64.b64decode(packed, validate=True)
    except ValueError:
        return None
    if num_images < 1 or len(stored) != math.ceil(num_images / 8):
        return None
    correct_N = np.unpackbits(np.frombuffer(stored, dtype=np.uint8), count=num_images).astype(np.bool_)
    is_that = abs(correct_N.mean() - run.metrics.get(metric, math.nan)) * num_images < 0.5
    return RightImages((run.data_digest, digest), correct_N) if is_that else None


def image_warnings(runs: Sequence[RunRecord]) -> list[str]:
    """A sentence where texts of images of compared replicates cannot be read, or do not give the accuracy they belong to."""
    compared = [run for run in runs if run.role in COMPARED_ROLES and run.status == "FINISHED"]
    unreadable = [
        run for run in compared if any(part in run.correct and not right_images(run, metric) for metric, part in PARTS.items())
    ]
    if not unreadable:
        return []
    return [
        f"Which images were judged right cannot be read of {len(unreadable)} of {len(compared)} replicates, or does not give "
        "their accuracy. Their cells have no intervals over images."
    ]


def two_way_interval(values_SN: FloatArray, confidence: float = 0.95) -> Estimate:
    """The mean of a table of seeds by images, with an interval for other seeds and other images of the same kinds.

    The model has crossed random effects: value = mean + seed + image + rest, each independent with mean 0. The variance of the
    mean is σ²_seed / S + σ²_image / N + σ²_rest / (S N), estimated without bias by the mean squares of the analysis of variance
    (Searle, Casella and McCulloch 1992, chapter 4): (MS_seed + MS_image - MS_rest) / (S N). A component of the images below 0
    counts as 0, so that the variance is never smaller than that over seeds alone. The interval is Student's t with
    Satterthwaite's degrees of freedom (1946). Owen's pigeonhole bootstrap (2007) estimates the same variance, and too little of
    it for a few seeds. It is never narrower than the interval over seeds alone.

    Args:
        values_SN: A row for every seed, a column for every image, without gaps.
        confidence: The probability with which the interval covers the mean over all seeds and images.

    Returns:
        The estimate, whose number of values is that of the seeds; without bounds for a single seed or image.

    Raises:
        ValueError: The table is empty.
    """
    num_seeds, num_images = values_SN.shape
    if not values_SN.size:
        raise ValueError("an interval needs at least 1 value, but got none")
    mean = float(values_SN.mean())
    if min(num_seeds, num_images) == 1:
        return Estimate(mean, math.nan, math.nan, num_seeds)
    of_seeds_S, of_images_N = values_SN.mean(axis=1) - mean, values_SN.mean(axis=0) - mean
    df_seeds, df_images = num_seeds - 1, num_images - 1
    squares_seeds = num_images * float(of_seeds_S @ of_seeds_S)
    squares_images = num_seeds * float(of_images_N @ of_images_N)
    squares_rest = max(0.0, float(np.square(values_SN - mean).sum()) - squares_seeds - squares_images)
    seeds, images, rest = squares_seeds / df_seeds, squares_images / df_images, squares_rest / (df_seeds * df_images)
    parts = [(seeds, df_seeds)]
    if images > rest:
        parts += [(images, df_images), (-rest, df_seeds * df_images)]
    total = sum(part for part, _ in parts)
    if not total > 0:
        return Estimate(mean, mean, mean, num_seeds)
    df = max(1.0, total**2 / sum(part**2 / df_part for part, df_part in parts))
    half = t_quantile((1 + confidence) / 2, df) * math.sqrt(total / values_SN.size)
    half = max(half, t_quantile((1 + confidence) / 2, df_seeds) * math.sqrt(seeds / values_SN.size))
    return Estimate(mean, mean - half, mean + half, num_seeds)


def differences_over_images(
    levels: Sequence[LevelCells], metric: str, over_seeds: Sequence[tuple[Estimate, float] | None]
) -> list[Estimate | None]:
    """For every level its accuracy minus its factor's reference level's, with the interval over seeds and images.

    Args:
        levels: All levels of the design with their cells.
        metric: One of ``PARTS``.
        over_seeds: The same differences with their intervals over seeds, each with the confidence of that; None where there is
            none. An interval over seeds and images has the same confidence and holds the one over seeds.

    Returns:
        None where there is none over seeds; where not all replicates that have the accuracy have their images recorded, or these
        are others than the reference's; and in a factorial design that is not balanced, or lacks a replicate, so that its
        differences are those of a model.
    """
    found = [_shares(level.cells, metric) for level in levels]
    design = levels[0].design if levels else None
    if design and not (design.is_balanced and len({frozenset(of_level.by_seed) for of_level in found if of_level}) == 1):
        return [None] * len(levels)
    references = {level.factor: of_level for level, of_level in zip(levels, found, strict=True) if level.is_baseline}
    return [
        _difference(of_level, references.get(level.factor), *of_seeds) if of_seeds else None
        for level, of_level, of_seeds in zip(levels, found, over_seeds, strict=True)
    ]


@dataclass(frozen=True)
class _Shares:
    """Of some cells: for every image the share that judged it right, by seed."""

    image_set: tuple[str, str]
    by_seed: Mapping[int, FloatArray]


def _shares(cells: Sequence[Cell], metric: str) -> _Shares | None:
    judged = [{run.seed: found for run in cell if (found := right_images(run, metric))} for cell in cells]
    sets = {found.image_set for cell in judged for found in cell.values()}
    if len(sets) != 1 or any(of.keys() != finite_values(cell, metric).keys() for of, cell in zip(judged, cells, strict=True)):
        return None
    seeds = sorted(set.intersection(*map(set, judged)))
    return _Shares(sets.pop(), {seed: np.mean([cell[seed].correct_N for cell in judged], axis=0) for seed in seeds})


def _difference(level: _Shares | None, reference: _Shares | None, over_seeds: Estimate, confidence: float) -> Estimate | None:
    if level is None or reference is None or level.image_set != reference.image_set:
        return None
    seeds = sorted(level.by_seed.keys() & reference.by_seed.keys())
    if not seeds or not math.isfinite(over_seeds.low):
        return None
    found = two_way_interval(np.array([level.by_seed[seed] - reference.by_seed[seed] for seed in seeds]), confidence)
    return Estimate(found.mean, min(found.low, over_seeds.low), max(found.high, over_seeds.high), found.num_values)
