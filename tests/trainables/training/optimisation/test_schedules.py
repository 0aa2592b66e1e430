"""Schedules: PyTorch's own to the bit, for any number of steps."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from trainables.ann import Config
from trainables.training.optimisation.schedules import Rates, Schedule
from trainables.training.recipe_parts.optimisation_fields import OptimisationFields

NUM_STEPS = st.integers(1, 400)
LRS = st.floats(1e-6, 10.0)
FRACTIONS = st.floats(0.0, 1.0)


def rates_of(config: OptimisationFields, num_steps: int) -> list[Rates]:
    """Those of all steps of a training."""
    schedule = Schedule(config, num_steps)
    return [schedule[step] for step in range(len(schedule))]


def pytorch(num_steps: int, lr: float, make: Callable[[torch.optim.Optimizer], Any], *, adamw: bool = False) -> list[Rates]:
    """What PyTorch's scheduler makes of an optimiser that is stepped with it."""
    parameters = [torch.zeros((), requires_grad=True)]
    optimizer: torch.optim.Optimizer
    optimizer = torch.optim.AdamW(parameters, lr=lr) if adamw else torch.optim.SGD(parameters, lr=lr, momentum=0.9)
    scheduler, rates = make(optimizer), []
    for step in range(num_steps):
        group = optimizer.param_groups[0]
        rates.append(Rates(group["lr"], group["betas"][0] if adamw else group["momentum"]))
        optimizer.step()
        if step < num_steps - 1:
            scheduler.step()
    return rates


@given(num_steps=st.integers(2, 400), lr=LRS, adamw=st.booleans())
@settings(max_examples=25, deadline=None)
def test_the_default_is_pytorchs_one_cycle(num_steps: int, lr: float, *, adamw: bool) -> None:
    """Two steps or more have the rates of OneCycleLR to the bit, for SGD's momentum as for AdamW's first beta."""
    expected = pytorch(num_steps, lr, lambda o: lr_scheduler.OneCycleLR(o, lr, total_steps=num_steps), adamw=adamw)
    assert rates_of(Config(lr=lr), num_steps) == expected


@given(
    num_steps=st.integers(2, 400), rise=st.floats(0.01, 1), start=st.floats(0.01, 1), end=st.floats(0, 1), linear=st.booleans()
)
@settings(max_examples=40, deadline=None)
def test_one_cycle_with_its_own_end_points(num_steps: int, rise: float, start: float, end: float, *, linear: bool) -> None:
    """Share of the rise, first rate, last rate and shape are those of OneCycleLR; the last rate is the one that was asked for."""
    if rise * num_steps == 1:
        return
    config = Config(
        lr=0.3, warmup_fraction=rise, lr_start=start, lr_end=end, one_cycle_shape="linear" if linear else "cosine", momentum=0.8
    )
    expected = pytorch(
        num_steps,
        0.3,
        lambda o: lr_scheduler.OneCycleLR(
            o,
            0.3,
            total_steps=num_steps,
            pct_start=rise,
            anneal_strategy="linear" if linear else "cos",
            cycle_momentum=False,
            div_factor=1 / start,
            final_div_factor=start / end if end else float("inf"),
        ),
    )
    rates = rates_of(config, num_steps)
    assert [rate.lr for rate in rates] == [rate.lr for rate in expected]
    assert {rate.momentum for rate in rates} == {0.8}
    if rise < 1:
        assert rates[-1].lr == pytest.approx(0.3 * end, abs=1e-12)


@given(num_steps=st.integers(2, 400), lr=LRS, end=FRACTIONS)
@settings(max_examples=25, deadline=None)
def test_cosine_is_pytorchs(num_steps: int, lr: float, end: float) -> None:
    """The cosine is CosineAnnealingLR to the bit; its first rate is lr, its last lr_end · lr."""
    rates = rates_of(Config(lr=lr, schedule="cosine", lr_end=end), num_steps)
    eta_min = lr * end
    assert rates == pytorch(num_steps, lr, lambda o: lr_scheduler.CosineAnnealingLR(o, num_steps - 1, eta_min=eta_min))
    assert rates[0].lr == lr
    assert rates[-1].lr == pytest.approx(eta_min)


@given(epochs=st.integers(2, 40), per_epoch=st.integers(1, 10), data=st.data())
@settings(max_examples=40, deadline=None)
def test_steps_are_pytorchs_by_the_epoch(epochs: int, per_epoch: int, data: st.DataObject) -> None:
    """All steps of an epoch have the rate that MultiStepLR gives when it is stepped after every epoch."""
    milestones = sorted(data.draw(st.sets(st.integers(1, epochs - 1), min_size=1, max_size=4)))
    config = Config(lr=0.1, schedule="step", epochs=epochs, lr_milestones=" ".join(map(str, milestones)), lr_factor=0.2)
    expected = pytorch(epochs, 0.1, lambda o: lr_scheduler.MultiStepLR(o, milestones, gamma=0.2))
    assert rates_of(config, epochs * per_epoch) == [rates for rates in expected for _ in range(per_epoch)]


@given(num_steps=st.integers(2, 300), rise=FRACTIONS, start=st.floats(0.001, 1), kind=st.sampled_from(["cosine", "constant"]))
@settings(max_examples=40, deadline=None)
def test_warm_up_is_pytorchs(num_steps: int, rise: float, start: float, kind: Any) -> None:
    """The rise is LinearLR to the bit, and what follows it is the schedule of the steps that are left."""
    rates = rates_of(Config(lr=0.1, schedule=kind, warmup_fraction=rise, lr_start=start), num_steps)
    num_rising = min(round(rise * num_steps), num_steps - 1)
    linear = pytorch(num_rising, 0.1, lambda o: lr_scheduler.LinearLR(o, start, total_iters=num_rising)) if num_rising else []
    assert rates == linear + rates_of(Config(lr=0.1, schedule=kind), num_steps - num_rising)


@given(
    schedule=st.sampled_from(["one_cycle", "cosine", "step", "constant"]),
    num_steps=NUM_STEPS,
    lr=LRS,
    rise=st.none() | FRACTIONS,
    shape=st.sampled_from(["cosine", "linear"]),
    momentum=st.none() | st.floats(0, 0.99),
)
@settings(max_examples=100, deadline=None)
def test_any_number_of_steps(
    schedule: Any, num_steps: int, lr: float, rise: float | None, shape: Any, momentum: float | None
) -> None:
    """Every schedule has as many rates as steps, all between 0 and lr; where PyTorch has a peak on a step, the largest is lr."""
    config = Config(
        epochs=10, lr=lr, schedule=schedule, warmup_fraction=rise, one_cycle_shape=shape, momentum=momentum, lr_milestones="4 7"
    )
    rates = rates_of(config, num_steps)
    assert len(rates) == num_steps
    assert all(0 <= rate.lr <= lr * (1 + 1e-12) and 0 <= rate.momentum <= 0.99 for rate in rates)
    if schedule != "one_cycle" or num_steps == 1 or rise in (0, 1):
        assert max(rate.lr for rate in rates) == pytest.approx(lr, rel=1e-12)
    if momentum is not None:
        assert {rate.momentum for rate in rates} == {momentum}


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "step", "constant"])
@pytest.mark.parametrize("rise", [None, 0.0, 0.3, 1.0])
def test_one_step_has_the_rate_that_was_asked_for(schedule: Any, rise: float | None) -> None:
    """A training of one step takes it at lr: PyTorch's OneCycleLR would take it at lr/250,000."""
    (rates,) = rates_of(Config(lr=0.02, schedule=schedule, warmup_fraction=rise, lr_milestones="5"), 1)
    assert rates.lr == 0.02
    assert pytorch(1, 0.02, lambda o: lr_scheduler.OneCycleLR(o, 0.02, total_steps=1))[0].lr == pytest.approx(0.02 / 250_000)


@pytest.mark.parametrize("num_steps", [2, 3, 5, 7, 10, 49, 98, 103, 107])
def test_a_rise_of_exactly_one_step_begins_at_the_peak(num_steps: int) -> None:
    """Where PyTorch's OneCycleLR divides by 0, and where there is no rise, the first step is at lr."""
    for rise in (1 / num_steps, 0.0):
        rates = rates_of(Config(lr=0.02, warmup_fraction=rise), num_steps)
        assert rates[0].lr == 0.02
        assert rates[0].momentum == pytest.approx(0.85)
        assert all(after.lr < before.lr for before, after in itertools.pairwise(rates))
        assert rates[-1].lr == pytest.approx(0.02 / 250_000)


def test_a_triangle_with_its_own_ends_by_hand() -> None:
    """lr_start and lr_end are fractions of lr at the first and the last step; the momentum can be fixed."""
    config = Config(lr=1.0, warmup_fraction=0.3, lr_start=0.2, lr_end=0.1, one_cycle_shape="linear", momentum=0.85)
    expected = [0.2, 0.6, 1.0] + [1.0 - 0.9 * step / 7 for step in range(1, 8)]
    rates = rates_of(config, 10)
    assert [rate.lr for rate in rates] == pytest.approx(expected)
    assert {rate.momentum for rate in rates} == {0.85}


def test_a_step_is_looked_up_in_any_order() -> None:
    """A rate depends on the step alone: a resumed training finds it at once, and steps beyond the last are an error."""
    schedule = Schedule(Config(), 50)
    assert [schedule[i] for i in (49, 30, 3)] == [rates_of(Config(), 50)[i] for i in (49, 30, 3)]
    for step in (-1, 50):
        with pytest.raises(IndexError, match=f"step {step} of a schedule of 50"):
            schedule[step]
