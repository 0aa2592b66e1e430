"""Fine-tuning in the spiking domain: converted SNNs that are trained on, and BITnets that start from an analogue network."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.trainables.conversions import NUM_CLASSES, converted, random_analogue, random_calibration, run
from trainables import bitnet, converted_snn
from trainables.conversion.structure import normalise_weights
from trainables.data.datasets import prepare
from trainables.networks.network import ConstantCurrent, Network
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.epoch_report import EpochReport
from trainables.training.epochs.judging import encode
from trainables.training.losses import cross_entropy_of_logits

DIGITS: dict[str, Any] = {
    "data": "digits",
    "num_train_images": 400,
    "validation_fraction": 0.25,
    "batch_size": 32,
    "layout": "8 A 16 A",
    "epochs": 6,
    "lr": 1e-2,
    "dropout": 0.1,
    "time_steps": 2,
}


def digits(data_folder: Path, **changes: Any) -> list[EpochReport]:
    config = converted_snn.Config(**{**DIGITS, **changes})
    return list(converted_snn.train(config, seed=0, dataset=prepare("digits", data_folder)))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"surrogate": "triangle", "train_neurons": True},
        {"finetune_gradient": "straight_through"},
        {"encoding": "poisson", "reset": "hard"},
    ],
    ids=["STDB", "learnt neurons", "straight-through", "Poisson"],
)
def test_fine_tuning_helps(changes: dict[str, Any], data_folder: Path) -> None:
    """With few time steps a converted network reads digits badly; a few epochs of fine-tuning make it read them better."""
    conversion, *epochs = digits(data_folder, finetune_epochs=3, finetune_lr=1e-2, **changes)
    assert len(epochs) == 3
    assert epochs[-1].metrics["val/accuracy"] > conversion.metrics["val/accuracy"] + 0.1
    assert epochs[-1].metrics["train/loss"] < epochs[0].metrics["train/loss"]
    assert "train/loss" not in conversion.metrics
    assert "test/accuracy" not in conversion.metrics


def test_the_first_report_is_the_conversion(tiny_npz: Path, data_folder: Path) -> None:
    """Before any fine-tuning the network is the one that a mere conversion gives, though its weights are normalised."""
    options: dict[str, Any] = {"validation_fraction": 0.25, "epochs": 2, "batch_size": 16, "layout": "6 A 8", "time_steps": 4}
    dataset = prepare(str(tiny_npz), data_folder)
    kinds: list[dict[str, Any]] = [{}, {"finetune_epochs": 1}]
    (mere,), (first, _) = (
        list(converted_snn.train(converted_snn.Config(data=str(tiny_npz), **options, **more), seed=0, dataset=dataset))
        for more in kinds
    )
    assert first.curves["accuracy_at_t"] == mere.curves["accuracy_at_t"]
    assert first.tables == mere.tables
    assert first.metrics["spikes_per_neuron/overall"] == pytest.approx(mere.metrics["spikes_per_neuron/overall"], rel=0.02)


def test_fine_tuned_networks_have_thresholds_of_1() -> None:
    """What is fine-tuned has every firing threshold in its weights, so that surrogates mean the same in every layer."""
    trained, calibration = random_analogue(), random_calibration()
    network, _ = converted(trained, calibration, finetune_epochs=1, balance="percentile", per="channel")
    assert all(bool((neuron.firing_threshold == 1).all()) for _, neuron in network.neurons())
    plain, _ = converted(trained, calibration, balance="percentile", per="channel")
    assert not all(bool((neuron.firing_threshold == 1).all()) for _, neuron in plain.neurons())
    normalise_weights(plain)
    images = calibration.splits.normalise(calibration.images_BCHW[:5])
    outputs, same = (run(n, ConstantCurrent(images), 8)[0] for n in (network, plain))
    assert torch.equal(outputs, same)


@pytest.mark.parametrize("surrogate", ["stdb", "triangle", "arctan"])
def test_every_parameter_learns(surrogate: str) -> None:
    """Weights, biases, thresholds and leaks all receive a gradient, leaks that start at 1 among them."""
    trained, calibration = random_analogue(), random_calibration()
    network, _ = converted(trained, calibration, finetune_epochs=1, train_neurons=True, surrogate=surrogate, time_steps=6)
    images = calibration.splits.normalise(calibration.images_BCHW[:20])
    outputs_TBK, _ = network.train()(images[None], 6)
    loss = cross_entropy_of_logits(outputs_TBK, torch.arange(20) % NUM_CLASSES)
    names = [name for name, _ in network.named_parameters()]
    assert sum("leak" in name for name in names) == sum("firing_threshold" in name for name in names) == 3
    for name, grad in zip(names, torch.autograd.grad(loss, list(network.parameters())), strict=True):
        assert grad.abs().max() > 0, name


@pytest.mark.parametrize(("lr", "bound"), [(0.01, 1.0), (1.0, 0.0)])
def test_learnt_neurons_stay_within_bounds(lr: float, bound: float, data_folder: Path, tmp_path: Path) -> None:
    """After every epoch of fine-tuning leaks are in [0, 1], some at a bound, and thresholds above 0, whatever the steps were."""
    learning: dict[str, Any] = {"train_neurons": True, "surrogate": "triangle", "finetune_epochs": 3, "finetune_lr": lr}
    config = converted_snn.Config(**{**DIGITS, **learning, "num_train_images": 200, "epochs": 2, "time_steps": 4})
    reports = converted_snn.train(config, seed=0, dataset=prepare("digits", data_folder), checkpoint_folder=tmp_path / "child")
    for _ in range(3):  # the conversion and two epochs
        next(reports)
    checkpoint = CheckpointFolder(tmp_path / "child").load()
    assert checkpoint
    state = checkpoint[0]["network"]
    leaks = [float(value) for name, value in state.items() if name.endswith("leak")]
    assert all(0 <= leak <= 1 for leak in leaks)
    assert bound in leaks
    assert all(float(value) > 0 for name, value in state.items() if name.endswith("firing_threshold"))


def test_dropout_is_the_same_at_every_step() -> None:
    """A unit that is dropped is dropped at all time steps of an image, and others for other images (Rathi et al. 2020)."""
    torch.manual_seed(0)
    network = Network(nn.Sequential(nn.Dropout(0.5), nn.Identity())).train()
    dropped_TBN = network(torch.ones(5, 3, 40), 5)[0]
    assert torch.equal(dropped_TBN, dropped_TBN[:1].expand(5, 3, 40))
    assert not torch.equal(dropped_TBN[0, 0], dropped_TBN[0, 1])
    assert set(dropped_TBN.flatten().tolist()) == {0.0, 2.0}


def test_poisson_inputs_are_the_trained_images() -> None:
    """Signed spikes mean what the normalised image means: over many steps the outputs are those of constant current."""
    trained, calibration = random_analogue(), random_calibration("poisson")
    network, _ = converted(trained, calibration, time_steps=4)
    images_BCHW, indices_B = calibration.images_BCHW[:5], calibration.indices_B[:5]
    outputs_TBK, _ = run(network, encode("poisson", calibration.splits, images_BCHW, indices_B, 0), 1500)
    logits_BK = trained(calibration.splits.normalise(images_BCHW)[None])[0][0].detach()
    assert float((outputs_TBK.mean(dim=0) - logits_BK).abs().mean() / logits_BK.abs().mean()) < 0.1


def test_a_bitnet_starts_from_its_source_network(data_folder: Path) -> None:
    """A BITnet with an analogue source network starts better than one from scratch, knows its source network's accuracy, and
    keeps it in its first epoch, whose squared errors are soon less than those of guessing.
    """
    options: dict[str, Any] = {"data": "digits", "num_train_images": 400, "validation_fraction": 0.25, "batch_size": 32}
    starts: list[dict[str, Any]] = [{}, {"pretrain_epochs": 6, "pretrain_lr": 1e-2}]
    dataset = prepare("digits", data_folder)
    scratch, started = (
        list(
            bitnet.train(
                bitnet.Config(layout="64 M 64 M", feature_scale=0.125, epochs=2, **options, **more), seed=0, dataset=dataset
            )
        )
        for more in starts
    )
    assert started[-1].metrics["val/accuracy"] > scratch[-1].metrics["val/accuracy"] + 0.1
    parent = float(started[0].run_facts["parent_accuracy"])
    assert parent > 0.6
    assert started[0].metrics["val/accuracy"] > parent - 0.1
    assert started[0].metrics["train/loss"] < 0.1 * 0.9  # the variance of one-hot labels of 10 classes
    assert "parent_accuracy" not in scratch[0].run_facts


def test_a_conversion_leaves_its_source_alone() -> None:
    """Converting and correcting a network changes neither its weights nor its outputs."""
    trained, calibration = random_analogue(batch_norm=True), random_calibration()
    before = copy.deepcopy(trained.state_dict())
    converted(trained, calibration, batch_norm=True, bias_correction=True, bias_shift=True, finetune_epochs=1)
    assert before.keys() == trained.state_dict().keys()
    assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items())


def test_pruned_filters_stay_pruned(data_folder: Path) -> None:
    """What the source network's schedule has pruned does not grow back while the converted network is trained on."""
    changes = {"prune": "l1", "prune_epochs": 2, "epochs": 3, "finetune_epochs": 2, "bias_correction": True}
    reports = digits(data_folder, **changes)
    assert [report.metrics["pruned_filters"] for report in reports[1:]] == [12, 12]  # half of 8 and of 16


def test_the_schedule_of_pruning_is_the_source_networks(data_folder: Path) -> None:
    """Where the source network ended halfway through its schedule, fine-tuning prunes no further."""
    changes = {"prune": "l1", "prune_fraction": 0.8, "prune_epochs": 6, "epochs": 3, "finetune_epochs": 6}
    reports = digits(data_folder, **changes)
    assert {report.metrics["pruned_filters"] for report in reports[1:]} == {3 + 6}  # 0.4 of 8 and of 16


def test_folded_biases_are_learnt() -> None:
    """The biases that batch norms leave behind are trained like all others."""
    network = converted_snn._build(converted_snn.Config(layout="4 M 8", batch_norm=True), (8, 8, 1), 10)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_source_networks_that_are_the_same_are_one() -> None:
    """Fields that do nothing to the source network do not make another source network of it."""
    bitnets = [bitnet.Config(pretrain_epochs=2, prune="l1", prune_fraction=fraction) for fraction in (0.3, 0.5)]
    assert bitnet.source_network(bitnets[0]) == bitnet.source_network(bitnets[1])
    relu = [converted_snn.Config(qcfs_levels=levels, num_plain_convolutions=levels, prune_epochs=levels) for levels in (2, 4)]
    assert converted_snn.source_network(relu[0]) == converted_snn.source_network(relu[1])
    qcfs = [converted_snn.Config(activation="qcfs", qcfs_levels=levels) for levels in (2, 4)]
    assert converted_snn.source_network(qcfs[0]) != converted_snn.source_network(qcfs[1])
