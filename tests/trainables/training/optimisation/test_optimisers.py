"""Optimisers: PyTorch's own, all with the rates of one schedule."""

import copy
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.training.optimisation.test_schedules import rates_of
from trainables import ann, bitnet, converted_snn
from trainables.networks.network import Network
from trainables.training.optimisation.optimisers import Optimiser, hidden_weights, shifts_and_scales

NUM_STEPS = 6
IMAGE = (8, 8, 1)


def network_of(config: ann.Config) -> Network:
    torch.manual_seed(0)
    return ann.build(config, IMAGE, 3)


def give_gradients(network: nn.Module, step: int) -> None:
    """The same gradients for every network with the same weights' shapes."""
    generator = torch.Generator().manual_seed(step)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=generator)


def trained(config: ann.Config, network: Network) -> Network:
    """What some steps of the config's optimiser make of a network."""
    optimiser = Optimiser(config, network)
    for step, rates in enumerate(rates_of(config, NUM_STEPS)):
        optimiser.zero_grad()
        assert all(parameter.grad is None for parameter in network.parameters() if parameter.requires_grad)
        give_gradients(network, step)
        optimiser.step(rates)
    return network


def trained_by(optimizer: torch.optim.Optimizer, network: Network) -> Network:
    """The same of a plain optimiser of PyTorch, with a OneCycleLR of PyTorch's."""
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [group["lr"] for group in optimizer.param_groups], total_steps=NUM_STEPS
    )
    for step in range(NUM_STEPS):
        give_gradients(network, step)
        optimizer.step()
        if step < NUM_STEPS - 1:
            scheduler.step()
    return network


def assert_equal(one: Network, other: Network) -> None:
    for (name, tensor), expected in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(tensor, expected), name


PLAIN: dict[str, Callable[[Iterable[Tensor], ann.Config], torch.optim.Optimizer]] = {
    "adamw": lambda weights, c: torch.optim.AdamW(weights, lr=c.lr, weight_decay=c.weight_decay, fused=True),
    "sgd": lambda weights, c: torch.optim.SGD(
        weights, lr=c.lr, momentum=0.9, nesterov=True, weight_decay=c.weight_decay, fused=True
    ),
}


@pytest.mark.parametrize("optimizer", PLAIN)
def test_plain_optimisers_are_pytorchs(optimizer: Any) -> None:
    """With a plain config, the weights after some steps are those of PyTorch's optimiser and scheduler to the bit."""
    config = ann.Config(layout="4 M 6 F5", batch_norm=True, optimizer=optimizer, lr=0.02, weight_decay=0.1)
    network, expected = network_of(config), network_of(config)
    assert_equal(trained(config, network), trained_by(PLAIN[optimizer](expected.parameters(), config), expected))


def test_momentum_may_be_the_plain_one() -> None:
    """Without nesterov, sgd is PyTorch's with plain momentum to the bit, and muon takes other steps than with it."""
    config = ann.Config(layout="4 M 6", optimizer="sgd", lr=0.02, weight_decay=0.1, nesterov=False)
    network, expected = network_of(config), network_of(config)
    plain = torch.optim.SGD(expected.parameters(), lr=0.02, momentum=0.9, weight_decay=0.1, fused=True)
    assert_equal(trained(config, network), trained_by(plain, expected))
    by_muon = [
        hidden_weights(trained(dataclasses.replace(config, optimizer="muon", nesterov=nesterov), network_of(config)))
        for nesterov in (True, False)
    ]
    assert all(not torch.equal(one, other) for one, other in zip(*by_muon, strict=True))


@pytest.mark.parametrize("optimizer", PLAIN)
def test_biases_and_scales_have_a_rate_of_their_own(optimizer: Any) -> None:
    """bias_lr_factor is the learning rate of a second group of PyTorch's, whose weight decay in a step stays the same."""
    config = ann.Config(layout="4 M 6", batch_norm=True, optimizer=optimizer, lr=0.02, weight_decay=0.1, bias_lr_factor=64.0)
    network, expected = network_of(config), network_of(config)
    kernels = [p for p in expected.parameters() if p.dim() > 1]
    others = [p for p in expected.parameters() if p.dim() == 1]
    assert {id(parameter) for parameter in shifts_and_scales(expected)} == {id(parameter) for parameter in others}
    groups: Any = [{"params": kernels}, {"params": others, "lr": 0.02 * 64, "weight_decay": 0.1 / 64}]
    assert_equal(trained(config, network), trained_by(PLAIN[optimizer](groups, config), expected))


def matrices_of(weights: Iterable[Tensor]) -> list[nn.Parameter]:
    return [nn.Parameter(weight.detach().reshape(len(weight), -1).clone()) for weight in weights]


def test_muon_is_pytorchs_for_hidden_layers() -> None:
    """Hidden convolutions and linear layers take torch.optim.Muon's steps as matrices, to the bit; all else takes AdamW's."""
    config = ann.Config(layout="4 M 6 F5", batch_norm=True, optimizer="muon", lr=0.02, weight_decay=0.1)
    network, expected = network_of(config), network_of(config)
    hidden = hidden_weights(expected)
    assert [tuple(weight.shape) for weight in hidden] == [(6, 4, 3, 3), (5, 96)]
    rest = [p for p in expected.parameters() if all(p is not weight for weight in hidden)]
    matrices = matrices_of(hidden)
    muon = torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(rest, lr=0.02, weight_decay=0.1, fused=True)
    for step, rates in enumerate(rates_of(config, NUM_STEPS)):
        give_gradients(expected, step)
        for weight, matrix in zip(hidden, matrices, strict=True):
            assert weight.grad is not None
            matrix.grad = weight.grad.reshape(matrix.shape)
        (muon.param_groups[0]["lr"], muon.param_groups[0]["momentum"]) = rates
        adamw.param_groups[0].update(lr=rates.lr, betas=(rates.momentum, 0.999))
        muon.step()  # type: ignore[no-untyped-call]
        adamw.step()
    with torch.no_grad():
        for weight, matrix in zip(hidden, matrices, strict=True):
            weight.copy_(matrix.view(weight.shape))
    assert_equal(trained(config, network), expected)


def test_muon_takes_weights_in_any_order_of_memory() -> None:
    """Weights whose channels lie last in memory take the same steps but for rounding, as do those moved after the start."""
    config = ann.Config(layout="4 6 8", optimizer="muon", lr=0.02)
    expected = trained(config, network_of(config))
    last = network_of(config).to(memory_format=torch.channels_last)
    moved = network_of(config)
    optimiser = Optimiser(config, moved)
    for parameter in moved.parameters():
        parameter.data = parameter.data.clone()
    for step, rates in enumerate(rates_of(config, NUM_STEPS)):
        give_gradients(moved, step)
        optimiser.step(rates)
    assert_equal(moved, expected)
    start = dict(network_of(config).named_parameters())
    for (name, parameter), other in zip(trained(config, last).named_parameters(), expected.parameters(), strict=True):
        changed = (other - start[name]).abs().max()
        assert changed > 0
        assert (parameter - other).abs().max() < 0.03 * changed  # Muon's orthogonalisation has 8 significant bits


@pytest.mark.parametrize("kind", ["ann", "resnet", "batch norms", "standardised", "converted"])
def test_every_weight_that_is_learnt_is_changed_by_one_optimiser(kind: str) -> None:
    """With muon and a factor for biases, every parameter that learns moves, whatever network it is in; a frozen one stays."""
    shared: dict[str, Any] = {"optimizer": "muon", "bias_lr_factor": 2.0, "weight_decay": 0.0, "layout": "4 M 6 5"}
    config: Any
    if kind == "resnet":
        config = ann.Config(**shared | {"layout": "resnet20"}, feature_scale=0.25, batch_norm=True)
        network = network_of(config)
    elif kind == "ann":
        config = ann.Config(**shared, activation="qcfs", bias=False)
        network = network_of(config)
    elif kind == "converted":
        config = converted_snn.Config(**shared, finetune_epochs=1, train_neurons=True)
        network = converted_snn.task_of(config, IMAGE, 3).build()
    else:
        normalisation: Any = "batch_norm" if kind == "batch norms" else "weight_standardisation"
        config = bitnet.Config(**shared, normalisation=normalisation)
        network = bitnet.build(config, IMAGE, 3)
    frozen = next(iter(network.parameters()))
    frozen.requires_grad_(False)
    before = copy.deepcopy(network)
    optimiser = Optimiser(config, network)
    give_gradients(network, 0)
    optimiser.step(*rates_of(config, 1))
    for (name, parameter), old in zip(network.named_parameters(), before.parameters(), strict=True):
        assert torch.equal(parameter, old) == (parameter is frozen), name


def test_momentum_0_is_plain_gradient_descent() -> None:
    """sgd with momentum 0 and a constant schedule takes w ← w - lr·g."""
    config = ann.Config(layout="4", optimizer="sgd", momentum=0.0, schedule="constant", lr=0.5, weight_decay=0.0)
    network, expected = network_of(config), network_of(config)
    for step in range(NUM_STEPS):
        give_gradients(expected, step)
        with torch.no_grad():
            for parameter in expected.parameters():
                assert parameter.grad is not None
                parameter.sub_(0.5 * parameter.grad)
    for parameter, other in zip(trained(config, network).parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(parameter, other)


@pytest.mark.parametrize("trainable", [ann, bitnet, converted_snn])
def test_muon_needs_a_layer_between(trainable: Any) -> None:
    """A network of a first and an output layer has nothing for muon: that is one error with a repair, and no crash."""
    (wrong,) = trainable.problems(trainable.Config(optimizer="muon", layout="4"), IMAGE)
    assert (wrong.field, wrong.repair) == ("optimizer", "write optimizer: adamw, or a layout of two layers or more")
    for right in (trainable.Config(optimizer="muon", layout="4 F5"), trainable.Config(optimizer="sgd", layout="4")):
        assert not list(trainable.problems(right, IMAGE))
