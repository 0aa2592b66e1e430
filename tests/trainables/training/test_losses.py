"""Losses over time and distillation: against plain loops, torch's own losses, and what a teacher says."""

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.trainables.contract import results
from trainables import ann, bitnet
from trainables.data.augmentation import training_batch
from trainables.data.datasets import prepare
from trainables.networks.network import Network
from trainables.training import loop
from trainables.training.losses import (
    cross_entropy_of_logits,
    divergence_from_teacher,
    loss_at_each_step,
)
from trainables.training.task import Distillation

SHAPE = (8, 8, 1)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tet_lambda", [0.0, 0.05])
@pytest.mark.parametrize("time_steps", [1, 3])
def test_tet_is_the_loop(time_steps: int, tet_lambda: float) -> None:
    """The loss at each step is that of the plain loop over steps, images and classes, and torch's own of every step."""
    outputs, labels = drawn(time_steps, 5, 4).requires_grad_(), torch.tensor([0, 3, 1, 1, 2])
    loss = loss_at_each_step(outputs, labels, loss=cross_entropy_of_logits, tet_lambda=tet_lambda)
    loop_over_steps, square = 0.0, 0.0
    for step in outputs.tolist():
        for row, label in zip(step, labels.tolist(), strict=True):
            loop_over_steps += (math.log(sum(map(math.exp, row))) - row[label]) / (5 * time_steps)
            square += sum((value - 1) ** 2 for value in row) / (5 * 4 * time_steps)
    assert float(loss.detach()) == pytest.approx((1 - tet_lambda) * loop_over_steps + tet_lambda * square, rel=1e-12)
    own = torch.stack([functional.cross_entropy(step, labels) for step in outputs]).mean()
    own = (1 - tet_lambda) * own + tet_lambda * functional.mse_loss(outputs, torch.ones_like(outputs))
    torch.testing.assert_close(torch.autograd.grad(loss, outputs), torch.autograd.grad(own, outputs), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_distillation_is_the_loop(temperature: float) -> None:
    """The divergence is the plain sum over classes, torch's own kl_div, and 0 where both say the same."""
    student, teacher = drawn(3, 4).requires_grad_(), drawn(3, 4, seed=1)
    found = divergence_from_teacher(student[None], teacher, spiking=False, temperature=temperature)
    total = 0.0
    for o, z in zip(student.tolist(), teacher.tolist(), strict=True):
        p, q = ([math.exp(value / temperature) for value in row] for row in (z, o))
        total += sum(a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) for a, b in zip(p, q, strict=True)) / 3
    assert float(found.detach()) == pytest.approx(temperature**2 * total, rel=1e-12)
    own = functional.kl_div(
        functional.log_softmax(student / temperature, dim=1), functional.softmax(teacher / temperature, dim=1), reduction="sum"
    )
    torch.testing.assert_close(
        torch.autograd.grad(found, student), torch.autograd.grad(temperature**2 * own / 3, student), rtol=1e-12, atol=1e-14
    )
    assert float(divergence_from_teacher(teacher[None], teacher, spiking=False, temperature=temperature)) == pytest.approx(
        0, abs=1e-15
    )


def config_of(tiny_npz: Path, **changes: Any) -> bitnet.Config:
    common: dict[str, Any] = {
        "data": str(tiny_npz),
        "validation_fraction": 0.25,
        "layout": "4 M 4",
        "epochs": 2,
        "batch_size": 24,
        "time_steps": 2,
        "readout": "spikes",
        "crop_padding": 1,
        "device": "cpu",
        "pretrain_epochs": 1,
        "distillation": 0.25,
    }
    return bitnet.Config(**{**common, **changes})


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("backend", ["torch", "event_driven"])
def test_a_step_has_the_loss_over_time(backend: str, loss: str, tiny_npz: Path, data_folder: Path) -> None:
    """What is trained on is the mean of the losses of all steps, whatever runs the network; at one step it is the plain loss."""
    config = config_of(tiny_npz, backend=backend, loss=loss, readout="potential", pretrain_epochs=0, distillation=0.0)
    dataset = prepare(config.data, data_folder)
    splits = loop.splits_of(config, dataset, torch.device("cpu"))
    images, labels, _ = training_batch(splits, torch.arange(24), config.augmentation(), "constant", seed=0, epoch=1, batch=0)

    def step(changed: bitnet.Config) -> tuple[float, Tensor, Tensor]:
        task = bitnet.task_of(changed, dataset.image_shape, dataset.num_classes)
        network = task.build()
        task.prepare(network, splits)
        with torch.no_grad():
            drive_TBK, _ = network(images[None], changed.time_steps)
        trainer = loop.Trainer(task, changed, network, splits)
        trainer.begin_epoch()
        found, _ = trainer.step(1, 0, torch.arange(24), changed.time_steps)
        grad = next(network.parameters()).grad
        assert grad is not None
        return float(found), grad, drive_TBK

    found, _, drive_TBK = step(dataclasses.replace(config, loss_over_time="each_step", tet_lambda=0.1, time_steps=3))
    hot = functional.one_hot(labels, 2).float()
    own = [functional.mse_loss(o, hot) if loss == "mse" else functional.cross_entropy(o, labels) for o in drive_TBK]
    expected = 0.9 * torch.stack(own).mean() + 0.1 * functional.mse_loss(drive_TBK, torch.ones_like(drive_TBK))
    assert found == pytest.approx(float(expected), rel=1e-5)
    one, other = (step(dataclasses.replace(config, loss_over_time=over, time_steps=1)) for over in ("mean", "each_step"))
    torch.testing.assert_close(one, other)


def test_the_loss_over_time_is_of_drives(tiny_npz: Path) -> None:
    """A loss at each step is refused where output neurons give spikes."""
    config = config_of(tiny_npz, loss_over_time="each_step")
    (problem,) = bitnet.problems(config, SHAPE)
    assert (problem.field, problem.repair) == ("loss_over_time", "write readout: potential, or loss_over_time: mean")
    assert not list(bitnet.problems(dataclasses.replace(config, readout="potential"), SHAPE))


class Constant(nn.Module):
    """Logits that do not depend on the image."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 2)
        self.dropout = nn.Dropout(0.9)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.dropout(self.linear(x.flatten(1)))
        return logits


@pytest.mark.parametrize(("backend", "num_parts"), [("torch", 1), ("torch", 3), ("event_driven", 1)])
def test_a_teacher_is_asked_about_the_same_images(backend: str, num_parts: int, tiny_npz: Path, data_folder: Path) -> None:
    """The loss of a step is (1 - w) loss + w divergence from what the teacher, without dropout, says of the augmented batch."""
    config = config_of(tiny_npz, backend=backend)
    dataset = prepare(config.data, data_folder)
    splits = loop.splits_of(config, dataset, torch.device("cpu"))
    torch.manual_seed(0)
    teacher, seen = Network(Constant()), list[tuple[Tensor, Tensor]]()

    def divergence(outputs_TBK: Tensor, teacher_BK: Tensor) -> Tensor:
        seen.append((outputs_TBK.detach(), teacher_BK))
        divergent: Tensor = divergence_from_teacher(outputs_TBK, teacher_BK, spiking=True, temperature=2.0)
        return divergent

    task = bitnet.task_of(config, dataset.image_shape, dataset.num_classes, 3, num_parts)
    assert task.distillation
    losses = []
    for distillation in (None, Distillation(teacher=lambda: teacher, weight=0.25, divergence=divergence)):
        made = dataclasses.replace(task, distillation=distillation)
        network = made.build()
        made.prepare(network, splits)
        trainer = loop.Trainer(made, config, network, splits)
        trainer.begin_epoch()
        losses.append(float(trainer.step(1, 0, torch.arange(24), 2)[0]))
    outputs, logits = (torch.cat(parts, dim=dim) for parts, dim in zip(zip(*seen, strict=True), (1, 0), strict=True))
    images, _, _ = splits.train.batch(torch.arange(24))
    shifted, _, _ = training_batch(splits, torch.arange(24), config.augmentation(), "constant", seed=3, epoch=1, batch=0)
    expected = teacher.eval()(shifted[None])[0][0]
    torch.testing.assert_close(logits, expected)
    assert not torch.equal(shifted, splits.normalise(images))
    divergent = float(divergence_from_teacher(outputs, expected.detach(), spiking=True, temperature=2.0))
    assert losses[1] == pytest.approx(0.75 * losses[0] + 0.25 * divergent, rel=1e-5)
    assert divergent > 0.01
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_the_teacher_is_there_again_after_a_resume(
    tiny_npz: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The analogue network is trained once, teaches what it was trained to, and does so again after an interruption."""
    trained: list[ann.Config] = []
    built: list[Network] = []
    original_train, original_build = ann.train, ann.build

    def train(config: ann.Config, **rest: Any) -> Any:
        trained.append(config)
        return original_train(config, **rest)

    def build(*arguments: Any) -> Network:
        built.append(original_build(*arguments))
        return built[-1]

    monkeypatch.setattr(ann, "train", train)
    monkeypatch.setattr(ann, "build", build)
    config = config_of(tiny_npz, pretrain_activation="qcfs", train_time_steps="mixed", backend="torch", batch_size=36)
    dataset = prepare(config.data, data_folder)
    expected = list(bitnet.train(config, seed=3, dataset=dataset))
    assert len(trained) == 1
    list(itertools.islice(bitnet.train(config, seed=3, dataset=dataset, checkpoint_folder=tmp_path / "one"), 1))
    before = {name: tensor.clone() for name, tensor in built[-1].state_dict().items()}
    resumed = list(bitnet.train(config, seed=3, dataset=dataset, checkpoint_folder=tmp_path / "one"))
    assert results(resumed) == results(expected)
    assert len(trained) == 3
    assert all(torch.equal(built[-1].state_dict()[name], tensor) for name, tensor in before.items())
    assert any(name.endswith("scale") for name in before)


def test_a_teacher_needs_to_be_trained(tiny_npz: Path) -> None:
    """Without epochs of pre-training there is nobody to learn from."""
    (problem,) = bitnet.problems(config_of(tiny_npz, pretrain_epochs=0), SHAPE)
    assert (problem.field, problem.repair) == ("distillation", "write pretrain_epochs: 5, or distillation: 0")
    assert "there is no analogue network to learn from" in problem.rule


def test_a_teacher_takes_memory(tiny_npz: Path) -> None:
    """The forecast of memory counts the weights of the teacher, and what it computes."""
    one, other = (
        bitnet.footprint(config_of(tiny_npz, feature_scale=16, distillation=weight), SHAPE, 2) for weight in (0.0, 0.25)
    )
    start = bitnet.source_network(config_of(tiny_npz, feature_scale=16))
    assert start
    weights = 4 * ann.footprint(start, SHAPE, 2).num_parameters
    assert other.cpu_memory_bytes - one.cpu_memory_bytes > weights
    assert dataclasses.replace(other, memory_bytes=0, cpu_memory_bytes=0) == dataclasses.replace(
        one, memory_bytes=0, cpu_memory_bytes=0
    )
