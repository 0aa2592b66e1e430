"""Planted studies: cells with known means, seeds that shift all of them, noise of three kinds, replicates that are missing."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from studies.run_record import ACCURACY, Level, RunRecord, StudyRecord

FloatArray = npt.NDArray[np.float64]
Cells = Sequence[Mapping[str, Level]]

MEAN = 0.7
NOISE_SD = 0.01
"""Of one replicate, a point of accuracy."""
SEED_SD = 0.01
"""Of what a seed does to all cells."""
SHARE_MISSING = 0.1
SPREADS = (1.0, 0.5, 1.0, 2.0, 3.0, 1.5)
"""How noisy each cell is where noise differs by level; the baseline's is the first."""

Noise = Callable[[np.random.Generator, tuple[int, int, int]], FloatArray]


def normal(generator: np.random.Generator, shape: tuple[int, int, int]) -> FloatArray:
    """The same in all cells."""
    return generator.normal(size=shape)


def heteroscedastic(generator: np.random.Generator, shape: tuple[int, int, int]) -> FloatArray:
    """Normal, of another spread in every cell."""
    noise: FloatArray = generator.normal(size=shape) * np.array(SPREADS[: shape[1]])[:, None]
    return noise


def heavy_tailed(generator: np.random.Generator, shape: tuple[int, int, int]) -> FloatArray:
    """Student's t with 3 degrees of freedom, of variance 1."""
    noise: FloatArray = generator.standard_t(3, size=shape) / np.sqrt(3)
    return noise


NOISES: Mapping[str, Noise] = {"normal": normal, "differs by level": heteroscedastic, "heavy tails (t3)": heavy_tailed}


def drawn_values(
    generator: np.random.Generator, noise: str, effects_NC: FloatArray, num_seeds: int, *, has_missing: bool
) -> FloatArray:
    """Accuracy of N studies by cell and seed; NaN where a replicate is missing, each with the same probability."""
    num_studies, num_cells = effects_NC.shape
    shape = (num_studies, num_cells, num_seeds)
    shifts = SEED_SD * generator.normal(size=(num_studies, 1, num_seeds))
    values = MEAN + effects_NC[:, :, None] + shifts + NOISE_SD * NOISES[noise](generator, shape)
    if has_missing:
        values[generator.random(shape) < SHARE_MISSING] = np.nan
    return values


ONE_AT_A_TIME: Mapping[str, Sequence[Level]] = {"time_steps": [8, 4, 16], "layout": ["64 M", "64 A", "32 M"]}
FACTORIAL: Mapping[str, Sequence[Level]] = {"time_steps": [8, 16], "layout": ["64 M", "64 A", "32 M"]}


def cells_of(design: str, factors: Mapping[str, Sequence[Level]]) -> Cells:
    """The cells of a design, the baseline's first: every factor's first level."""
    if design == "full_factorial":
        return [dict(zip(factors, levels, strict=True)) for levels in product(*factors.values())]
    baseline = {name: levels[0] for name, levels in factors.items()}
    return [baseline, *({**baseline, name: level} for name, levels in factors.items() for level in levels[1:])]


def study_of(design: str, factors: Mapping[str, Sequence[Level]], num_seeds: int) -> StudyRecord:
    """What is asked."""
    return StudyRecord(
        name="planted",
        question="Is what is planted found?",
        trainable="response_surface",
        design=design,
        baseline={name: levels[0] for name, levels in factors.items()},
        factors=factors,
        seeds=range(num_seeds),
        replicates=(),
    )


def records_of(cells: Cells, values_CS: FloatArray) -> list[RunRecord]:
    """One study's replicates as MLflow would have them."""
    return [
        RunRecord("", seed, levels, "FINISHED" if np.isfinite(value) else "FAILED", metrics={ACCURACY: float(value)})
        for levels, values in zip(cells, values_CS, strict=True)
        for seed, value in enumerate(values)
    ]
