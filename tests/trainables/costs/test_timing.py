"""Timing: how long a replicate will take, from a few steps; with a clock of our own, so that no test depends on the machine."""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables import ann, bitnet, converted_snn, response_surface
from trainables.costs import timing
from trainables.costs.timing import Timing
from trainables.data.datasets import prepare
from trainables.training import loop
from trainables.training.epochs import judging

KINDS: list[tuple[Any, dict[str, Any]]] = [
    (bitnet, {"normalisation": "weight_standardisation"}),
    (bitnet, {"batch_size": 5, "pretrain_epochs": 2}),
    (bitnet, {"train_time_steps": "descending", "pretrain_epochs": 1, "distillation": 0.5}),
    (bitnet, {"gradient": "rate_collapsed", "prune": "l1", "spike_penalty": 0.1}),
    (ann, {"num_train_images": 65, "batch_norm": True, "dropout": 0.2}),
    (ann, {"num_train_images": 3, "epochs": 1}),
    (ann, {"layout": "4 M 4 G", "first_image_side": 4}),
    (converted_snn, {"layout": "4 A 4"}),
    (converted_snn, {"finetune_epochs": 3, "balance": "percentile"}),
]


def config_of(trainable: Any, tiny_npz: Path, changes: dict[str, Any]) -> Any:
    common = {
        "data": str(tiny_npz),
        "validation_fraction": 0.25,
        "layout": "4 M 4",
        "epochs": 2,
        "batch_size": 16,
        "device": "cpu",
    }
    common |= {} if trainable is ann else {"time_steps": 3}
    return trainable.Config(**{**common, **changes})


class Clock:
    """Stands still unless something is said to take time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def slow(self, function: Callable[..., Any], *durations: float) -> Callable[..., Any]:
        """The same function; its calls take these seconds one after another, the last one for ever."""
        left: Iterator[float] = iter(durations)

        def slowed(*arguments: Any, **options: Any) -> Any:
            self.now += next(left, durations[-1])
            return function(*arguments, **options)

        return slowed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Steps take 100 s and then 2 s, evaluated batches 100 s and then 3 s and 1 s, a batch of a conversion 5 s."""
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    monkeypatch.setattr(loop.Trainer, "step", clock.slow(loop.Trainer.step, 100, 2))
    monkeypatch.setattr(timing, "evaluate", clock.slow(judging.evaluate, 100, 3, 1))
    monkeypatch.setattr(converted_snn, "convert", clock.slow(converted_snn.convert, 5))
    return clock


def test_total() -> None:
    """The total is what happens once, all steps and all batches of evaluation."""
    parts = Timing(
        seconds_per_step=0.5, num_steps=10, seconds_per_evaluation_batch=0.1, num_evaluation_batches=30, seconds_once=2.0
    )
    assert parts.total_s == pytest.approx(2 + 5 + 3)


@pytest.mark.parametrize(("trainable", "changes"), KINDS, ids=str)
def test_counts_are_those_of_training(
    trainable: Any, changes: dict[str, Any], tiny_npz: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replicate takes exactly as many steps and batches of evaluation as its timing says, its source network's not among
    them."""
    config = config_of(trainable, tiny_npz, changes)
    dataset = prepare(config.data, data_folder)
    timed = trainable.timing(config, seed=0, dataset=dataset)
    batches = steps = 0

    def evaluate(task: Any, network: Any, splits: Any, part: Any, **options: Any) -> judging.Evaluation:
        nonlocal batches
        batches += math.ceil(len(part) / judging.EVALUATION_BATCH_SIZE)
        return real_evaluate(task, network, splits, part, **options)

    def step(trainer: Any, *arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        return real_step(trainer, *arguments)

    real_evaluate, real_step = judging.evaluate, loop.Trainer.step
    source = trainable.source_network(config)
    if source is not None:
        of_source = ann.timing(source, seed=0, dataset=dataset)
        steps, batches = -of_source.num_steps, -of_source.num_evaluation_batches
    monkeypatch.setattr(judging, "evaluate", evaluate)
    monkeypatch.setattr(loop.Trainer, "step", step)
    list(trainable.train(config, seed=0, dataset=dataset))
    assert (timed.num_steps, timed.num_evaluation_batches) == (steps, batches)


def test_only_warm_steps_and_batches_are_timed(clock: Clock, tiny_npz: Path, data_folder: Path) -> None:
    """What the first step and the first batch take, while libraries settle, is in no timing; costs are counted on validation."""
    config = config_of(bitnet, tiny_npz, {})
    timed = bitnet.timing(config, seed=0, dataset=prepare(config.data, data_folder))
    num_validation, num_test = 2 * 1, 1  # 24 and 32 images
    mean = (num_validation * 3 + num_test * 1) / 3
    assert timed == Timing(
        seconds_per_step=2, num_steps=2 * 5, seconds_per_evaluation_batch=mean, num_evaluation_batches=3, seconds_once=0
    )
    assert clock.now == 100 + 2 + 2 + 100 + 3 + 1


@pytest.mark.parametrize(("num_images", "num_batches"), [(20, 1), (64, 1), (65, 2), (256, 2)])
def test_a_conversion_is_timed_on_one_batch(
    num_images: int, num_batches: int, clock: Clock, tiny_npz: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversion takes as long as one batch of its calibration images, times their number; its source network is not
    trained."""
    monkeypatch.setattr(ann, "train", None)
    config = config_of(converted_snn, tiny_npz, {"calibration_images": num_images})  # of 72
    timed = converted_snn.timing(config, seed=0, dataset=prepare(config.data, data_folder))
    assert timed.seconds_once == 5 * num_batches
    assert (timed.num_steps, timed.seconds_per_step) == (0, 0)
    assert clock.now == 5 + 100 + 3 + 1


def test_the_surface_is_timed_by_its_sleep(data_folder: Path) -> None:
    """A response surface takes what its epochs sleep."""
    config = response_surface.Config(epochs=4, seconds_per_epoch=0.25)
    assert response_surface.timing(config, seed=0, dataset=prepare("none", data_folder)).total_s == 1


@pytest.mark.parametrize(("trainable", "changes"), KINDS, ids=str)
def test_timing_leaves_no_trace(trainable: Any, changes: dict[str, Any], tiny_npz: Path, data_folder: Path) -> None:
    """Torch's own random numbers, from which a caller may draw, go on as if nothing had been timed."""
    config = config_of(trainable, tiny_npz, changes)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    timed = trainable.timing(config, seed=0, dataset=prepare(config.data, data_folder))
    assert timed.total_s > 0
    assert torch.equal(torch.get_rng_state(), state)
