"""Converted SNNs from end to end: the source network, the curve over time steps, users' own networks, which configs are
refused."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.trainables.conversions import run
from trainables import bitnet, converted_snn
from trainables.conversion.structure import analogue_counterpart, scale_weights, spiking_structure
from trainables.data.datasets import prepare
from trainables.networks.network import ConstantCurrent, Network
from trainables.spiking.neurons import Integrate, NeuronModel
from trainables.spiking.pools import LargestCountPool
from trainables.training.configs import identity_of
from trainables.training.epoch_report import EpochReport


def config_of(tiny_npz: Path, **changes: Any) -> converted_snn.Config:
    options = {
        "validation_fraction": 0.25,
        "epochs": 2,
        "batch_size": 16,
        "layout": "6 A 8",
        "calibration_images": 40,
        "device": "cpu",
    }
    return converted_snn.Config(**{"data": str(tiny_npz), "time_steps": 4, **options, **changes})


def reports_of(config: converted_snn.Config, data_folder: Path, folder: Path | None = None, seed: int = 0) -> list[EpochReport]:
    dataset = prepare(config.data, data_folder)
    return list(converted_snn.train(config, seed=seed, dataset=dataset, checkpoint_folder=folder))


def test_it_converts_digits(data_folder: Path) -> None:
    """A network that reads digits still reads them after its conversion, with batch norms and max pools, and reports both."""
    options: dict[str, Any] = {"layout": "8 M 16 M", "batch_norm": True, "epochs": 4, "validation_fraction": 0.25, "lr": 1e-2}
    config = converted_snn.Config(data="digits", time_steps=64, balance="percentile", **options)
    (report,) = reports_of(config, data_folder)
    assert report.metrics["parent/test_accuracy"] > 0.85
    assert report.metrics["test/accuracy"] > report.metrics["parent/test_accuracy"] - 0.05
    assert report.metrics["val/accuracy"] > report.metrics["parent/val_accuracy"] - 0.05
    assert len(report.curves["accuracy_at_t"]) == 64
    assert [row["layer"] for row in report.tables["conversion"]] == ["layer1", "layer2"]
    assert report.metrics["conversion_correlation/layer1"] > 0.97
    assert report.final


def test_a_source_network_is_never_changed(tiny_npz: Path, data_folder: Path, tmp_path: Path) -> None:
    """Conversions and fine-tunings of one source network train it once, find it as it was, and leave it so."""
    config = config_of(tiny_npz)
    digest = prepare(config.data, data_folder).digest
    identity = identity_of("ann", converted_snn.source_network(config), data_digest=digest, seed=0)
    children: list[dict[str, Any]] = [{}, {"balance": "mse", "per": "channel"}, {"finetune_epochs": 1}, {"reset": "hard"}]
    digests = []
    for number, changes in enumerate(children):
        reports_of(config_of(tiny_npz, **changes), data_folder, tmp_path / str(number))
        weights = tmp_path / identity / "weights.pt"
        digests.append((hashlib.sha256(weights.read_bytes()).hexdigest(), weights.stat().st_mtime_ns))
    assert len(set(digests)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["0", "1", "2", "3", identity])


def test_calibration_depends_on_the_split_alone(tiny_npz: Path, data_folder: Path, tmp_path: Path) -> None:
    """Batch size, encoding and the replicate's seed leave the calibration set as it is; another split has another one."""
    same: list[dict[str, Any]] = [{}, {"batch_size": 7}, {"encoding": "poisson"}, {"time_steps": 2}]
    digests = [reports_of(config_of(tiny_npz, **c), data_folder, tmp_path / str(n)) for n, c in enumerate(same)]
    digests += [reports_of(config_of(tiny_npz), data_folder, tmp_path / "seed", seed=1)]
    assert len({reports[0].run_facts["calibration_digest"] for reports in digests}) == 1
    (other,) = reports_of(config_of(tiny_npz, split_seed=1), data_folder, tmp_path / "split")
    assert other.run_facts["calibration_digest"] != digests[0][0].run_facts["calibration_digest"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param({"encoding": "poisson"}, marks=pytest.mark.slow),
        {"layout": "6 M 8", "initial_membrane_potential": 0.5, "readout": "spikes"},
        pytest.param(
            {"encoding": "poisson", "balance": "spike_norm", "reset": "hard", "bias": False, "spike_norm_time_steps": 20},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_one_pass_equals_separate_runs(changes: dict[str, Any], tiny_npz: Path, data_folder: Path, tmp_path: Path) -> None:
    """The accuracy at step t of one evaluation is that of an evaluation of t steps."""
    (whole,) = reports_of(config_of(tiny_npz, time_steps=1, eval_time_steps=6, **changes), data_folder, tmp_path / "whole")
    for t in range(1, 7):
        (alone,) = reports_of(config_of(tiny_npz, time_steps=1, eval_time_steps=t, **changes), data_folder, tmp_path / str(t))
        for name in ("accuracy_at_t", "test/accuracy_at_t"):
            assert alone.curves[name] == whole.curves[name][:t]
        for name in ("spikes_per_neuron_at_t", "effective_acs_at_t", "effective_macs_at_t"):
            assert alone.curves[name] == pytest.approx(whole.curves[name][:t])
    assert len(set(whole.curves["accuracy_at_t"])) > 1


@pytest.mark.parametrize(("integrate", "neurons"), [("clamped", bitnet.PUBLISHED), ("raw", {})])
def test_one_pass_equals_separate_runs_of_bitnet(
    integrate: Integrate, neurons: dict[str, Any], tiny_npz: Path, data_folder: Path
) -> None:
    """A BITnet that is evaluated for more steps than it was trained for has at every t the accuracy of a run evaluated for t."""
    curves = []
    for t in (3, 4, 5, 6):
        options: dict[str, Any] = {"epochs": 1, "batch_size": 16, "layout": "6 M 8", "validation_fraction": 0.25, **neurons}
        config = bitnet.Config(data=str(tiny_npz), time_steps=3, eval_time_steps=t, integrate=integrate, **options)
        (report,) = bitnet.train(config, seed=0, dataset=prepare(config.data, data_folder))
        curves.append([report.curves[name] for name in ("accuracy_at_t", "test/accuracy_at_t")])
    for t, shorter in zip((3, 4, 5), curves, strict=False):
        assert shorter == [curve[:t] for curve in curves[-1]]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"time_steps": 4, "eval_time_steps": 3}, "eval_time_steps"),
        ({"balance": "qcfs"}, "balance"),
        ({"balance": "spike_norm"}, "bias"),
        ({"balance": "spike_norm", "bias": False, "batch_norm": True}, "batch_norm"),
        ({"balance": "spike_norm", "bias": False, "per": "channel"}, "per"),
        ({"balance": "spike_norm", "bias": False, "bias_shift": True}, "bias_shift"),
        ({"balance": "spike_norm", "bias": False, "layout": "resnet20", "finetune_epochs": 1}, "finetune_epochs"),
        ({"train_neurons": True, "per": "channel"}, "train_neurons"),
        ({"train_neurons": True, "finetune_gradient": "straight_through"}, "train_neurons"),
        ({"surrogate": "stdb", "surrogate_width": 0.5}, "surrogate_width"),
        ({"layout": "resnet21"}, "layout"),
        ({"layout": "6 M M M M"}, "layout"),
        ({"layout": "resnet20", "pool": "average"}, "pool"),
        ({"layout": "resnet20", "prune": "activation", "junction_activation": False}, "prune"),
        ({"image_downscale": 16}, "image_downscale"),
    ],
)
def test_refused_configs(changes: dict[str, Any], field: str, tiny_npz: Path) -> None:
    """A config that makes no sense is refused with the field that is wrong; without the change it is not."""
    assert [wrong.field for wrong in converted_snn.problems(config_of(tiny_npz, **changes), (8, 8, 1))] == [field]
    assert list(converted_snn.problems(config_of(tiny_npz), (8, 8, 1))) == []


def torchvision_network(name: str) -> nn.Module:
    """With fewer units in VGG's classifier, whose millions are never made."""
    import torchvision

    if name == "resnet18":
        resnet: nn.Module = torchvision.models.resnet18(weights=None, num_classes=10)
        return resnet
    with torch.device("meta"):
        vgg: nn.Module = torchvision.models.vgg11_bn(weights=None, init_weights=False)
    classifier = vgg.get_submodule("classifier")
    assert isinstance(classifier, nn.Sequential)
    classifier[0], classifier[3], classifier[6] = nn.Linear(25088, 16), nn.Linear(16, 16), nn.Linear(16, 10)
    for part in vgg.get_submodule("features").children():
        part.to_empty(device="cpu")
        if isinstance(part, nn.Conv2d | nn.BatchNorm2d):
            part.reset_parameters()
    return vgg


@pytest.mark.parametrize(("name", "num_layers"), [("vgg11_bn", 10), ("resnet18", 17)])
@torch.no_grad()
def test_networks_of_torchvision(name: str, num_layers: int) -> None:
    """torchvision's VGG and ResNet are converted as they are, every pool with its own window, and approach their logits."""
    torch.manual_seed(0)
    module = torchvision_network(name).train()
    images_BCHW = torch.randn(2, 3, 32, 32)
    for _ in range(20):
        module(images_BCHW)  # batch norms that know their inputs
    analogue = analogue_counterpart(Network(module.eval()), "membrane")
    logits_TBK, activations = run(analogue, ConstantCurrent(images_BCHW), 1)
    torch.testing.assert_close(logits_TBK[0], module(images_BCHW), rtol=1e-3, atol=1e-3)

    model = NeuronModel(integrate="raw", initial_membrane_potential=0.5)
    options: dict[str, Any] = {"per": "layer", "max_pool": "largest_count", "with_biases": False, "leak": 1.0, "trainable": False}
    network = spiking_structure(analogue, model, input_shape=(32, 32, 3), **options)
    scales = {layer: values.max() for layer, values in activations.items()}
    scale_weights(network, scales, torch.tensor(1.0), (32, 32, 3))
    for layer, neuron in network.neurons():
        neuron.firing_threshold.copy_(scales[layer])
    outputs_TBK, spikes = run(network, ConstantCurrent(images_BCHW), 128)

    assert len(network.operations_of(LargestCountPool)) == sum(isinstance(part, nn.MaxPool2d) for part in module.modules())
    assert len(spikes) == num_layers
    behind_the_pool = spikes["layer2"].mean(dim=0) * scales["layer2"]
    assert float((behind_the_pool - activations["layer2"][0]).norm() / activations["layer2"].norm()) < 0.2
    assert float((outputs_TBK[64:].mean(dim=0) - logits_TBK[0]).norm() / logits_TBK.norm()) < 0.6
