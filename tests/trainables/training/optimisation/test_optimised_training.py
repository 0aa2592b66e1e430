"""Trainings with every optimiser, schedule and average: resumed to the bit, judged by what is kept, refused by their rules."""

import dataclasses
import hashlib
import io
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.contract import results
from tests.trainables.training.optimisation.test_schedules import rates_of
from trainables import ann, bitnet, converted_snn
from trainables.data.datasets import Dataset, prepare
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.epochs.judging import evaluate
from trainables.training.loop import Trainer, splits_of

KINDS: dict[str, dict[str, Any]] = {
    "adamw": {"optimizer": "adamw", "schedule": "cosine", "warmup_fraction": 0.3, "momentum": 0.8},
    "sgd": {"optimizer": "sgd", "schedule": "step", "lr_milestones": "0.5 1.5", "bias_lr_factor": 4.0, "lr": 0.05},
    "muon": {"optimizer": "muon", "one_cycle_shape": "linear", "lr_start": 0.2, "lr_end": 0.07, "lr": 0.02},
}


@pytest.fixture(scope="module")
def dataset(tiny_npz: Path, data_folder: Path) -> Dataset:
    return prepare(str(tiny_npz), data_folder)


def config_of(tiny_npz: Path, **changes: Any) -> ann.Config:
    common = {
        "validation_fraction": 0.25,
        "epochs": 2,
        "batch_size": 24,
        "layout": "4 M 6 5",
        "batch_norm": True,
        "device": "cpu",
    }
    return ann.Config(data=str(tiny_npz), **{**common, **changes})


def averaged_config(trainable: Any, tiny_npz: Path, **changes: Any) -> Any:
    shared: dict[str, Any] = {"data": str(tiny_npz), "validation_fraction": 0.25, "batch_size": 24, "layout": "4 M 6"}
    shared |= {"ema_decay": 0.8, "device": "cpu", "backend": "torch"} | ({} if trainable is ann else {"time_steps": 2})
    return trainable.Config(**shared, **changes)


def weights_digest(folder: Path) -> str:
    return hashlib.sha256((folder / "weights.pt").read_bytes()).hexdigest()


@pytest.mark.parametrize("decay", [0.0, 0.9])
@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_training_is_the_uninterrupted_one(
    kind: str, decay: float, tiny_npz: Path, dataset: Dataset, tmp_path: Path
) -> None:
    """Whatever the optimiser, the schedule and the average, reports and weights are the same to the bit after an interruption."""
    config = config_of(tiny_npz, ema_decay=decay, **KINDS[kind])
    expected = list(ann.train(config, seed=3, dataset=dataset, checkpoint_folder=tmp_path / "whole"))
    first = ann.train(config, seed=3, dataset=dataset, checkpoint_folder=tmp_path / "resumed")
    list(itertools.islice(first, 1))
    first.close()  # type: ignore[attr-defined]  # a generator
    resumed = list(ann.train(config, seed=3, dataset=dataset, checkpoint_folder=tmp_path / "resumed"))
    assert results(resumed) == results(expected)
    assert weights_digest(tmp_path / "resumed") == weights_digest(tmp_path / "whole")


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_checkpoint_with_a_scheduler_still_loads(optimizer: Any, tiny_npz: Path, dataset: Dataset, tmp_path: Path) -> None:
    """Checkpoints used to hold PyTorch's scheduler, and its numbers beside the optimiser's: a training goes on from one."""
    config = config_of(tiny_npz, optimizer=optimizer)
    expected = list(ann.train(config, seed=3, dataset=dataset, checkpoint_folder=tmp_path / "whole"))
    first = ann.train(config, seed=3, dataset=dataset, checkpoint_folder=tmp_path / "old")
    next(first)
    first.close()  # type: ignore[attr-defined]  # a generator
    file = tmp_path / "old" / "checkpoint.pt"
    content = torch.load(io.BytesIO(file.read_bytes()), weights_only=True)
    parameters = [torch.zeros((), requires_grad=True)]
    plain: torch.optim.Optimizer = (
        torch.optim.AdamW(parameters) if optimizer == "adamw" else torch.optim.SGD(parameters, momentum=0.9, nesterov=True)
    )
    scheduler = torch.optim.lr_scheduler.OneCycleLR(plain, config.lr, total_steps=6)
    for _ in range(3):
        plain.step()
        scheduler.step()
    (group,) = content["state"]["optimizer"]["param_groups"]
    group |= {name: value for name, value in plain.param_groups[0].items() if name not in {"params", "weight_decay", "fused"}}
    content["state"]["schedule"] = scheduler.state_dict()
    torch.save(content, file)
    assert results(list(ann.train(config, seed=3, dataset=dataset, checkpoint_folder=tmp_path / "old"))) == results(expected)
    assert weights_digest(tmp_path / "old") == weights_digest(tmp_path / "whole")


@pytest.mark.parametrize("trainable", [ann, bitnet])
def test_the_average_is_judged_and_kept(trainable: Any, tiny_npz: Path, dataset: Dataset, tmp_path: Path) -> None:
    """With an average, the accuracy and the kept weights are those of the average over all steps of the optimiser."""
    config = averaged_config(trainable, tiny_npz, epochs=1, lr=0.05)
    (report,) = trainable.train(config, seed=3, dataset=dataset, checkpoint_folder=tmp_path, keep_weights=True)
    task = trainable.task_of(config, dataset.image_shape, dataset.num_classes, 3)
    splits = splits_of(config, dataset, torch.device("cpu"))
    network = task.build()
    task.prepare(network, splits)
    trainer = Trainer(task, config, network, splits)
    states: list[dict[str, Tensor]] = []
    step = trainer.step

    def watched(*arguments: Any) -> Any:
        result = step(*arguments)
        states.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return result

    trainer.step = watched  # type: ignore[assignment, method-assign]
    trainer.train_epoch(1)
    average = states[0]
    for n, state in enumerate(states[1:], start=1):
        d = min(0.8, (1 + n) / (10 + n))
        average = {name: d * old + (1 - d) * state[name] for name, old in average.items()}
    kept = CheckpointFolder(tmp_path).weights()
    for name, tensor in kept.items():
        torch.testing.assert_close(tensor, average[name], rtol=1e-4, atol=1e-6)
    assert any(not torch.equal(tensor, kept[name]) for name, tensor in states[-1].items())
    judged = evaluate(task, trainer.result, splits, splits.validation, purpose="validation")
    assert report.metrics["val/accuracy"] == judged.accuracy_at_t[-1]


def test_the_average_of_a_fine_tuned_conversion_is_kept(tiny_npz: Path, dataset: Dataset, tmp_path: Path) -> None:
    """Fine-tuning averages as well: what it keeps has the accuracy that it reports, and is not what it would be without."""
    config = averaged_config(converted_snn, tiny_npz, epochs=1, finetune_epochs=1, finetune_lr=0.05)
    runs = {decay: dataclasses.replace(config, ema_decay=decay) for decay in (0.8, 0.0)}
    kept: dict[float, dict[str, Tensor]] = {}
    for decay, run in runs.items():
        folder = tmp_path / str(decay)
        reports = list(converted_snn.train(run, seed=3, dataset=dataset, checkpoint_folder=folder, keep_weights=True))
        kept[decay] = CheckpointFolder(folder).weights()
        task = converted_snn.task_of(run, dataset.image_shape, dataset.num_classes, 3)
        network = task.build()
        network.load_state_dict(kept[decay])
        splits = splits_of(run, dataset, torch.device("cpu"))
        judged = evaluate(task, network, splits, splits.validation, purpose="validation")
        assert reports[-1].metrics["val/accuracy"] == judged.accuracy_at_t[-1]
    assert any(not torch.equal(tensor, kept[0.0][name]) for name, tensor in kept[0.8].items())


@pytest.mark.parametrize("lr", [1e-4, 0.03])
def test_a_training_of_one_step_takes_it_at_lr(lr: float, tiny_npz: Path, dataset: Dataset, tmp_path: Path) -> None:
    """One batch and one epoch change weights by lr, as AdamW's first step does; PyTorch's one cycle would take lr/250,000."""
    config = config_of(tiny_npz, epochs=1, batch_size=1000, lr=lr, weight_decay=0.0, batch_norm=False)
    list(ann.train(config, seed=3, dataset=dataset, checkpoint_folder=tmp_path))
    task = ann.task_of(config, dataset.image_shape, dataset.num_classes, 3)
    network = task.build()
    task.prepare(network, splits_of(config, dataset, torch.device("cpu")))
    kept = CheckpointFolder(tmp_path).weights()
    changes = torch.cat([(kept[name] - start).flatten().abs() for name, start in network.state_dict().items()])
    assert changes.max() == pytest.approx(lr, rel=1e-2)
    assert changes.median() == pytest.approx(lr, rel=0.1)


def test_milestones_lie_at_the_same_fractions_in_other_trainings() -> None:
    """Pre-training and fine-tuning, which have epochs of their own, have the milestones at the same fractions of their steps."""
    step: dict[str, Any] = {"schedule": "step", "lr_milestones": "60 120 160", "lr_factor": 0.2, "epochs": 200}
    pretrained = bitnet.source_network(bitnet.Config(**step, pretrain_epochs=10))
    assert pretrained is not None
    assert (pretrained.lr_milestones, pretrained.epochs) == ("3 6 8", 10)
    whole = rates_of(ann.Config(**step), 400)
    assert [r.lr / 5e-3 for r in rates_of(pretrained, 40)] == [r.lr / 5e-3 for r in whole[::10]]
    config = converted_snn.Config(**step, finetune_epochs=7)
    assert converted_snn.source_network(config).lr_milestones == "60 120 160"
    assert config.milestones_within(7) == "2.1 4.2 5.6"
    assert config.milestones_within(0) is None
    assert converted_snn.Config(finetune_epochs=7).milestones_within(7) is None


def test_milestones_have_one_spelling() -> None:
    """Numbers of epochs are written in one way; what are none stay as they were, for the rule to name."""
    spell = ann.Config.__dataclass_fields__["lr_milestones"].metadata["canonical"]
    assert [spell(text) for text in (" 060  120.0 ", 60, 1.5, None, "60, 120")] == ["60 120", "60", "1.5", None, "60, 120"]


@pytest.mark.parametrize(
    ("changes", "field", "rule", "repair"),
    [
        ({"schedule": "step"}, "lr_milestones", "must be epochs above 0 and below 10", 'write lr_milestones: "5", or'),
        ({"lr_milestones": "6 3"}, "lr_milestones", "each later than the one before", 'write lr_milestones: "3 6", or'),
        ({"lr_milestones": "3 3"}, "lr_milestones", "each later than the one before", 'write lr_milestones: "3", or'),
        ({"lr_milestones": "3 10"}, "lr_milestones", "above 0 and below 10", 'write lr_milestones: "3", or schedule: constant'),
        ({"lr_milestones": "60 120"}, "lr_milestones", "above 0 and below 10", 'write lr_milestones: "5", or schedule: constant'),
        ({"lr_milestones": "0 5"}, "lr_milestones", "above 0 and below 10", 'write lr_milestones: "5", or schedule: constant'),
        ({"lr_milestones": "3, 5"}, "lr_milestones", "above 0 and below 10", 'write lr_milestones: "5", or schedule: constant'),
        ({"lr_milestones": "nan"}, "lr_milestones", "above 0 and below 10", 'write lr_milestones: "5", or schedule: constant'),
        ({"lr_milestones": "3", "warmup_fraction": 0.4}, "warmup_fraction", "at most 0.3", "write warmup_fraction: 0.3"),
    ],
)
def test_milestones_that_break_a_rule(changes: dict[str, Any], field: str, rule: str, repair: str) -> None:
    """Milestones out of order, beyond the last epoch or within the warm-up are one error, whose repair is right."""
    changes = {"schedule": "step", **changes}
    for trainable in (ann, bitnet, converted_snn):
        (wrong,) = trainable.problems(trainable.Config(**changes), (8, 8, 1))
        assert wrong.field == field
        assert rule in wrong.rule
        assert repair in wrong.repair
        name, value = wrong.repair.split(", or")[0].removeprefix("write ").split(": ")
        fixed = trainable.Config(**changes | {name: value.strip('"') if name == "lr_milestones" else float(value)})
        assert not list(trainable.problems(fixed, (8, 8, 1)))


def test_an_average_and_pruning_are_refused_together() -> None:
    """A pruned filter would come back in the average, so that what is judged would not be pruned."""
    for trainable in (ann, bitnet, converted_snn):
        (wrong,) = trainable.problems(trainable.Config(ema_decay=0.9, prune="l1"), (8, 8, 1))
        assert (wrong.field, wrong.repair) == ("ema_decay", "write ema_decay: 0, or prune: none")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"warmup_fraction": 0.3}, {"lr_end": 1 / 250_000}),
        ({"schedule": "cosine"}, {"schedule": "cosine", "warmup_fraction": 0.0, "lr_end": 0.0, "momentum": 0.9}),
        ({"schedule": "constant", "lr_start": 0.5}, {"schedule": "constant", "lr_end": 0.5, "one_cycle_shape": "linear"}),
        ({"optimizer": "sgd", "momentum": 0.0, "nesterov": False}, {"optimizer": "sgd", "momentum": 0.0}),
    ],
)
def test_configs_that_come_to_the_same_training(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Null stands for a number, and a field that does nothing for any value: such configs train one network, and are found to."""
    same, same_too = (ann.Config(**changes) for changes in (one, other))
    assert same.resolved(1000) == same_too.resolved(1000)
    assert rates_of(same, 40) == rates_of(same_too, 40)
    assert same.resolved(1000) != ann.Config(**one | {"momentum": 0.5}).resolved(1000)
