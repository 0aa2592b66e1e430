"""The response surface: it draws what its formula says, has the effects it is documented to have, and resumes like the others."""

import itertools
import statistics
import time
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables import ann, bitnet, converted_snn
from trainables import response_surface as surface
from trainables.data.datasets import Dataset, prepare
from trainables.response_surface import CUT_OFF, FACTORS, LARGEST_NOISE, Config, expected_accuracy, expected_sparsity
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.epoch_report import EpochReport

SEEDS = 400
VARIANTS = get_args(get_type_hints(Config)["variant"])
LEVELS = st.floats(-1, 1)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Any point of the surface."""
    levels: dict[str, Any] = {name: draw(LEVELS) for name in FACTORS}
    return Config(**levels, variant=draw(st.sampled_from(VARIANTS)), peak_width=draw(st.floats(0.01, 2)))


@pytest.fixture
def dataset(data_folder: Path) -> Dataset:
    return prepare("none", data_folder)


def last(config: Config, seed: int, dataset: Dataset) -> EpochReport:
    *_, report = surface.train(config, seed=seed, dataset=dataset)
    return report


def values(config: Config, metric: str, dataset: Dataset) -> list[float]:
    """Of all seeds."""
    return [last(config, seed, dataset).metrics[metric] for seed in range(SEEDS)]


@pytest.mark.parametrize(
    "changes",
    [{}, {"a": 1.0, "b": -1.0, "f": 0.3}, {"c": -1.0, "g": 1.0, "variant": "peaked", "e": 0.8}, {"variant": "steep", "d": 1.0}],
)
def test_means_are_the_expectations(changes: dict[str, Any], dataset: Dataset) -> None:
    """Over many seeds the mean of every outcome is its expectation, to 4 standard errors, and its spread is both noises'."""
    config = Config(noise=0.02, block_noise=0.01, **changes)
    spread = (0.02**2 + 0.01**2) ** 0.5
    expectations = {"val/accuracy": expected_accuracy, "test/accuracy": expected_accuracy, "sparsity/overall": expected_sparsity}
    for metric, expectation in expectations.items():
        drawn = values(config, metric, dataset)
        assert abs(statistics.mean(drawn) - expectation(config)) < 4 * spread / SEEDS**0.5
        assert statistics.stdev(drawn) == pytest.approx(spread, rel=4 / (2 * SEEDS) ** 0.5)


def test_expectations_by_hand() -> None:
    """The documented formula, worked by hand at two points."""
    config = Config(a=1, b=-0.5, c=0.5, d=1, e=0.5, f=-1, g=-1, h=0.3, variant="peaked", peak_width=0.3)
    accuracy = 0.5 + (0.04 - 0.015 + 0.01 + 0.01 - 0.02) + (-0.01 - 0.01) + (-0.0075 - 0.02) + (-0.02 + 0.05)
    assert expected_accuracy(config) == pytest.approx(accuracy)
    assert expected_sparsity(config) == pytest.approx(0.55 + (-0.10 - 0.015 + 0.02) + 0.01 - 0.0075)
    assert expected_accuracy(Config(variant="steep", d=-1)) == pytest.approx(0.5 - 0.01 + 0.01 - 0.02)
    assert surface.dense_operations(Config(a=1, b=-1)) == pytest.approx(1e6 * 2**0.5)


def test_all_corners_are_probabilities() -> None:
    """At every corner, and wherever a curved factor is best, even the largest noise leaves accuracy and sparsity in [0, 1]."""
    curved = {"b": (-1, 0.5, 1), "e": (-1, 0, 0.5, 1), "f": (-1, 0.5, 1)}
    margin = 2 * LARGEST_NOISE * CUT_OFF
    grid = itertools.product(*(curved.get(name, (-1, 1)) for name in FACTORS[:-1]), VARIANTS, (0.01, 2.0))
    for *levels, variant, width in grid:
        config = Config(**dict(zip(FACTORS, levels, strict=False)), variant=variant, peak_width=width)
        assert margin < expected_accuracy(config) < 1 - margin
        assert margin < expected_sparsity(config) < 1 - margin


@given(config=configs(), noise=st.floats(0, LARGEST_NOISE), seed=st.integers(0, 10**6))
def test_everything_reported_is_in_range(config: Config, noise: float, seed: int) -> None:
    """Wherever one looks, no fraction of any report leaves [0, 1]."""
    fields = {name: getattr(config, name) for name in (*FACTORS, "variant", "peak_width")}
    noisy = Config(**fields, noise=noise, block_noise=noise, epochs=3)
    for report in surface._train(noisy, seed, None):
        fractions = [value for name, value in report.metrics.items() if "ops" not in name and "per_neuron" not in name]
        assert all(0 <= value <= 1 for value in [*fractions, *report.curves["accuracy_at_t"]])


@given(config=configs(), level=LEVELS, other=LEVELS)
def test_what_matters(config: Config, level: float, other: float) -> None:
    """h does nothing, g nothing where c is 0, and peak_width nothing unless there is a peak."""

    def at(**changes: Any) -> tuple[float, float]:
        fields = {name: getattr(config, name) for name in (*FACTORS, "variant", "peak_width")}
        changed = Config(**{**fields, **changes})
        return expected_accuracy(changed), expected_sparsity(changed)

    assert at(h=level) == at(h=other)
    assert at(g=level, c=0.0) == pytest.approx(at(g=other, c=0.0))
    assert at(g=1.0, c=1.0) != pytest.approx(at(g=-1.0, c=1.0))
    assert at(variant="plain", peak_width=1.0) == at(variant="plain", peak_width=0.1)
    more, less = at(a=1.0), at(a=-1.0)
    assert more[0] > less[0]
    assert more[1] < less[1]


def test_a_and_b_interact() -> None:
    """The effect of a on accuracy is three times as large where b is high as where it is low."""
    high, low = (expected_accuracy(Config(a=1.0, b=level)) - expected_accuracy(Config(a=-1.0, b=level)) for level in (1.0, -1.0))
    assert high == pytest.approx(3 * low)


def test_pairs_share_their_block(dataset: Dataset) -> None:
    """What the replicates of a seed share leaves their difference: its variance is that of two replicates' own noise."""
    one, other = (values(Config(h=h, noise=0.01, block_noise=0.03), "val/accuracy", dataset) for h in (0.0, 1.0))
    differences = [a - b for a, b in zip(one, other, strict=True)]
    assert statistics.stdev(differences) == pytest.approx(0.01 * 2**0.5, rel=4 / (2 * SEEDS) ** 0.5)
    assert statistics.correlation(one, other) == pytest.approx(0.9, abs=0.05)
    alone = [values(Config(h=h, noise=0.01, block_noise=0.0), "val/accuracy", dataset) for h in (0.0, 1.0)]
    assert abs(statistics.correlation(*alone)) < 4 / SEEDS**0.5


def test_pruning_early_is_mostly_right(dataset: Dataset) -> None:
    """Accuracy rises to its last value, which does not depend on the number of epochs; most pairs are in order after a few."""
    grid = [Config(a=a, b=b, c=c, epochs=8) for a, b, c in itertools.product((-1.0, -0.3, 0.4, 1.0), repeat=3)]
    curves = [[report.metrics["val/accuracy"] for report in surface._train(config, 0, None)] for config in grid]
    assert all(before < after for curve in curves for before, after in itertools.pairwise(curve))
    in_order = [(one[1] < other[1]) == (one[-1] < other[-1]) for one, other in itertools.combinations(curves, 2)]
    assert 0.9 < statistics.mean(in_order) < 1
    short = last(Config(a=1.0, b=1.0, c=1.0), 0, dataset).metrics["val/accuracy"]
    assert curves[-1][-1] == short


def test_reports(dataset: Dataset, tmp_path: Path) -> None:
    """Every report says that it is synthetic; the last alone has a test accuracy; names are those of real reports."""
    first, second = surface.train(Config(epochs=2), seed=0, dataset=dataset, checkpoint_folder=tmp_path)
    options: dict[str, Any] = {
        "validation_fraction": 0.25,
        "num_train_images": 32,
        "epochs": 1,
        "layout": "2 M 2",
        "time_steps": 2,
    }
    digits = prepare("digits", tmp_path / "data")
    (real,) = bitnet.train(bitnet.Config(**options), seed=0, dataset=digits)
    assert {first.run_facts["synthetic"], second.run_facts["synthetic"]} == {"true"}
    assert set(second.metrics) == {*first.metrics, "test/accuracy"}
    assert set(second.metrics) < set(real.metrics)
    assert set(second.curves) < set(real.curves)
    assert second.curves["accuracy_at_t"][-1] == second.metrics["val/accuracy"]
    assert second.metrics["ops/dense_operations"] == surface.dense_operations(Config())


def test_one_epoch_writes_one_file(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replicate of one epoch, of which studies have thousands, saves no checkpoint on its way to its reports."""
    monkeypatch.setattr(CheckpointFolder, "save", None)
    (report,) = surface.train(Config(), seed=0, dataset=dataset, checkpoint_folder=tmp_path)
    assert report.final
    assert [path.name for path in tmp_path.iterdir()] == ["reports.json"]


def test_it_waits_as_long_as_it_is_told(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every epoch sleeps seconds_per_epoch."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    list(surface.train(Config(epochs=3, seconds_per_epoch=7.5), seed=0, dataset=dataset))
    assert slept == [7.5] * 3


def test_no_images(dataset: Dataset) -> None:
    """The data set none is always the same, and neither side takes the other's: one problem each, with the field data."""
    assert dataset.digest == "eacb218acb783d9f89879b3a3558ea99e74332d8065fba20d2b12c3a84c3728e"
    assert (len(dataset.train_labels), len(dataset.test_labels), dataset.image_shape, dataset.num_classes) == (
        10,
        2,
        (1, 1, 1),
        2,
    )
    for trainable in (ann, bitnet, converted_snn):
        for layout in ("64 M 64", "8"):
            wrong = list(trainable.problems(trainable.Config(data="none", layout=layout), dataset.image_shape))
            assert [each.field for each in wrong] == ["data"]
    assert list(surface.problems(Config(), dataset.image_shape)) == []
    assert [wrong.field for wrong in surface.problems(Config(data="digits"), (8, 8, 1))] == ["data"]
