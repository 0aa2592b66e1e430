"""Batches in parts: the same gradients in less memory, whatever is trained; what depends on the parts says so."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.contract import results
from trainables import ann, bitnet, converted_snn, response_surface
from trainables.data.datasets import prepare
from trainables.networks.network import Network
from trainables.training import loop
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.configs import identity_of

KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ann": (ann, {"optimizer": "sgd", "flip": True, "prune": "l1", "trivial_augment": True, "cutmix": 1.0}),
    "bitnet, a penalty": (
        bitnet,
        {"time_steps": 4, "spike_penalty": 0.1, "crop_padding": 1, "normalisation": "weight_standardisation"},
    ),
    "bitnet, rate-collapsed": (bitnet, {**bitnet.PUBLISHED, "time_steps": 4, "gradient": "rate_collapsed"}),
    "bitnet, surrogate": (bitnet, {"time_steps": 4, "gradient": "surrogate", "prune": "activation", "prune_epochs": 2}),
    "converted, Poisson": (
        converted_snn,
        {"time_steps": 4, "epochs": 1, "finetune_epochs": 1, "encoding": "poisson", "mixup": 1.0},
    ),
}
PRETRAINED: dict[str, tuple[Any, dict[str, Any]]] = {
    "bitnet, pretrained": (bitnet, {"time_steps": 20, "epochs": 1, "pretrain_epochs": 1})
}
"""Its analogue network has batch norms, so that it does not learn the same in parts."""


def config_of(trainable: Any, tiny_npz: Path, **changes: Any) -> Any:
    common = {
        "data": str(tiny_npz),
        "validation_fraction": 0.25,
        "layout": "8 M 8",
        "batch_size": 16,
        "epochs": 2,
        "device": "cpu",
    }
    return trainable.Config(**{**common, **changes})


def gradients(
    trainable: Any, config: Any, data_folder: Path, store: Path, num_micro_batches: int, monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, Tensor]]:
    """Of every parameter at every optimiser step of the first epoch; a source network is trained before, in whole batches."""
    dataset = prepare(config.data, data_folder)
    if source := trainable.source_network(config):
        identity = identity_of("ann", source, data_digest=dataset.digest, seed=1)
        list(ann.train(source, seed=1, dataset=dataset, checkpoint_folder=store / identity))
    steps: list[dict[str, Tensor]] = []
    project = Network.project

    def watched(network: Network) -> None:
        steps.append({name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None})
        project(network)

    monkeypatch.setattr(Network, "project", watched)
    options = {"checkpoint_folder": store / str(num_micro_batches), "num_micro_batches": num_micro_batches}
    reports = trainable.train(config, seed=1, dataset=dataset, **options)
    while not steps:
        next(reports)
    monkeypatch.setattr(Network, "project", project)
    return steps


@pytest.mark.parametrize("num_micro_batches", [3, 16, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_add_up(
    kind: str, num_micro_batches: int, tiny_npz: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without batch norms the gradient of a batch is that of its parts added up, in parts of any and of unequal size."""
    trainable, changes = KINDS[kind]
    config = config_of(trainable, tiny_npz, **changes, num_train_images=16)  # one step an epoch, of the very same weights
    whole = gradients(trainable, config, data_folder, tmp_path, 1, monkeypatch)
    parts = gradients(trainable, config, data_folder, tmp_path, num_micro_batches, monkeypatch)
    assert len(whole) == len(parts) == 1
    assert whole[0].keys() == parts[0].keys()
    for name, gradient in whole[0].items():
        torch.testing.assert_close(parts[0][name], gradient, rtol=1e-4, atol=1e-6 * float(gradient.abs().max()) + 1e-8)
    assert any(bool(gradient.any()) for gradient in whole[0].values())


def test_weights_after_training(tiny_npz: Path, data_folder: Path, tmp_path: Path) -> None:
    """After two epochs an analogue network has the weights of whole batches within rounding, and as many optimiser steps."""
    config, dataset = config_of(ann, tiny_npz), prepare(str(tiny_npz), data_folder)
    reports, weights = [], []
    for parts in (1, 4):
        folder = tmp_path / str(parts)
        reports.append(list(ann.train(config, seed=0, dataset=dataset, checkpoint_folder=folder, num_micro_batches=parts)))
        weights.append(CheckpointFolder(folder).weights())
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=1e-3, atol=1e-5)
    for whole, in_parts in zip(*reports, strict=True):
        assert in_parts.metrics["train/loss"] == pytest.approx(whole.metrics["train/loss"], rel=1e-4)
        assert in_parts.metrics["train/accuracy"] == pytest.approx(whole.metrics["train/accuracy"], abs=0.02)


@pytest.mark.parametrize("kind", KINDS | PRETRAINED)
def test_no_network_sees_more_than_a_part(kind: str, tiny_npz: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In training, evaluation and calibration, of a source network too, a network sees at most its part of a batch at once,
    and no more time steps folded into one than of a whole batch.
    """
    sizes: list[tuple[bool, int, int]] = []
    forward = Network.forward

    def watched(network: Network, inputs_TBN: Tensor, *arguments: Any, **options: Any) -> Any:
        length = arguments[0] if arguments else 1
        sizes.append((network.training, inputs_TBN.shape[1], length))
        return forward(network, inputs_TBN, *arguments, **options)

    monkeypatch.setattr(Network, "forward", watched)
    trainable, changes = (KINDS | PRETRAINED)[kind]
    config = config_of(trainable, tiny_npz, **changes)
    if trainable is not ann:
        config = dataclasses.replace(config, eval_time_steps=20, backend="torch")
    list(trainable.train(config, seed=0, dataset=prepare(config.data, data_folder), num_micro_batches=4))
    evaluated = [(images, length) for training, images, length in sizes if not training]
    assert max((images for training, images, _ in sizes if training), default=0) <= 16 // 4
    assert max(images for images, _ in evaluated) == 64 // 4
    assert all(images * length <= 512 // 4 for images, length in evaluated)


@pytest.mark.parametrize("kind", KINDS)
def test_reports_say_so(kind: str, tiny_npz: Path, data_folder: Path) -> None:
    """The number of parts is a fact of every report, and there is none where batches are whole; the identity knows neither."""
    trainable, changes = KINDS[kind]
    config, dataset = config_of(trainable, tiny_npz, **changes), prepare(str(tiny_npz), data_folder)
    whole = list(trainable.train(config, seed=0, dataset=dataset))
    in_parts = list(trainable.train(config, seed=0, dataset=dataset, num_micro_batches=2))
    assert {report.run_facts.get("num_micro_batches") for report in whole} == {None}
    assert {report.run_facts["num_micro_batches"] for report in in_parts} == {"2"}
    assert [set(report.run_facts) - {"num_micro_batches"} for report in in_parts] == [set(report.run_facts) for report in whole]
    assert [report.metrics.keys() for report in in_parts] == [report.metrics.keys() for report in whole]


def test_what_depends_on_the_parts_says_so(tiny_npz: Path, data_folder: Path) -> None:
    """Batch norms and rate targets see the parts of a batch alone; the reports say it in words."""
    dataset = prepare(str(tiny_npz), data_folder)
    normed = config_of(ann, tiny_npz, batch_norm=True, epochs=1)
    target = config_of(bitnet, tiny_npz, rate_target=0.2, time_steps=2, epochs=1)
    for trainable, config, fact in ((ann, normed, "batch_norm"), (bitnet, target, "rate_target")):
        (whole,) = trainable.train(config, seed=0, dataset=dataset)
        (in_parts,) = trainable.train(config, seed=0, dataset=dataset, num_micro_batches=4)
        assert fact not in whole.run_facts
        assert "of the parts of a batch" in in_parts.run_facts[fact]
        assert in_parts.metrics["train/loss"] != pytest.approx(whole.metrics["train/loss"], rel=1e-7)


def test_batch_norms_get_two_images_at_least(tiny_npz: Path, data_folder: Path) -> None:
    """However many parts are asked for, no batch norm of a 1x1 map is given a single image, which it could not take."""
    config = config_of(ann, tiny_npz, layout="4 M 4 M 4 M", batch_norm=True, num_train_images=19, batch_size=16)
    assert len(list(ann.train(config, seed=0, dataset=prepare(config.data, data_folder), num_micro_batches=1000))) == 2


@pytest.mark.parametrize(("before", "after"), [(1, 4), pytest.param(4, 1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_resumes_in_other_parts(
    kind: str, before: int, after: int, tiny_npz: Path, data_folder: Path, tmp_path: Path
) -> None:
    """A replicate that no longer fits goes on in parts from where it was: old reports stay as they are, new ones say it."""
    trainable, changes = KINDS[kind]
    config, dataset = config_of(trainable, tiny_npz, **changes), prepare(str(tiny_npz), data_folder)
    first = trainable.train(config, seed=0, dataset=dataset, checkpoint_folder=tmp_path / "child", num_micro_batches=before)
    old = next(first)
    first.close()
    expected = list(trainable.train(config, seed=0, dataset=dataset))
    again, new = trainable.train(config, seed=0, dataset=dataset, checkpoint_folder=tmp_path / "child", num_micro_batches=after)
    assert again == old
    assert new.run_facts.get("num_micro_batches") == (str(after) if after > 1 else None)
    assert new.metrics["train/loss"] == pytest.approx(expected[-1].metrics["train/loss"], rel=0.05)


def test_there_is_a_part(tiny_npz: Path, data_folder: Path) -> None:
    """Fewer than one part is refused, with the rule and the value."""
    config, dataset = config_of(ann, tiny_npz), prepare(str(tiny_npz), data_folder)
    with pytest.raises(ValueError, match="num_micro_batches must be at least 1; got 0"):
        ann.train(config, seed=0, dataset=dataset, num_micro_batches=0)


def test_the_surface_has_no_batches(data_folder: Path) -> None:
    """A response surface takes the number and reports as ever."""
    config, dataset = response_surface.Config(epochs=3), prepare("none", data_folder)
    runs = [list(response_surface.train(config, seed=0, dataset=dataset, num_micro_batches=n)) for n in (1, 4)]
    assert results(runs[0]) == results(runs[1])


def test_one_step_by_hand(tiny_npz: Path, data_folder: Path) -> None:
    """A step's loss and its number of right answers are those of the whole batch, each image once."""
    config, dataset = config_of(ann, tiny_npz), prepare(str(tiny_npz), data_folder)
    outcomes = []
    for num_micro_batches in (1, 3):
        task = ann.task_of(config, dataset.image_shape, dataset.num_classes, 0, num_micro_batches)
        splits = loop.splits_of(config, dataset, torch.device("cpu"))
        network = task.build()
        task.prepare(network, splits)
        trainer = loop.Trainer(task, config, network, splits)
        trainer.begin_epoch()
        loss, num_correct = trainer.step(1, 0, torch.arange(16), task.time_steps)
        outcomes.append((float(loss), int(num_correct)))
    assert outcomes[1][0] == pytest.approx(outcomes[0][0], rel=1e-6)
    assert outcomes[1][1] == outcomes[0][1]
