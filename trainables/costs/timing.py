"""How long a replicate will take, measured on a few of its steps."""

import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from trainables.data.datasets import Dataset, Split, Splits
from trainables.kernels.choice import evaluator_for
from trainables.kernels.interface import Evaluating
from trainables.networks.network import Network
from trainables.networks.rewriting import folded
from trainables.spiking.costs import OperationCounter
from trainables.training.epochs.judging import EVALUATION_BATCH_SIZE, evaluate
from trainables.training.epochs.selection import num_looks_at_test
from trainables.training.loop import (
    Trainer,
    backend_request,
    batch_sizes,
    resolve_device,
    splits_of,
)
from trainables.training.recipe import Recipe
from trainables.training.task import SmallImages, Task

NUM_WARM_UPS = 1
NUM_TIMED_STEPS = 2


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long the parts of a replicate take on this machine, and how often each is done; writing checkpoints is not counted.

    Attributes:
        seconds_per_step: A training step: one batch forward and backward, and the optimiser; a mean where steps differ in T.
        num_steps: Training steps of all epochs, or as many as fill a time budget.
        seconds_per_evaluation_batch: 64 images over all time steps; a mean, as costs are counted on validation images alone.
        num_evaluation_batches: Of the validation images for every report, and of the test images once, or as often as the
            selection of an epoch needs them. A time budget holds all of them but those of the last report.
        seconds_once: Reading the images, making the network, its first weights or its conversion.
    """

    seconds_per_step: float = 0.0
    num_steps: int = 0
    seconds_per_evaluation_batch: float = 0.0
    num_evaluation_batches: int = 0
    seconds_once: float = 0.0

    @property
    def total_s(self) -> float:
        """The predicted seconds of the whole replicate: what happens once, all training steps, and all batches of evaluation."""
        steps_s = self.num_steps * self.seconds_per_step
        return self.seconds_once + steps_s + self.num_evaluation_batches * self.seconds_per_evaluation_batch


class _Clock:
    """How long something took, once a GPU has done it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """While this lasts."""
        self._wait()
        start = time.perf_counter()
        yield
        self._wait()
        self.seconds += time.perf_counter() - start

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def timing_of(task: Task, recipe: Recipe, dataset: Dataset) -> Timing:
    """Time a task with the code that ``fit`` runs: its preparation, 3 batches of evaluation and 3 steps, of which the first ones
    only warm up.
    """
    device = resolve_device(recipe.device)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # the caller's random numbers go on as they were
        return _timing_of(task, recipe, dataset, device)


def _timing_of(task: Task, recipe: Recipe, dataset: Dataset, device: torch.device) -> Timing:
    once, counted, bare = _Clock(device), _Clock(device), _Clock(device)
    with once.running():
        splits = splits_of(recipe, dataset, device)

    def evaluator_of(network: Network) -> Evaluating | None:
        return evaluator_for(
            network, backend_request(task, recipe, recipe.input_shape(splits.image_shape), task.eval_time_steps)
        )[0]

    judged = folded(task.build().to(device))
    _evaluate_one_batch(task, judged, splits, OperationCounter(), evaluator_of(judged))
    with once.running():
        network = task.build().to(device)
        task.prepare(network, splits)
    judged = folded(network)
    evaluator = evaluator_of(judged)
    with counted.running():
        _evaluate_one_batch(task, judged, splits, OperationCounter(), evaluator)
    with bare.running():
        _evaluate_one_batch(task, judged, splits, None, evaluator)
    per_step = _seconds_per_step(task, recipe, network, splits) if recipe.epochs else 0.0
    num_steps = recipe.epochs * len(batch_sizes(splits.train, recipe))
    num_judged, num_tested = recipe.epochs + task.report_prepared, num_looks_at_test(task.selection, recipe.epochs)
    if recipe.time_budget_s:
        num_steps = max(1, math.ceil(recipe.time_budget_s / per_step))
        num_judged, num_tested = 1, num_looks_at_test(task.selection, 1)
    num_counted = num_judged * _num_batches(splits.validation)
    num_bare = num_tested * _num_batches(splits.test)
    evaluation_s = num_counted * counted.seconds + num_bare * bare.seconds
    return Timing(
        seconds_per_step=per_step,
        num_steps=num_steps,
        seconds_per_evaluation_batch=evaluation_s / (num_counted + num_bare),
        num_evaluation_batches=num_counted + num_bare,
        seconds_once=once.seconds,
    )


def _num_batches(part: Split) -> int:
    return math.ceil(len(part) / EVALUATION_BATCH_SIZE)


def _evaluate_one_batch(
    task: Task, network: Network, splits: Splits, counter: OperationCounter | None, evaluator: Evaluating | None
) -> None:
    part = dataclasses.replace(splits.validation, indices=splits.validation.indices[:EVALUATION_BATCH_SIZE])
    evaluate(task, network, splits, part, purpose="validation", counter=counter, evaluator=evaluator)


def _seconds_per_step(task: Task, recipe: Recipe, network: Network, splits: Splits) -> float:
    """A mean over the first part of training, where its images are small, and the rest."""
    whole_s = _seconds_of_steps(dataclasses.replace(task, small_images=None), recipe, network, splits)
    if task.small_images is None:
        return whole_s
    side, share = task.small_images
    small = dataclasses.replace(task, small_images=SmallImages(side, 1.0))
    return share * _seconds_of_steps(small, recipe, network, splits) + (1 - share) * whole_s


def _seconds_of_steps(task: Task, recipe: Recipe, network: Network, splits: Splits) -> float:
    num_steps = NUM_WARM_UPS + NUM_TIMED_STEPS
    used = task.training_time_steps(recipe.epochs)
    trainer = Trainer(task, dataclasses.replace(recipe, epochs=max(recipe.epochs, num_steps * len(used))), network, splits)
    device = splits.train.labels.device
    positions = torch.arange(batch_sizes(splits.train, recipe)[0], device=device)
    seconds = 0.0
    trainer.begin_epoch()
    for time_steps, share in used.items():
        clock = _Clock(device)
        for batch in range(NUM_WARM_UPS):
            trainer.step(1, batch, positions, time_steps)
        with clock.running():
            for batch in range(NUM_WARM_UPS, num_steps):
                trainer.step(1, batch, positions, time_steps)
        seconds += share * clock.seconds / NUM_TIMED_STEPS
    return seconds
