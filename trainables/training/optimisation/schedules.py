"""Schedules: the learning rate and the momentum of every step of the optimiser, a pure function of the step.

They come from PyTorch's own schedulers, which are stepped once over a training that has no weights.
"""

import math
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import NamedTuple

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, MultiStepLR, OneCycleLR

from trainables.training.recipe_parts.optimisation_fields import OptimisationFields

MOMENTUM_AT_ENDS, MOMENTUM_AT_PEAK = 0.95, 0.85
"""Of PyTorch's ``OneCycleLR``."""


class Rates(NamedTuple):
    """What a step of the optimiser is taken with."""

    lr: float
    momentum: float


class Schedule:
    """The rates of ``num_steps`` steps; ``schedule[i]`` is that of step i, counted from 0, and costs the steps up to it once.

    The largest learning rate of one_cycle lies between two steps where share of rise times steps is no whole number, as in
    PyTorch's own scheduler; a training of one step, or without a rise, begins at lr itself.
    """

    def __init__(self, config: OptimisationFields, num_steps: int) -> None:
        self._num_steps = num_steps
        self._coming = islice(_rates(config, num_steps), num_steps)
        self._known: list[Rates] = []

    def __len__(self) -> int:
        return self._num_steps

    def __getitem__(self, step: int) -> Rates:
        """Raises IndexError for a step that the schedule does not have."""
        if not 0 <= step < self._num_steps:
            raise IndexError(f"step {step} of a schedule of {self._num_steps}")
        self._known.extend(islice(self._coming, max(0, step + 1 - len(self._known))))
        return self._known[step]


def _rates(config: OptimisationFields, num_steps: int) -> Iterator[Rates]:
    """The rates of one step after another; of more than are asked for."""
    lr = config.lr
    cycles = config.schedule == "one_cycle"
    momentum = config.constant_momentum()
    if num_steps == 1:
        return iter([Rates(lr, MOMENTUM_AT_PEAK if cycles and config.momentum is None else momentum)])
    if cycles:
        return _stepped(lambda optimizer: _one_cycle(config, optimizer, num_steps), lr, momentum)
    num_rising = min(round(config.share_of_rise() * num_steps), num_steps - 1)
    num_left = num_steps - num_rising
    rise = _stepped(lambda optimizer: LinearLR(optimizer, start_factor=config.lr_start, total_iters=num_rising), lr, momentum)

    def rest(optimizer: torch.optim.Optimizer) -> LRScheduler:
        if config.schedule == "cosine":
            return CosineAnnealingLR(optimizer, T_max=max(1, num_left - 1), eta_min=lr * config.fraction_at_end())
        epochs = config.milestones() if config.schedule == "step" else []
        steps = [max(1, round(epoch * num_steps / config.epochs) - num_rising) for epoch in epochs]
        return MultiStepLR(optimizer, milestones=steps, gamma=config.lr_factor)

    return chain(islice(rise, num_rising), _stepped(rest, lr, momentum))


def _one_cycle(config: OptimisationFields, optimizer: torch.optim.Optimizer, num_steps: int) -> LRScheduler:
    rise, end = config.share_of_rise(), config.fraction_at_end()
    if rise == 0 or rise * num_steps == 1:  # PyTorch begins beyond the peak, or divides by 0
        rise = _just_less_than_a_step(num_steps)
    return OneCycleLR(
        optimizer,
        max_lr=config.lr,
        total_steps=num_steps,
        pct_start=rise,
        anneal_strategy="cos" if config.one_cycle_shape == "cosine" else "linear",
        cycle_momentum=config.momentum is None,
        base_momentum=MOMENTUM_AT_PEAK,
        max_momentum=MOMENTUM_AT_ENDS,
        div_factor=1 / config.lr_start,
        final_div_factor=config.lr_start / end if end else math.inf,
    )


def _just_less_than_a_step(num_steps: int) -> float:
    """The largest share of the steps that is less than one step, so that the first is at the peak."""
    share = 1 / num_steps
    while share * num_steps >= 1:
        share = math.nextafter(share, 0)
    return share


def _stepped(make: Callable[[torch.optim.Optimizer], LRScheduler], lr: float, momentum: float) -> Iterator[Rates]:
    """What a scheduler makes of an optimiser's rates, step by step."""
    optimizer = torch.optim.SGD([torch.zeros((), requires_grad=True)], lr=lr, momentum=momentum)
    scheduler = make(optimizer)
    optimizer.step()  # PyTorch warns of schedulers that are stepped before their optimisers
    while True:
        (group,) = optimizer.param_groups
        yield Rates(group["lr"], group["momentum"])
        scheduler.step()
