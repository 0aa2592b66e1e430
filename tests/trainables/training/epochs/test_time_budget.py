"""Training for a number of seconds: when it ends, how the schedule lies over it, what a resume counts, what is refused."""

import itertools
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from studies.run_record import PARENT_EPOCHS, PARENT_TIME_BUDGET
from tests.trainables.training.epochs.tiny_training import config_of, train
from trainables import ann, bitnet, converted_snn
from trainables.data.datasets import prepare
from trainables.training import loop
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.configs import identity_of
from trainables.training.epoch_report import EpochReport
from trainables.training.epochs import judging
from trainables.training.epochs.time_budget import TimeBudget
from trainables.training.loop import STEPS_OF_A_BUDGET
from trainables.training.optimisation import optimisers, schedules


class Clock:
    """A monotonic clock that stands still but for what a test lets pass."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def slow(self, function: Any, seconds: float) -> Any:
        """The function, which now takes so long."""

        def slowed(*args: Any, **options: Any) -> Any:
            result = function(*args, **options)
            self.now += seconds
            return result

        return slowed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock by which a step takes a second, an evaluation two, and a checkpoint a hundred."""
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    monkeypatch.setattr(loop.Trainer, "step", clock.slow(loop.Trainer.step, 1))
    monkeypatch.setattr(judging, "evaluate", clock.slow(judging.evaluate, 2))
    monkeypatch.setattr(CheckpointFolder, "save", clock.slow(CheckpointFolder.save, 100))
    return clock


def config_for(tiny_npz: Path, seconds: float | None, **changes: Any) -> ann.Config:
    return config_of(tiny_npz, time_budget_s=seconds, **changes)


def told(report: EpochReport) -> tuple[float, float, float]:
    return tuple(round(report.metrics[f"time/{name}"], 6) for name in ("spent_s", "progress", "epochs"))  # type: ignore[return-value]


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        # an epoch of 5 steps and its evaluation take 7 s
        (9.0, [(7, 7 / 9, 1), (11, 1, 1.444444)]),
        (14.0, [(7, 0.5, 1), (14, 1, 2)]),
        (13.5, [(7, 7 / 13.5, 1), (14, 1, 2)]),  # it ends while the second epoch is judged
        (8.5, [(7, 7 / 8.5, 1), (11, 1, 1.444444)]),
        (6.0, [(7, 1, 1)]),
        (2.0, [(4, 1, 0.444444)]),
        (1e-9, [(3, 1, 0.222222)]),  # less than a step: one is taken
    ],
)
def test_when_training_ends(tiny_npz: Path, seconds: float, expected: list[tuple[float, ...]]) -> None:
    """Steps and evaluations count; an epoch is cut where the budget ends, and its report is the last."""
    reports = list(train(config_for(tiny_npz, seconds)))
    assert [told(report) for report in reports] == [tuple(round(value, 6) for value in row) for row in expected]
    assert [report.final for report in reports] == [False] * (len(reports) - 1) + [True]
    assert [report.num_epochs for report in reports] == [None] * (len(reports) - 1) + [len(reports)]
    assert "test/accuracy" in reports[-1].metrics
    assert all("test/accuracy" not in report.metrics for report in reports[:-1])
    assert {report.run_facts["time_budget"] for report in reports} == {f"trained for {seconds:g} s"}


@pytest.mark.parametrize("options", [{}, {"schedule": "cosine", "warmup_fraction": 0.2}, {"schedule": "constant"}])
def test_the_schedule_lies_over_the_seconds(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tiny_npz: Path, options: dict[str, Any]
) -> None:
    """A step has the rates that the schedule has at the fraction of the seconds that is spent when it begins."""
    used: list[schedules.Rates] = []
    real = optimisers.Optimiser.step

    def step(optimiser: optimisers.Optimiser, rates: schedules.Rates) -> None:
        used.append(rates)
        real(optimiser, rates)

    monkeypatch.setattr(optimisers.Optimiser, "step", step)
    config = config_for(tiny_npz, 20.0, **options)
    list(train(config))
    begins = [0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 14, 15, 16, 17, 18]
    schedule = schedules.Schedule(config, STEPS_OF_A_BUDGET)
    assert used == [schedule[int(seconds / 20 * STEPS_OF_A_BUDGET)] for seconds in begins]
    assert clock.now > 120


def test_a_resumed_training_has_the_seconds_that_are_left(clock: Clock, tiny_npz: Path, tmp_path: Path) -> None:
    """What its checkpoint says is spent; what was lost with the process is not, nor the time in between, nor checkpoints."""
    config = config_for(tiny_npz, 24.0)
    undisturbed = [told(report) for report in train(config)]
    assert undisturbed == [(7, round(7 / 24, 6), 1), (14, round(14 / 24, 6), 2), (21, 0.875, 3), (26, 1, 3.666667)]
    interrupted = train(config, tmp_path / "run")
    list(itertools.islice(interrupted, 2))
    with suppress(StopIteration):  # killed in its third epoch, of which nothing is left
        real, count = loop.Trainer.step, itertools.count(1)

        def die(*args: Any) -> Any:
            if next(count) == 3:
                raise StopIteration
            return real(*args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop.Trainer, "step", die)
            with pytest.raises(RuntimeError):
                next(interrupted)
    clock.now += 10_000
    assert [told(report) for report in train(config, tmp_path / "run")] == undisturbed
    assert [told(report) for report in train(config, tmp_path / "run")] == undisturbed  # finished: nothing more is spent


@pytest.mark.usefixtures("clock")
def test_batches_in_parts(tiny_npz: Path) -> None:
    """Batches that do not fit are run in parts within the same seconds."""
    (report,) = train(config_for(tiny_npz, 6.0), num_micro_batches=4)
    assert told(report) == (7, 1, 1)


@pytest.mark.usefixtures("clock")
def test_the_test_images_of_every_epoch_count(tiny_npz: Path) -> None:
    """Where they select, they are judged within the seconds, and the selected epoch is the result."""
    reports = list(train(config_for(tiny_npz, 20.0, selection="best_on_test")))
    assert [told(report)[0] for report in reports] == [9, 18, 24]
    assert reports[-1].metrics["selection/epoch"] in (1, 2, 3)
    assert told(reports[-1]) == (24, 1, 2.444444)


def test_seconds_that_pass_elsewhere_do_not_count(clock: Clock) -> None:
    """Only the time within ``running`` is spent, to the end also where that fails."""
    budget = TimeBudget(10.0, {"spent_s": 1.0})
    clock.now += 5
    assert budget.spent_s == 1
    with suppress(ZeroDivisionError), budget.running():
        clock.now += 2
        assert (budget.spent_s, budget.is_used_up) == (3, False)
        raise ZeroDivisionError
    clock.now += 5
    assert budget.state_dict() == {"spent_s": 3}
    assert not TimeBudget(None, {}).metrics()


@pytest.mark.usefixtures("clock")
def test_a_source_network_trained_for_seconds(tiny_npz: Path, tmp_path: Path) -> None:
    """time_budget_s of a converted SNN is its source network's, as epochs are; fine-tuning has epochs of its own."""
    common: dict[str, Any] = {"data": str(tiny_npz), "layout": "4 M 4", "batch_size": 16, "validation_fraction": 0.25}
    config = converted_snn.Config(time_budget_s=9.0, finetune_epochs=2, time_steps=2, **common)
    reports = list(train(config, tmp_path / "child", converted_snn))
    assert [report.num_epochs for report in reports] == [3, 3, 3]
    assert not any("time/spent_s" in report.metrics for report in reports)
    about_source = {PARENT_TIME_BUDGET: "trained for 9 s", PARENT_EPOCHS: "1.444"}  # the second epoch is cut after 4 of 9 batches
    assert all(about_source.items() <= report.run_facts.items() for report in reports)
    source = converted_snn.source_network(config)
    digest = prepare(config.data, tiny_npz.parent).digest
    folder = CheckpointFolder(tmp_path / identity_of("ann", source, data_digest=digest, seed=0))
    assert [told(report)[0] for report in folder.finished_reports()] == [7, 11]

    pretrained = bitnet.Config(pretrain_time_budget_s=9.0, epochs=1, time_steps=2, **common)
    assert bitnet.source_network(pretrained) == ann.config_of_source_network(
        pretrained, batch_norm=True, time_budget_s=9.0, qcfs_levels=2, activation="clamped_relu", lr=pretrained.pretrain_lr
    )
    (report,) = train(pretrained, tmp_path / "bitnet", bitnet)
    assert "parent_accuracy" in report.run_facts
    assert about_source.items() <= report.run_facts.items()
    assert "time_budget" not in report.run_facts


@pytest.mark.parametrize(
    ("module", "changes", "field", "repair"),
    [
        (ann, {"prune": "l1"}, "time_budget_s", "write time_budget_s: null, or prune: none"),
        (ann, {"schedule": "step", "lr_milestones": "1 2"}, "time_budget_s", "write time_budget_s: null, or schedule: cosine"),
        (bitnet, {"train_time_steps": "descending"}, "time_budget_s", "write time_budget_s: null, or train_time_steps: mixed"),
        (
            bitnet,
            {"spike_penalty": 0.1},
            "time_budget_s",
            "write time_budget_s: null, or spike_penalty_annealing: constant",
        ),
        (
            bitnet,
            {"pretrain_time_budget_s": 5.0, "time_budget_s": None, "schedule": "step", "lr_milestones": "5"},
            "pretrain_time_budget_s",
            "write pretrain_time_budget_s: null, or schedule: cosine",
        ),
    ],
)
def test_what_lies_over_epochs_is_refused(tiny_npz: Path, module: Any, changes: dict[str, Any], field: str, repair: str) -> None:
    """A part that needs to know the number of epochs has one clear error, with a repair."""
    config = module.Config(**{"data": str(tiny_npz), "layout": "4 M 4", "time_budget_s": 5.0, **changes})
    assert [(each.field, each.repair) for each in module.problems(config, (8, 8, 1))] == [(field, repair)]


@pytest.mark.parametrize(
    ("module", "changes"),
    [
        (bitnet, {"spike_penalty": 0.1, "spike_penalty_annealing": "constant", "train_time_steps": "mixed"}),
        (converted_snn, {"spike_penalty": 0.1, "finetune_epochs": 2}),
        (bitnet, {"time_budget_s": None, "pretrain_time_budget_s": 5.0, "spike_penalty": 0.1, "prune": "l1"}),
        (bitnet, {"pretrain_epochs": 3}),
        (ann, {"ema_decay": 0.9, "selection": "best_on_validation"}),
    ],
)
def test_what_does_not_is_allowed(tiny_npz: Path, module: Any, changes: dict[str, Any]) -> None:
    """Other parts go together with a time budget; the epochs of the same training have no effect then."""
    config = module.Config(**{"data": str(tiny_npz), "layout": "4 M 4", "time_budget_s": 5.0, **changes})
    assert not list(module.problems(config, (8, 8, 1)))
    assert ("epochs" in config.inactive_fields()) == (config.time_budget_s is not None)


def test_a_time_budget_is_identity(tiny_npz: Path) -> None:
    """Other seconds are another replicate; another number of epochs, which has no effect, is the same."""

    def identity(config: Any) -> str:
        return identity_of("ann", config, data_digest="", seed=0)

    assert identity(config_for(tiny_npz, 5.0)) != identity(config_for(tiny_npz, 6.0)) != identity(config_for(tiny_npz, None))
    assert identity(config_for(tiny_npz, 5.0)) == identity(config_for(tiny_npz, 5.0, epochs=3))
