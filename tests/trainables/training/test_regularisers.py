"""Spike penalties, rate targets and pruning: their values by hand, and what they do to training."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables import ann, bitnet
from trainables.data.datasets import prepare
from trainables.networks.network import Network
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.epoch_report import EpochReport
from trainables.training.regularisers import (
    Annealing,
    Pruner,
    Pruning,
    PruningScore,
    SpikePenalty,
    SpikeRegularisers,
    rate_targets,
)

DIGITS: dict[str, Any] = {
    "data": "digits",
    "num_train_images": 300,
    "batch_size": 32,
    "layout": "64 M 64 M",
    "epochs": 4,
    "lr": 1e-2,
}


def two_hidden_layers() -> Network:
    return bitnet.build(bitnet.Config(layout="2 2", readout="spikes"), (4, 4, 1), 3)


def penalty_of(config: SpikeRegularisers, epoch: int) -> float:
    """For two layers with 3 of 8 and 2 of 8 spikes in 2 steps, and an output layer with 4 of 8, in epoch of 4."""
    penalty = SpikePenalty(config, 4, two_hidden_layers())
    for layer, num_spikes in (("layer1", 3), ("layer2", 2), ("layer3", 4)):
        spikes = torch.zeros(8)
        spikes[:num_spikes] = 1
        penalty.outputs(layer, spikes.reshape(2, 2, 2))
    return float(penalty.total(epoch))


@pytest.mark.parametrize(
    ("annealing", "expected"),
    [("constant", [1.5] * 4), ("linear", [0.375, 0.75, 1.125, 1.5]), ("quadratic", [1.5 / 16, 6 / 16, 13.5 / 16, 1.5])],
)
def test_spike_penalty_by_hand(annealing: Annealing, expected: list[float]) -> None:
    """The penalty is its weight, which rises over the epochs, times the mean over layers of the spikes per neuron and image."""
    config = SpikeRegularisers(spike_penalty=2.0, spike_penalty_annealing=annealing)  # (3/4 + 2/4 + 4/4) / 3 = 3/4
    assert [penalty_of(config, epoch) for epoch in (1, 2, 3, 4)] == pytest.approx(expected)


def test_rate_target_by_hand() -> None:
    """The mean squared distance of hidden layers' rates from one target or from their own, times its weight, in every epoch."""
    one = SpikeRegularisers(rate_target=0.25, rate_target_weight=4.0)
    assert [penalty_of(one, epoch) for epoch in (1, 4)] == pytest.approx([4 * (0.125**2 + 0) / 2] * 2)
    assert penalty_of(SpikeRegularisers(rate_target="0.375 0.5"), 1) == pytest.approx(0.25**2 / 2)
    assert penalty_of(dataclasses.replace(one, spike_penalty=1.0), 4) == pytest.approx(0.75 + 4 * 0.125**2 / 2)


@pytest.mark.parametrize("target", ["0.1 0.2 0.3", "", "many", 1.5, "0.1 -0.1"])
def test_bad_rate_targets(target: float | str) -> None:
    """Targets that are not one number, or as many as hidden layers, from 0 to 1, are refused before anything is trained."""
    config = bitnet.Config(layout="2 2", rate_target=target)
    assert [wrong.field for wrong in bitnet.problems(config, (4, 4, 1))] == ["rate_target"]
    with pytest.raises(ValueError, match=r"from 0 to 1, or 2"):
        rate_targets(config, 2)


def last_report(data_folder: Path, **options: Any) -> EpochReport:
    config = bitnet.Config(**{**DIGITS, "feature_scale": 0.125, **options})
    return list(bitnet.train(config, seed=0, dataset=prepare("digits", data_folder)))[-1]


def test_a_larger_penalty_gives_fewer_spikes(data_folder: Path) -> None:
    """Trained with a larger spike penalty, a network spikes less, and a small penalty costs it little accuracy."""
    published = {**bitnet.PUBLISHED, "lr": DIGITS["lr"]}  # whose output neurons bear a third of the penalty
    free, small, large = (last_report(data_folder, **published, spike_penalty=penalty) for penalty in (0.0, 0.01, 0.1))
    spikes = [report.metrics["spikes_per_neuron/overall"] for report in (free, small, large)]
    assert spikes[0] > 1.1 * spikes[1]
    assert spikes[1] > 1.1 * spikes[2]
    assert small.metrics["val/accuracy"] > free.metrics["val/accuracy"] - 0.15


@pytest.mark.parametrize("gradient", ["straight_through", "rate_collapsed"])
def test_a_rate_target_moves_rates(gradient: str, data_folder: Path) -> None:
    """Every hidden layer's rate comes nearer to its target than it is without one."""
    without = last_report(data_folder, gradient=gradient)
    drawn = last_report(data_folder, gradient=gradient, rate_target="0.05 0.4", rate_target_weight=10.0)
    for layer, target in (("layer1", 0.05), ("layer2", 0.4)):
        rates = [1 - report.metrics[f"sparsity/{layer}"] for report in (without, drawn)]
        assert abs(rates[1] - target) < 0.7 * abs(rates[0] - target)


def filters(weights: dict[str, Tensor]) -> dict[str, list[bool]]:
    """Which filters of every convolution are there."""
    return {name: weight.flatten(1).any(dim=1).tolist() for name, weight in weights.items() if weight.dim() == 4}


@pytest.mark.parametrize("prune", ["l1", "activation", "random"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_pruned_filters_stay_pruned(
    prune: PruningScore, optimizer: Any, tiny_npz: Path, data_folder: Path, tmp_path: Path
) -> None:
    """The stated fraction of every convolution's filters goes by the schedule, bias and norm and all, and never comes back."""
    config = ann.Config(
        data=str(tiny_npz),
        validation_fraction=0.25,
        epochs=4,
        batch_size=16,
        layout="8 M 12",
        batch_norm=True,
        optimizer=optimizer,
        prune=prune,
        prune_fraction=0.75,
        prune_epochs=2,
    )
    there: list[dict[str, list[bool]]] = []
    reports = []
    folder = CheckpointFolder(tmp_path)
    for report in ann.train(config, seed=0, dataset=prepare(config.data, data_folder), checkpoint_folder=tmp_path):
        reports.append(report)
        checkpoint = folder.load()
        weights = checkpoint[0]["network"] if checkpoint else folder.weights()
        there.append(filters(weights))
    assert [report.metrics["pruned_filters"] for report in reports] == [3 + 4, 6 + 9, 6 + 9, 6 + 9]
    assert [[kept.count(False) for kept in epoch.values()] for epoch in there] == [[3, 4], [6, 9], [6, 9], [6, 9]]
    assert there[1] == there[2] == there[3]
    for name in there[0]:
        assert all(first or not second for first, second in zip(there[0][name], there[1][name], strict=True))
        norm = name.replace("conv", "norm").removesuffix("weight")
        gone = ~torch.tensor(there[-1][name])
        assert not weights[f"{norm}weight"][gone].any()
        assert not weights[f"{norm}bias"][gone].any()
        assert weights[f"{norm}weight"][~gone].all()


def test_moments_do_not_revive_filters() -> None:
    """Whatever an optimiser's step made of a pruned filter, it is 0 again after the step; the others are left as they are."""
    network = Network(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    pruner = Pruner(Pruning(prune="l1", prune_fraction=0.5, prune_schedule="once"), network, 0)
    pruner.begin_epoch()
    pruner.end_epoch(1)
    pruner.begin_epoch()
    (gone,) = (~torch.tensor(kept) for kept in filters(dict(network.named_parameters())).values())
    stepped = [parameter.data.add_(1).clone() for parameter in network.parameters()]
    pruner.after_step()
    assert gone.sum() == 2
    for parameter, value in zip(network.parameters(), stepped, strict=True):
        assert not parameter[gone].any()
        assert torch.equal(parameter[~gone], value[~gone])


def test_which_filters_go() -> None:
    """By L1 norm the smallest go, by activation the least active; at random the order depends on the seed alone."""
    outputs_TBCHW = torch.zeros(2, 3, 4, 2, 2)
    outputs_TBCHW[0, 0, :, 0, 0] = torch.tensor([2.0, 3.0, 0.0, 1.0])
    gone: dict[str, list[list[bool]]] = {}
    scores: tuple[PruningScore, ...] = ("l1", "activation", "random")
    for prune in scores:
        gone[prune] = []
        for seed in (0, 0, 1):
            network = Network(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()))
            conv = network.parts["_0"]
            assert isinstance(conv, nn.Conv2d)
            weights = conv.weight
            with torch.no_grad():
                weights.copy_(torch.tensor([4.0, 1, -2, 3]).reshape(4, 1, 1, 1).expand(weights.shape))
            pruner = Pruner(Pruning(prune=prune, prune_fraction=0.5, prune_schedule="once"), network, seed)
            pruner.begin_epoch()
            pruner.outputs("layer1", outputs_TBCHW)
            pruner.end_epoch(1)
            gone[prune].append((~weights.flatten(1).any(dim=1)).tolist())
    assert gone["l1"] == [[False, True, True, False]] * 3
    assert gone["activation"] == [[False, False, True, True]] * 3
    assert gone["random"][0] == gone["random"][1] != gone["random"][2]
