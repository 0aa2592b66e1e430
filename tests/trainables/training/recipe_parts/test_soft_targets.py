"""Targets that are shares of classes: as PyTorch has them, and the same through every loss, backend and part of a batch."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trainables import bitnet
from trainables.data.augmentation import training_batch
from trainables.data.datasets import prepare
from trainables.data.label_mixing import shares_of_classes
from trainables.training import loop
from trainables.training.losses import DRIVE_LOSSES, SPIKE_LOSSES, LossOfOutputs, loss_at_each_step, loss_of_outputs

LABELS = torch.tensor([0, 3, 1, 1, 2])


def drives(time_steps: int = 3) -> Tensor:
    return torch.randn(time_steps, 5, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_smoothed_labels_are_those_of_pytorch(smoothing: float) -> None:
    """The cross-entropy of smoothed targets, and its gradient, are those of PyTorch's own label_smoothing."""
    outputs = drives()
    ours = loss_of_outputs("cross_entropy", spiking=False)(outputs, shares_of_classes(LABELS, 4, smoothing))
    own = functional.cross_entropy(outputs.mean(dim=0), LABELS, label_smoothing=smoothing)
    torch.testing.assert_close(ours, own)
    torch.testing.assert_close(torch.autograd.grad(ours, outputs), torch.autograd.grad(own, outputs))


@pytest.mark.parametrize("loss", [*SPIKE_LOSSES.values(), *DRIVE_LOSSES.values()])
@pytest.mark.parametrize("tet_lambda", [None, 0.1])
def test_a_share_of_one_is_a_label(loss: LossOfOutputs, tet_lambda: float | None) -> None:
    """Every loss of targets that are 0 and 1 is that of the labels, and for softer ones it is linear or quadratic in them."""
    outputs = drives()
    if tet_lambda is not None:
        loss = partial(loss_at_each_step, loss=loss, tet_lambda=tet_lambda)
    torch.testing.assert_close(loss(outputs, shares_of_classes(LABELS, 4, 0.0)), loss(outputs, LABELS))
    whole, mean = loss(outputs, shares_of_classes(LABELS, 4, 0.4)), loss(outputs, torch.full((5, 4), 0.25))
    between = 0.6 * loss(outputs, LABELS) + 0.4 * mean
    if "mse" in str(loss):  # |o - (1-ε)y - ε/K|² = (1-ε)|o-y|² + ε|o-1/K|² - ε(1-ε)|y-1/K|²
        share = 1.0 if tet_lambda is None else 1 - tet_lambda
        between = between - share * 0.4 * 0.6 * (shares_of_classes(LABELS, 4, 0.0) - 0.25).square().mean()
    torch.testing.assert_close(whole, between)


VARIANTS: dict[str, dict[str, Any]] = {
    "rates": {"readout": "spikes", "loss": "mse"},
    "logits of rates": {"readout": "spikes", "loss": "cross_entropy"},
    "drives": {"readout": "potential", "loss": "mse"},
    "TET": {"readout": "potential", "loss": "cross_entropy", "loss_over_time": "each_step", "tet_lambda": 0.1},
    "collapsed": {"readout": "potential", "loss": "mse", "gradient": "rate_collapsed", "time_groups": 3},
    "distilled": {"readout": "potential", "loss": "mse", "pretrain_epochs": 1, "distillation": 0.25},
}


def stepped(config: bitnet.Config, data_folder: Path, num_parts: int) -> tuple[float, list[Tensor], str]:
    """The loss of a training step, its gradients, and what ran it."""
    dataset = prepare(config.data, data_folder)
    splits = loop.splits_of(config, dataset, torch.device("cpu"))
    torch.manual_seed(0)  # of a teacher, which has random weights here
    task = bitnet.task_of(config, dataset.image_shape, dataset.num_classes, 3, num_parts)
    network = task.build()
    task.prepare(network, splits)
    trainer = loop.Trainer(task, config, network, splits)
    trainer.begin_epoch()
    loss, _ = trainer.step(1, 0, torch.arange(24), config.time_steps)
    grads = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return float(loss), grads, trainer.backend


@pytest.mark.parametrize("variant", VARIANTS)
def test_kernels_and_parts_take_soft_targets(variant: str, tiny_npz: Path, data_folder: Path) -> None:
    """Plain torch, the event-driven kernels and a batch in parts have the same loss and gradients, another than without."""
    config = bitnet.Config(
        data=str(tiny_npz),
        validation_fraction=0.25,
        layout="4 M 4",
        batch_size=24,
        time_steps=3,
        crop_padding=1,
        trivial_augment=True,
        cutout=2,
        mixup=1.0,
        label_smoothing=0.3,
        device="cpu",
        backend="torch",
        initial_hidden_bias=0.3,
        **VARIANTS[variant],
    )
    loss, grads, _ = stepped(config, data_folder, 1)
    kernels = dataclasses.replace(config, backend="event_driven")
    for each, num_parts in ((config, 3), (kernels, 1), (kernels, 3)):
        other, other_grads, ran = stepped(each, data_folder, num_parts)
        assert ran.startswith(each.backend)
        assert other == pytest.approx(loss, rel=1e-5)
        for one, two in zip(grads, other_grads, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)
    for other_config in (dataclasses.replace(config, label_smoothing=0.0), dataclasses.replace(config, mixup=0.0)):
        assert stepped(other_config, data_folder, 1)[0] != pytest.approx(loss, rel=1e-6)


def test_accuracy_counts_the_larger_share(tiny_npz: Path, data_folder: Path) -> None:
    """In training an answer is right if it is the class with the largest share of the target."""
    config = bitnet.Config(data=str(tiny_npz), validation_fraction=0.25, layout="4 M 4", device="cpu", mixup=1.0, time_steps=2)
    dataset = prepare(config.data, data_folder)
    splits = loop.splits_of(config, dataset, torch.device("cpu"))
    task = bitnet.task_of(config, dataset.image_shape, dataset.num_classes, 3)
    network = task.build()
    task.prepare(network, splits)
    network.train()
    for batch in range(6):
        images, targets, _ = training_batch(
            splits, torch.arange(24), config.augmentation(), "constant", seed=3, epoch=1, batch=batch
        )
        assert ((targets > 0) & (targets < 1)).any()
        with torch.no_grad():
            classes = network(images[None], 2)[0].sum(dim=0).argmax(dim=1)
        trainer = loop.Trainer(task, dataclasses.replace(config, lr=1e-12), network, splits)
        trainer.begin_epoch()
        _, num_correct = trainer.step(1, batch, torch.arange(24), 2)
        assert int(num_correct) == int((classes == targets.argmax(dim=1)).sum())


def test_a_batch_has_its_targets(tiny_npz: Path, data_folder: Path) -> None:
    """Without smoothing a batch has labels; with it, shares that sum to 1, in which the label's is the largest."""
    config = bitnet.Config(data=str(tiny_npz), validation_fraction=0.25, device="cpu")
    splits = loop.splits_of(config, prepare(config.data, data_folder), torch.device("cpu"))
    (_, labels, _), (_, shares, _) = (
        training_batch(splits, torch.arange(9), each.augmentation(), "constant", seed=0, epoch=1, batch=0)
        for each in (config, dataclasses.replace(config, label_smoothing=0.2))
    )
    assert labels.shape == (9,)
    assert torch.equal(shares.argmax(dim=1), labels)
    torch.testing.assert_close(shares, functional.one_hot(labels, 2) * 0.8 + 0.1)
