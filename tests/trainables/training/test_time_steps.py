"""Numbers of time steps that differ in training: what they are, that they are trained, and what they cost."""

import itertools
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainables.contract import results
from trainables import bitnet
from trainables.data.datasets import prepare
from trainables.networks.collapsed import group_sizes, resolved_groups
from trainables.spiking.neurons import MOST_TIME_STEPS
from trainables.training import loop
from trainables.training.task import Task, training_time_steps

SHAPE = (8, 8, 1)


def task(kind: Any, time_steps: int, seed: int = 0) -> Task:
    return Task(
        build=lambda: pytest.fail("not built"),
        loss=lambda *_: pytest.fail("not trained"),
        seed=seed,
        time_steps=time_steps,
        train_time_steps=kind,
    )


def config_of(tiny_npz: Path, **changes: Any) -> bitnet.Config:
    common: dict[str, Any] = {
        "data": str(tiny_npz),
        "validation_fraction": 0.25,
        "layout": "4 M 4",
        "epochs": 3,
        "batch_size": 24,
        "time_steps": 3,
        "device": "cpu",
        "initial_membrane_potential": 0.5,
    }
    return bitnet.Config(**{**common, **changes})


@pytest.mark.parametrize(
    ("num_epochs", "expected"),
    [(1, [3]), (2, [6, 3]), (3, [12, 6, 3]), (4, [12, 6, 3, 3]), (5, [12, 6, 6, 3, 3]), (12, [12] * 4 + [6] * 4 + [3] * 4)],
)
def test_parts_of_descending(num_epochs: int, expected: list[int]) -> None:
    """Three equal parts have 4·T, 2·T and T; with too few epochs the last parts remain, so that training ends with T."""
    found = [task("descending", 3).time_steps_at(epoch, 0, num_epochs) for epoch in range(1, num_epochs + 1)]
    assert found == expected
    shares = {number: count / num_epochs for number, count in Counter(expected).items()}
    assert training_time_steps("descending", 3, num_epochs) == pytest.approx(shares)


def test_mixed_draws_every_number() -> None:
    """Every number from 1 to T comes as often as any other, by epoch and batch; another seed draws others."""
    places = [(epoch, batch) for epoch in range(1, 11) for batch in range(100)]
    drawn = [task("mixed", 4).time_steps_at(*place, 10) for place in places]
    counts = Counter(drawn)
    assert set(counts) == {1, 2, 3, 4}
    assert all(abs(count - 250) < 60 for count in counts.values())  # 4 standard deviations
    assert drawn == [task("mixed", 4).time_steps_at(*place, 10) for place in places]
    assert drawn != [task("mixed", 4, seed=1).time_steps_at(*place, 10) for place in places]
    assert {task("mixed", 1).time_steps_at(*place, 10) for place in places} == {1}
    assert {task("fixed", 4).time_steps_at(*place, 10) for place in places} == {4}


@pytest.mark.parametrize(
    ("kind", "time_steps"), [("fixed", 5), ("mixed", 1), ("mixed", 5), ("mixed", 16), ("descending", 5)], ids=str
)
def test_shares_have_the_mean_of_all_steps(kind: Any, time_steps: int) -> None:
    """What is linear in T has over the shares the mean that it has over all that may be drawn."""
    shares = training_time_steps(kind, time_steps, 7)
    every = [task(kind, time_steps).time_steps_at(epoch, 0, 7) for epoch in range(1, 8)]
    every = list(range(1, time_steps + 1)) if kind == "mixed" else every
    assert sum(shares.values()) == pytest.approx(1)
    assert sum(number * share for number, share in shares.items()) == pytest.approx(sum(every) / len(every))
    assert (min(shares), max(shares)) == (min(every), max(every))


class Steps:
    """Notes how many time steps the steps of training have."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[int] = []
        original = loop.Trainer.step

        def step(trainer: loop.Trainer, epoch: int, batch: int, positions: torch.Tensor, time_steps: int) -> Any:
            self.seen.append(time_steps)
            return original(trainer, epoch, batch, positions, time_steps)

        monkeypatch.setattr(loop.Trainer, "step", step)


@pytest.mark.parametrize(
    "changes",
    [
        {"train_time_steps": "mixed"},
        {"train_time_steps": "mixed", "gradient": "rate_collapsed", "time_groups": 2, "spike_penalty": 0.1},
        {"train_time_steps": "descending", "backend": "torch"},
        {"train_time_steps": "descending", "gradient": "rate_collapsed"},
    ],
    ids=str,
)
def test_resume_has_the_same_time_steps(
    changes: dict[str, Any], tiny_npz: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after an epoch, training goes on with the numbers of time steps of an undisturbed run, to the same bits."""
    config, steps = config_of(tiny_npz, **changes), Steps(monkeypatch)
    dataset = prepare(config.data, data_folder)
    expected = list(bitnet.train(config, seed=3, dataset=dataset))
    undisturbed, steps.seen = steps.seen, []
    list(itertools.islice(bitnet.train(config, seed=3, dataset=dataset, checkpoint_folder=tmp_path / "one"), 1))
    found = list(bitnet.train(config, seed=3, dataset=dataset, checkpoint_folder=tmp_path / "one"))
    assert results(found) == results(expected)
    assert steps.seen == undisturbed
    mixed = config.train_time_steps == "mixed"
    assert set(undisturbed) == ({1, 2, 3} if mixed else {12, 6, 3})
    fact = "drawn from 1 to 3 for every step of the optimiser" if mixed else "12 in 1, then 6 in 1, then 3 in 1 epochs"
    assert found[-1].run_facts["train_time_steps"] == fact
    assert len(found[-1].curves["accuracy_at_t"]) == 3


def test_parts_of_a_batch_have_the_same_time_steps(tiny_npz: Path, data_folder: Path) -> None:
    """A batch that is run in two parts has the loss and the gradient of the whole one, at the numbers that are drawn for it."""
    config = config_of(tiny_npz, train_time_steps="mixed", backend="torch")
    dataset = prepare(config.data, data_folder)
    splits = loop.splits_of(config, dataset, torch.device("cpu"))
    found = []
    for num_parts in (1, 2):
        made = bitnet.task_of(config, dataset.image_shape, dataset.num_classes, 3, num_parts)
        network = made.build()
        made.prepare(network, splits)
        trainer = loop.Trainer(made, config, network, splits)
        for time_steps in (made.time_steps_at(1, 0, 3), 1, 2, 3):
            loss, _ = trainer.step(1, 0, torch.arange(24), time_steps)
            found.append((float(loss), next(network.parameters()).grad))
            made.prepare(network, splits)
    torch.testing.assert_close(found[:4], found[4:])


def test_kernels_are_kept_for_a_few_numbers(tiny_npz: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are made for one number of time steps; those used last are kept, and what they learn is what torch learns."""
    monkeypatch.setattr(loop, "MOST_KEPT_TRAINERS", 2)
    losses = []
    for backend in ("torch", "event_driven"):
        config = config_of(tiny_npz, train_time_steps="mixed", time_steps=6, backend=backend)
        dataset = prepare(config.data, data_folder)
        splits = loop.splits_of(config, dataset, torch.device("cpu"))
        made = bitnet.task_of(config, dataset.image_shape, dataset.num_classes)
        network = made.build()
        made.prepare(network, splits)
        trainer = loop.Trainer(made, config, network, splits)
        losses.append(trainer.train_epoch(1)["train/loss"])
        kept = trainer._trainers
        assert len(kept) == 2
        assert (None in kept.values()) == (backend == "torch")
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_costs_are_those_of_the_time_steps(tiny_npz: Path) -> None:
    """Operations are a mean over all steps of training; the memory is that of the largest number of time steps."""
    fixed, one, four, mixed, descending = (
        bitnet.footprint(config_of(tiny_npz, gradient="surrogate", batch_size=72, **changes), SHAPE, 2)
        for changes in (
            {},
            {"time_steps": 1, "eval_time_steps": 3},
            {"time_steps": 12},
            {"train_time_steps": "mixed"},
            {"train_time_steps": "descending"},
        )
    )
    per_step = (fixed.training_operations - one.training_operations) / 2
    assert mixed.training_operations == fixed.training_operations - per_step
    assert descending.training_operations == fixed.training_operations + 4 * per_step
    assert mixed.operations_per_image == descending.operations_per_image == fixed.operations_per_image
    assert mixed.memory_bytes == fixed.memory_bytes
    assert descending.memory_bytes == four.memory_bytes > fixed.memory_bytes
    exact, several = (
        bitnet.footprint(config_of(tiny_npz, train_time_steps=kind), SHAPE, 2).cpu_memory_bytes for kind in ("fixed", "mixed")
    )
    assert several > exact


def test_the_time_is_a_mean(tiny_npz: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a step takes as many seconds as it has time steps, mixed is timed at their mean, descending at that of its parts."""
    now = 0.0

    def step(_: object, __: int, ___: int, ____: torch.Tensor, time_steps: int) -> None:
        nonlocal now
        now += time_steps

    monkeypatch.setattr(loop.Trainer, "step", step)
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    for kind, expected in (("fixed", 3), ("mixed", 2), ("descending", 7)):
        config = config_of(tiny_npz, train_time_steps=kind, backend="torch")
        timed = bitnet.timing(config, seed=0, dataset=prepare(config.data, data_folder))
        assert timed.seconds_per_step == pytest.approx(expected)


def test_too_many_time_steps_are_refused(tiny_npz: Path) -> None:
    """The first epochs of descending have four times as many, and none may have more than there may be."""
    for time_steps, num_problems in ((MOST_TIME_STEPS // 4, 0), (MOST_TIME_STEPS // 4 + 1, 1)):
        config = config_of(tiny_npz, train_time_steps="descending", time_steps=time_steps)
        assert len(list(bitnet.problems(config, SHAPE))) == num_problems
    assert next(bitnet.problems(config, SHAPE)).rule.startswith(f"time_steps must be at most {MOST_TIME_STEPS // 4}")


def test_groups_are_resolved_for_all_time_steps(tiny_npz: Path) -> None:
    """Equal groups are dyadic ones only if they are so at every number of time steps that occurs."""
    assert [group_sizes(number, 2) == group_sizes(number, "dyadic") for number in (1, 2, 4)] == [True, True, False]
    assert resolved_groups([2], 2) == "dyadic"
    assert resolved_groups([1, 2, 4], 2) == 2
    texts = []
    for kind in ("fixed", "mixed", "descending"):
        values = config_of(tiny_npz, train_time_steps=kind, time_steps=2, gradient="rate_collapsed", time_groups=2).resolved(96)
        texts.append(values["time_groups"])
    assert texts == ["dyadic", "dyadic", 2]
