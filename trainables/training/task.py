"""What ``training.loop`` trains: a network, its loss, and how it is run."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from trainables.data.datasets import Splits
from trainables.data.encodings import Encoding
from trainables.data.randomness import generator_for
from trainables.networks.collapsed import TimeGroups
from trainables.networks.network import Network
from trainables.networks.precision import Precision
from trainables.networks.readout import Ties
from trainables.training.losses import LossOfOutputs
from trainables.training.recipe_parts.length_fields import Selection
from trainables.training.regularisers import Pruning, SpikeRegularisers

TrainTimeSteps = Literal["fixed", "mixed", "descending"]


def time_steps_of_epoch(time_steps: int, epoch: int, num_epochs: int) -> int:
    """Of descending time steps those of an epoch, 1 … num_epochs: 4·T, 2·T and T in three equal parts.

    Where there are fewer than three epochs, the last parts remain.
    """
    return time_steps << 3 * (num_epochs - epoch) // num_epochs


def training_time_steps(kind: TrainTimeSteps, time_steps: int, num_epochs: int) -> dict[int, float]:
    """The smallest to the largest number of time steps in training, each with a share.

    The shares are those of the epochs that have it; of mixed ones only the smallest and the largest are there, with equal
    shares. So what is linear in T has the same mean over these as over all steps of the optimiser.
    """
    if kind == "mixed" and time_steps > 1:
        return {1: 0.5, time_steps: 0.5}
    if kind != "descending" or not num_epochs:
        return {time_steps: 1.0}
    counts = Counter(time_steps_of_epoch(time_steps, epoch, num_epochs) for epoch in range(num_epochs, 0, -1))
    return {number: count / num_epochs for number, count in counts.items()}


@dataclass(frozen=True)
class Prepared:
    """What is reported of making a network ready, by initial weights or a conversion.

    Attributes:
        metrics: Scalars of the first report.
        run_facts: Texts of every report.
        tables: Tables of every report.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    run_facts: dict[str, str] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """What a network learns from a teacher: the loss is (1 - w) loss + w divergence (Hinton et al. 2015).

    Attributes:
        teacher: Makes the teacher, a network that gives the logits of an image at once, with its weights.
        weight: w, in [0, 1).
        precision: In which the teacher is computed.
        divergence: Of outputs ``[T, B, classes]`` from the teacher's logits ``[B, classes]`` for the same images.
    """

    teacher: Callable[[], Network]
    weight: float
    divergence: Callable[[Tensor, Tensor], Tensor]
    precision: Precision = "float32"


class SmallImages(NamedTuple):
    """That training images are small at first.

    Attributes:
        side: Their shorter side, in pixels.
        share: Of all steps of the optimiser, the first ones.
    """

    side: int
    share: float


def _as_built(network: Network, splits: Splits) -> Prepared:
    del network, splits
    return Prepared()


@dataclass(frozen=True, kw_only=True)
class Task:
    """What ``fit`` trains, and how it is run.

    Attributes:
        build: Makes the network's structure, always the same.
        loss: Of outputs ``[T, B, classes]`` and labels ``[B]``.
        distillation: What it learns from a teacher beside; None for nothing.
        seed: The replicate's.
        prepare: Gives it its first weights, from a device's data; not called on a resumed replicate.
        simulates_to_prepare: Whether that simulates it on training images, which takes as much memory as an evaluation.
        time_steps: T while training; 1 for an analogue network.
        train_time_steps: Whether every step of the optimiser has T time steps, or what else (see ``time_steps_at``).
        eval_time_steps: T of every evaluation.
        encoding: How images become inputs.
        time_groups: K of the rate-collapsed backward pass; None for the network's own gradient.
        precision: Of the convolutions.
        small_images: How training images are downsized at first; None for not at all.
        ties: Which of several classes with equally many spikes is the answer.
        pruning_is_over: Whether filters that are pruned stay so, and no more are.
        report_prepared: Whether the prepared network gets a report before any training.
        selection: Which epoch's weights are the result.
        keep_weights: Whether a finished replicate keeps its weights, for its children or as a model to be loaded.
        num_micro_batches: In how many parts every batch is run, so that it takes less memory. A training batch's parts add up to
            its gradient; evaluation and calibration have smaller batches. What a batch norm and a rate target see are parts.

    Raises:
        ValueError: There are no parts.
    """

    build: Callable[[], Network]
    loss: LossOfOutputs
    seed: int
    distillation: Distillation | None = None
    prepare: Callable[[Network, Splits], Prepared] = _as_built
    simulates_to_prepare: bool = False
    time_steps: int = 1
    train_time_steps: TrainTimeSteps = "fixed"
    eval_time_steps: int = 1
    encoding: Encoding = "constant"
    time_groups: TimeGroups | None = None
    precision: Precision = "float32"
    small_images: SmallImages | None = None
    ties: Ties = "lowest_class"
    regularisers: SpikeRegularisers | None = None
    pruning: Pruning | None = None
    pruning_is_over: bool = False
    report_prepared: bool = False
    selection: Selection = "last"
    keep_weights: bool = False
    num_micro_batches: int = 1

    def __post_init__(self) -> None:
        if self.num_micro_batches < 1:
            raise ValueError(f"num_micro_batches must be at least 1; got {self.num_micro_batches}")

    def time_steps_at(self, epoch: int, batch: int, num_epochs: int) -> int:
        """The time steps of one step of the optimiser; epochs are counted from 1, batches from 0.

        fixed: T. mixed: uniformly drawn from 1 … T, by names, so that a resumed replicate draws the same. descending: see
        ``time_steps_of_epoch``.
        """
        if self.train_time_steps == "mixed":
            generator = generator_for(self.seed, "time steps", epoch, batch)
            return int(torch.randint(1, self.time_steps + 1, (), generator=generator))
        return (
            time_steps_of_epoch(self.time_steps, epoch, num_epochs) if self.train_time_steps == "descending" else self.time_steps
        )

    def image_side_at(self, progress: float) -> int | None:
        """The shorter side that training images are downsized to when this share of the training is over; None for no other."""
        return self.small_images.side if self.small_images and progress < self.small_images.share else None

    def training_time_steps(self, num_epochs: int) -> dict[int, float]:
        """See the function ``training_time_steps``."""
        return training_time_steps(self.train_time_steps, self.time_steps, num_epochs)
