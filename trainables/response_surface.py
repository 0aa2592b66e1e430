"""A synthetic trainable that trains nothing: a response surface whose effects are all known, for tests, teaching and planning.

A replicate takes about a millisecond and goes through the same engine as a real one. Its accuracy and its sparsity are, with
the factors x = a … h in [-1, 1] and the coefficients below::

    base + Σ MAIN_EFFECTS_i·x_i + Σ INTERACTIONS_ij·x_i·x_j + Σ QUADRATIC_i·x_i²  (+ what the variant adds to the accuracy)
         + block_noise·z_seed + noise·z_replicate

``peaked`` adds ``VARIANT_EFFECTS`` and a peak over e, PEAK_HEIGHT·exp(-((e - PEAK_AT) / peak_width)²); ``steep`` adds its
effect and STEEPNESS·d. So ``a`` trades sparsity for accuracy, ``a`` and ``b`` interact, ``g`` matters only through ``c``, the
best ``e`` and ``f`` lie within their ranges, and ``h`` does nothing. z are standard normal numbers cut off at ±4, others for
every metric, so that nothing leaves [0, 1] anywhere. ``z_seed`` is the same for all configs of a seed.

An image costs OPERATIONS·2^(a + b/2) dense operations. After epoch e of E the accuracy is (e/E)^(RISE + SLOWNESS·c) of its last
value.
"""

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from trainables.costs.footprint import Footprint
from trainables.costs.timing import Timing
from trainables.data.datasets import NO_IMAGES, Dataset
from trainables.data.randomness import generator_for
from trainables.networks.layouts import ImageShape
from trainables.networks.rules import RuleError
from trainables.training.checkpoints import CheckpointFolder, trained_once
from trainables.training.configs import setting, without_inactive
from trainables.training.epoch_report import EpochReport
from trainables.training.files import Location
from trainables.training.recipe import Recipe

Outcome = Literal["accuracy", "sparsity"]

FACTORS = ("a", "b", "c", "d", "e", "f", "g", "h")
BASE: Mapping[Outcome, float] = {"accuracy": 0.5, "sparsity": 0.55}
MAIN_EFFECTS: Mapping[Outcome, Mapping[str, float]] = {
    "accuracy": {"a": 0.04, "b": 0.03, "c": 0.02, "d": 0.01, "f": 0.02},
    "sparsity": {"a": -0.10, "b": 0.03, "e": 0.04},
}
INTERACTIONS: Mapping[Outcome, Mapping[tuple[str, str], float]] = {
    "accuracy": {("a", "b"): 0.02, ("c", "g"): 0.02},
    "sparsity": {("a", "c"): 0.02},
}
QUADRATIC: Mapping[Outcome, Mapping[str, float]] = {
    "accuracy": {"e": -0.03, "f": -0.02},
    "sparsity": {"b": -0.03},
}
VARIANT_EFFECTS: Mapping[str, float] = {"plain": 0.0, "peaked": -0.02, "steep": 0.01}
PEAK_HEIGHT, PEAK_AT = 0.05, 0.5
STEEPNESS = 0.02
OPERATIONS = 1e6
TIME_STEPS = 4
RISE, SLOWNESS = 0.3, 0.02
LARGEST_NOISE = 0.03
CUT_OFF = 4.0


@dataclass(frozen=True, kw_only=True)
class Config(Recipe):
    """Eight factors, a variant and the noise. The recipe's fields for images and optimisers do nothing here."""

    data: str = setting(NO_IMAGES)
    """none: the surface looks at no image."""

    epochs: int = setting(1, at_least=1)
    """How many reports a replicate has; the last one is the same whatever their number."""

    a: float = setting(0.0, at_least=-1, at_most=1, section="response surface")
    """A factor: higher is more accurate, less sparse, and costs more operations. It helps more where b is high."""

    b: float = setting(0.0, at_least=-1, at_most=1)
    """A factor: higher is more accurate and costs more operations. It helps more where a is high."""

    c: float = setting(0.0, at_least=-1, at_most=1)
    """A factor: higher is more accurate. It helps more where g is high."""

    d: float = setting(0.0, at_least=-1, at_most=1)
    """A factor: higher is a little more accurate, and more so where variant is steep."""

    e: float = setting(0.0, at_least=-1, at_most=1)
    """A factor: higher is sparser. Accuracy is best at 0, or nearer to 0.5 where variant is peaked."""

    f: float = setting(0.0, at_least=-1, at_most=1)
    """A factor: accuracy is best at 0.5, within the range."""

    g: float = setting(0.0, at_least=-1, at_most=1)
    """A factor that matters only together with c."""

    h: float = setting(0.0, at_least=-1, at_most=1)
    """A factor that does nothing."""

    variant: Literal["plain", "peaked", "steep"] = setting("plain")
    """A choice: peaked adds a peak of accuracy over e, steep makes the effect of d larger, plain adds nothing."""

    peak_width: float = setting(1.0, above=0, at_most=2)
    """How wide the peak of variant peaked is, in units of e."""

    noise: float = setting(0.01, at_least=0, at_most=LARGEST_NOISE)
    """The standard deviation of the random part that differs from replicate to replicate."""

    block_noise: float = setting(0.01, at_least=0, at_most=LARGEST_NOISE)
    """The standard deviation of the random part that all replicates of a seed share."""

    seconds_per_epoch: float = setting(0.0, at_least=0, identity=False)
    """How long a replicate sleeps in every epoch, in seconds."""

    @classmethod
    def unused_fields(cls) -> set[str]:
        """The recipe's fields but for the data set and the epochs."""
        return {field.name for field in dataclasses.fields(Recipe)} - {"data", "epochs"}

    def inactive_fields(self) -> set[str]:
        """Those that are never used, and the width of a peak that the variant does not have."""
        return self.unused_fields() | (set() if self.variant == "peaked" else {"peak_width"})


def problems(config: Config, image_shape: ImageShape) -> Iterator[RuleError]:  # noqa: ARG001  # no image is looked at
    """The rules that the config breaks and that no field can see by itself."""
    if config.data != NO_IMAGES:
        yield RuleError(f"data must be {NO_IMAGES}: a response surface looks at no image", field="data")


def source_network(config: Config) -> None:
    """None: nothing is trained first."""


def footprint(config: Config, image_shape: ImageShape, num_classes: int, num_micro_batches: int = 1) -> Footprint:
    """The operations that its reports will name; there is no network, so memory and parameters are 0."""
    del image_shape, num_classes, num_micro_batches
    operations = int(dense_operations(config))
    return Footprint(0, operations, operations, memory_bytes=0, cpu_memory_bytes=0)


def train(
    config: Config,
    *,
    seed: int,
    dataset: Dataset,  # noqa: ARG001  # no image is looked at
    checkpoint_folder: Location | None = None,
    num_micro_batches: int = 1,  # noqa: ARG001  # there is no batch
    keep_weights: bool = False,  # noqa: ARG001  # nor a weight
) -> Iterator[EpochReport]:
    """Yield the reports of one replicate, which can be resumed like those of a real one."""
    return trained_once(checkpoint_folder, lambda folder: _train(config, seed, folder))


def timing(config: Config, *, seed: int, dataset: Dataset) -> Timing:
    """How long its epochs sleep; the millisecond that a replicate takes beside that is left out."""
    del seed, dataset
    return Timing(seconds_per_step=config.seconds_per_epoch, num_steps=config.epochs)


def expected_accuracy(config: Config) -> float:
    """The expected accuracy of a config's replicates after the last epoch, on validation and test images alike."""
    accuracy = _polynomial(config, "accuracy") + VARIANT_EFFECTS[config.variant]
    if config.variant == "peaked":
        accuracy += PEAK_HEIGHT * math.exp(-(((config.e - PEAK_AT) / config.peak_width) ** 2))
    return accuracy + STEEPNESS * config.d if config.variant == "steep" else accuracy


def expected_sparsity(config: Config) -> float:
    """The expected sparsity of a config's replicates, after any epoch."""
    return _polynomial(config, "sparsity")


def dense_operations(config: Config) -> float:
    """Dense operations per image, without noise, rounded to a whole number."""
    return float(round(OPERATIONS * math.exp2(config.a + config.b / 2)))


def _polynomial(config: Config, outcome: Outcome) -> float:
    x = {name: float(getattr(config, name)) for name in FACTORS}
    main = sum(effect * x[name] for name, effect in MAIN_EFFECTS[outcome].items())
    interactions = sum(effect * x[one] * x[other] for (one, other), effect in INTERACTIONS[outcome].items())
    return BASE[outcome] + main + interactions + sum(effect * x[name] ** 2 for name, effect in QUADRATIC[outcome].items())


def _train(config: Config, seed: int, folder: CheckpointFolder | None) -> Iterator[EpochReport]:
    checkpoint = folder.load() if folder else None
    reports = checkpoint[1] if checkpoint else []
    yield from reports
    for epoch in range(len(reports) + 1, config.epochs + 1):
        time.sleep(config.seconds_per_epoch)
        report = _report(config, seed, epoch)
        reports.append(report)
        if folder and report.final:
            folder.finish(reports)
        elif folder:
            folder.save({}, reports)
        yield report


def _report(config: Config, seed: int, epoch: int) -> EpochReport:
    learnt = (epoch / config.epochs) ** (RISE + SLOWNESS * config.c)
    accuracy = learnt * (expected_accuracy(config) + _noise(config, seed, "val/accuracy"))
    sparsity = expected_sparsity(config) + _noise(config, seed, "sparsity")
    operations = dense_operations(config)
    metrics = {
        "val/accuracy": accuracy,
        "train/loss": 1 - accuracy,
        "sparsity/overall": sparsity,
        "spikes_per_neuron/overall": (1 - sparsity) * TIME_STEPS,
        "ops/effective_acs": (1 - sparsity) * operations,
        "ops/dense_operations": operations,
    }
    if epoch == config.epochs:
        metrics["test/accuracy"] = expected_accuracy(config) + _noise(config, seed, "test/accuracy")
    curves = {"accuracy_at_t": [accuracy * (t / TIME_STEPS) ** RISE for t in range(1, TIME_STEPS + 1)]}
    return EpochReport(epoch, time.time_ns() // 1_000_000, metrics, curves, config.epochs, {"synthetic": "true"})


def _noise(config: Config, seed: int, metric: str) -> float:
    factors = [str(float(getattr(config, name))) for name in FACTORS]
    width = str(float(without_inactive(config).peak_width))
    of_seed = _normal(seed, metric)
    return config.block_noise * of_seed + config.noise * _normal(seed, metric, *factors, config.variant, width)


def _normal(*names: int | str) -> float:
    generator = generator_for("response surface", *names)
    return float(torch.randn((), generator=generator, dtype=torch.float64).clamp(-CUT_OFF, CUT_OFF))
