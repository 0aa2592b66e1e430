"""Normalised drives: against plain loops in float64, as measured, and folded into plain convolutions without a spike changed."""

import copy
import itertools
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from trainables import bitnet
from trainables.data.datasets import prepare
from trainables.kernels.gpu.chain import UnfusableError, fused_layers
from trainables.networks.drive_normalisation import (
    WeightStandardisation,
    effective_weight,
    hidden_neurons,
    raw_weight,
    standardisation_of,
    start_drives,
)
from trainables.networks.layered import initialise_spiking, synaptic_modules
from trainables.networks.network import NORMS, ConstantCurrent, Network, UnknownModuleError
from trainables.networks.rewriting import folded, refresh_folded
from trainables.spiking.neurons import SpikingNeuron
from trainables.training.losses import mse_of_rates
from trainables.training.regularisers import Pruner, num_pruned_filters

NORMALISED = ("initial_gain", "weight_standardisation", "batch_norm")
T = 3


def images_of(num: int, seed: int = 0) -> Tensor:
    return torch.randn(num, 2, 8, 8, generator=torch.Generator().manual_seed(seed))


def batches_of(images: Tensor, size: int = 32) -> Iterator[ConstantCurrent]:
    return (ConstantCurrent(some) for some in images.split(size))  # type: ignore[no-untyped-call]


def network_of(normalisation: Any, *, drive_std: float = 0.5, layout: str = "8 M 12 A 8 F10", **options: Any) -> Network:
    """A BITnet with its first weights, its drives measured on 96 images."""
    config = bitnet.Config(**{**bitnet.PUBLISHED, "layout": layout, "normalisation": normalisation, **options})
    network = bitnet.build(config, (8, 8, 2), 4)
    initialise_spiking(network, torch.Generator().manual_seed(0), hidden_bias=config.initial_hidden_bias)
    start_drives(network, partial(batches_of, images_of(96)), T, drive_std)
    return network


def bias_of(synapses: nn.Conv2d | nn.Linear) -> Tensor:
    assert synapses.bias is not None
    return synapses.bias.detach()


def trained(network: Network, steps: int = 4) -> Network:
    """After a few steps of a large learning rate, so that gains, scales and statistics are no longer those of the start."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.02)
    network.train()
    for step in range(steps):
        images = images_of(16, seed=step + 1) * 1.5 + 0.2
        optimizer.zero_grad()
        mse_of_rates(network(images[None], T)[0], torch.arange(16) % 4).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        network.project()
    return network.eval()


def drives_by_loop(network: Network, images: Tensor) -> dict[str, Tensor]:
    """What neurons receive, ``[T, B, …]`` by the name of their operation, and of the last operation what comes out: one step
    after another, from the equations of the bddi neuron. The network has plain weights and no norms."""
    (model,) = {neuron.model for _, neuron in network.neurons()}
    potentials: dict[str, Tensor] = {}
    drives: dict[str, list[Tensor]] = {}
    for _ in range(T):
        x = images
        for operation in network.operations:
            part = network.parts[operation.name] if operation.kind == "module" else nn.Flatten()
            if isinstance(part, SpikingNeuron):
                drives.setdefault(operation.name, []).append(x)
                start = torch.full_like(x, float(model.initial_membrane_potential))
                u = potentials.get(operation.name, start) + x.clamp(0, 1)
                x = (u >= 1).to(x.dtype)
                potentials[operation.name] = u - x
            elif isinstance(part, nn.Conv2d):
                x = functional.conv2d(x, part.weight, part.bias, padding=1)
            else:
                x = part(x)
        drives.setdefault("result", []).append(x)
    return {name: torch.stack(each) for name, each in drives.items()}


def test_standardised_weights_equal_the_loop() -> None:
    """Every filter is what a loop over filters and inputs makes of it in float64, and so is its gradient."""
    weight = torch.randn(5, 3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight[3] = 0.7  # all equal: nothing to standardise
    made = WeightStandardisation(weight)
    with torch.no_grad():
        made.gain.fill_(1.7)

    def loop(weight: Tensor) -> Tensor:
        filters = []
        for one in weight:
            mean = one.sum() / 27
            variance = sum((number - mean) ** 2 for number in one.flatten()) / 27
            filters.append(1.7 * (one - mean) / torch.sqrt(27 * variance + 1e-4))
        return torch.stack(filters)

    torch.testing.assert_close(made(weight), loop(weight), rtol=1e-12, atol=1e-12)
    assert not made(weight)[3].abs().max() > 1e-12
    factors = torch.randn(weight.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradients = [
        torch.autograd.grad((function(leaf) * factors).sum(), leaf)[0]
        for function, leaf in ((made, weight.clone().requires_grad_()), (loop, weight.clone().requires_grad_()))
    ]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-9)


def test_the_gradient_of_an_effective_weight_reaches_what_it_is_computed_from() -> None:
    """Code without autograd adds a gradient to the leaf; passed on, it gives the raw weight and the gain autograd's gradients,
    and a plain weight is its own leaf."""
    network = network_of("weight_standardisation")
    *hidden, output = synaptic_modules(network)
    for synapses in hidden:
        gradient = torch.randn(synapses.weight.shape, generator=torch.Generator().manual_seed(2))
        standardisation = standardisation_of(synapses)
        assert standardisation
        parameters = [raw_weight(synapses), standardisation.gain]
        expected = torch.autograd.grad((synapses.weight * gradient).sum(), parameters)
        weight = effective_weight(synapses)
        assert torch.equal(weight.leaf, synapses.weight)
        weight.leaf.grad = gradient
        weight.pass_gradient_on()
        weight.pass_gradient_on()  # it adds
        for parameter, want in zip(parameters, expected, strict=True):
            torch.testing.assert_close(parameter.grad, 2 * want)
    assert effective_weight(output).leaf is output.weight
    effective_weight(output).pass_gradient_on()
    assert output.weight.grad is None


def test_the_gradient_of_standardised_weights_is_that_of_its_equation() -> None:
    """Numerically, in float64, of the weights and of the gain; a filter of equal weights is 0 and stays finite."""
    weight = torch.randn(3, 2, 3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64, requires_grad=True)
    standardisation = WeightStandardisation(weight.detach())
    standardisation.gain.data.fill_(0.7)
    assert torch.autograd.gradcheck(
        lambda some, gain: functional_call(standardisation, {"gain": gain}, some), (weight, standardisation.gain)
    )
    flat = torch.full((2, 4), 0.3, dtype=torch.float64, requires_grad=True)
    standardised = standardisation(flat)
    standardised.sum().backward()
    assert not standardised.any()
    assert flat.grad is not None
    assert flat.grad.isfinite().all()


POOLS_AND_STARTS = list(itertools.product(("8 M 12 M 8", "8 A 12 A F10"), ("spikes", "drive"), (0.0, 0.5)))


@pytest.mark.parametrize("normalisation", NORMALISED)
@pytest.mark.parametrize(("layout", "pool_on", "v0"), POOLS_AND_STARTS)
def test_the_drive_has_the_standard_deviation_that_is_asked_for(normalisation: Any, layout: str, pool_on: Any, v0: float) -> None:
    """After the pass every hidden layer's drive has it within 5 %, as a loop over time in float64 measures it behind the pool,
    with either kind of pool, on spikes or drives, and whatever the neurons start from."""
    options = {"pool_on": pool_on, "initial_membrane_potential": v0, "initial_hidden_bias": 0.1}
    network = network_of(normalisation, drive_std=0.7, layout=layout, **options)
    drives = drives_by_loop(folded(network).double(), images_of(96).double())
    names = [operation.name for operation in hidden_neurons(network)]
    assert len(names) == 3
    for name in names:
        assert float(drives[name].detach().std(correction=0)) == pytest.approx(0.7, rel=0.05)


def test_an_initial_gain_leaves_a_plain_network() -> None:
    """It scales weights, one factor a layer, and neither biases nor the output layer."""
    config = bitnet.Config(layout="8 M 8", normalisation="initial_gain")
    plain = bitnet.build(config, (8, 8, 2), 4)
    initialise_spiking(plain, torch.Generator().manual_seed(0))
    scaled = copy.deepcopy(plain)
    start_drives(scaled, partial(batches_of, images_of(40)), T, 0.5)
    assert folded(scaled) is scaled
    *hidden, output = zip(synaptic_modules(plain), synaptic_modules(scaled), strict=True)
    for before, after in hidden:
        ratios = after.weight / before.weight
        assert float(ratios.detach().std()) < 1e-5
        assert abs(float(ratios.detach().mean()) - 1) > 0.05
    assert all(torch.equal(bias_of(before), bias_of(after)) for before, after in (*hidden, output))
    assert torch.equal(output[0].weight, output[1].weight)


def test_batches_do_not_change_what_is_measured() -> None:
    """A gain measured image by image, or in parts of a simulation, is the same within rounding."""
    gains = []
    for size, parts in ((96, 1), (7, 1), (7, 64)):
        network = bitnet.build(bitnet.Config(layout="8 M 8", normalisation="weight_standardisation"), (8, 8, 2), 4)
        initialise_spiking(network, torch.Generator().manual_seed(0))
        start_drives(network, partial(batches_of, images_of(96), size), 9, 1.0, num_micro_batches=parts)
        gains.append([float(each.gain.detach()) for each in network.modules() if isinstance(each, WeightStandardisation)])
    assert gains[0] == pytest.approx(gains[1], rel=1e-3)  # a spike at the very threshold may differ
    assert gains[1] == pytest.approx(gains[2], rel=1e-3)


@pytest.mark.parametrize("normalisation", NORMALISED)
def test_a_drive_that_never_varies_is_left_as_it_is(normalisation: Any) -> None:
    """Black images give a constant drive: no weight is scaled, and nothing is divided by 0."""
    network = bitnet.build(bitnet.Config(layout="8 M 8 F4", normalisation=normalisation), (8, 8, 2), 4)
    initialise_spiking(network, torch.Generator().manual_seed(0), hidden_bias=0.1)
    before = [synapses.weight.detach().clone() for synapses in synaptic_modules(network)]
    start_drives(network, lambda: batches_of(torch.zeros(5, 2, 8, 8)), T, 0.5)
    for synapses, weight in zip(synaptic_modules(network), before, strict=True):
        assert torch.equal(synapses.weight, weight)
    assert all(bool(tensor.isfinite().all()) for tensor in folded(network).state_dict().values())


@pytest.mark.parametrize("normalisation", NORMALISED[1:])
@pytest.mark.parametrize(("layout", "pool_on"), [("8 M 12 A 8 F10", "spikes"), ("8 M 12 A M 8 F10", "drive")])
def test_folding_changes_no_spike(normalisation: Any, layout: str, pool_on: Any) -> None:
    """Trained for a few steps, the folded network has the spikes of the unfolded one and of a loop over time in float64, and in
    float32 its output drive to 1e-5."""
    network = trained(network_of(normalisation, layout=layout, pool_on=pool_on, initial_membrane_potential=0.5))
    double, images = copy.deepcopy(network).double(), images_of(64, seed=9)
    plain = folded(double)
    assert not plain.operations_of(*NORMS)
    assert not any(standardisation_of(part) for part in plain.parts.values())
    spikes, _ = double(images.double()[None], T)
    loop = drives_by_loop(plain, images.double())
    for operation in network.operations_of(SpikingNeuron):
        expected, _ = double(images.double()[None], T, until=operation.name)
        assert torch.equal(plain(images.double()[None], T, until=operation.name)[0], expected)
        assert 0 < expected.mean() < 1
    assert torch.equal(loop["result"], spikes)
    drives = [each(images[None], T, until="output")[0] for each in (network, folded(network))]
    torch.testing.assert_close(drives[0], drives[1], rtol=1e-5, atol=1e-5)


def test_standardised_weights_may_be_folded_again_and_again() -> None:
    """Folding leaves the network as it was, though parametrized modules share their class with their copies; what was folded
    before is brought up to date in place."""
    network = network_of("weight_standardisation")
    judged = folded(network)
    (first, *_) = synaptic_modules(judged)
    address, before = first.weight.data_ptr(), first.weight.detach().clone()
    refresh_folded(judged, trained(network))
    assert first.weight.data_ptr() == address
    assert not torch.equal(first.weight, before)
    for kept, made in zip(judged.state_dict().values(), folded(network).state_dict().values(), strict=True):
        assert torch.equal(kept, made)
    assert all(standardisation_of(synapses) for synapses in synaptic_modules(network)[:-1])


def test_batch_norms_by_hand() -> None:
    """They stand behind the pool and take the bias's place; γ of a norm behind a max pool stays above 0, or the pool could not be
    passed in folding."""
    network = network_of("batch_norm", layout="4 M A 6 A F5", pool_on="drive")
    assert [type(network.parts[operation.name]).__name__ for operation in network.operations if operation.kind == "module"] == [
        *("Conv2d", "MaxPool2d", "AvgPool2d", "BatchNorm2d", "SpikingNeuron"),
        *("Conv2d", "AvgPool2d", "BatchNorm2d", "SpikingNeuron"),
        *("Flatten", "Linear", "BatchNorm1d", "SpikingNeuron"),
        *("Linear", "SpikingNeuron"),
    ]
    assert [synapses.bias is None for synapses in synaptic_modules(network)] == [True, True, True, False]
    norms = [network.parts[operation.name] for operation in network.operations_of(*NORMS)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.fill_(-1)  # type: ignore[operator]
    with pytest.raises(UnknownModuleError, match="scales below 0 behind a max pool"):
        folded(network)
    network.project()
    assert [float(norm.weight.detach().min()) > 0 for norm in norms] == [True, False, False]  # type: ignore[operator]
    assert not folded(network).operations_of(*NORMS)


def test_batch_norms_equal_the_loop() -> None:
    """In training every channel is γ (x - μ)/σ + β, with mean and deviation of a loop over time steps, images and pixels."""
    network = network_of("batch_norm", layout="4 M 6 F5", pool_on="drive").double().train()
    images = images_of(5).double()
    for operation in network.operations_of(*NORMS):
        norm = network.parts[operation.name]
        assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
        with torch.no_grad():
            norm.weight.copy_(torch.rand(len(norm.weight), generator=torch.Generator().manual_seed(0)) + 0.5)
            norm.bias.copy_(torch.randn(len(norm.bias), generator=torch.Generator().manual_seed(1)))
        before, after = (network(images[None], T, until=name)[0].detach() for name in (operation.inputs[0], operation.name))
        for channel in range(before.shape[2]):
            numbers = before[:, :, channel].flatten().tolist()
            mean = math.fsum(numbers) / len(numbers)
            std = math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / len(numbers) + 1e-5)
            gamma, beta = float(norm.weight[channel].detach()), float(norm.bias[channel].detach())
            expected = [gamma * (number - mean) / std + beta for number in numbers]
            assert after[:, :, channel].flatten().tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("normalisation", NORMALISED[1:])
def test_pruned_filters_are_zeros_in_all_that_is_theirs(normalisation: Any) -> None:
    """A pruned filter is 0 in the weight that is learnt and in bias, or scale and shift of the norm behind its pool, stays so
    whatever an optimiser does, and is 0 in the folded network."""
    network = network_of(normalisation, layout="8 M 8", pool_on="drive", initial_hidden_bias=0.2)
    pruner = Pruner(bitnet.Config(prune="l1", prune_fraction=0.5, prune_schedule="once"), network, seed=0)
    pruner.begin_epoch()
    pruner.end_epoch(1)
    pruner.begin_epoch()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    network.project()
    pruner.after_step()
    judged = folded(network)
    assert num_pruned_filters(network) == num_pruned_filters(judged) == 8
    for synapses, plain in zip(synaptic_modules(network)[:-1], synaptic_modules(judged)[:-1], strict=True):
        gone = ~raw_weight(synapses).flatten(1).any(dim=1)
        assert int(gone.sum()) == 4
        assert not bias_of(plain)[gone].any()
        assert bias_of(plain)[~gone].all()


def test_initial_values() -> None:
    """Biases and the scale of the output layer are what the fields say, of batch norms too; None is 1 / classes."""
    for normalisation in ("none", "batch_norm"):
        network = bitnet.build(bitnet.Config(layout="8 M 8", normalisation=normalisation), (8, 8, 2), 4)
        weights = []
        for scale in (0.25, 1.0):
            generator = torch.Generator().manual_seed(0)
            initialise_spiking(network, generator, hidden_bias=0.1, output_bias=0.3, output_scale=scale)
            weights.append(synaptic_modules(network)[-1].weight.detach().clone())
        torch.testing.assert_close(4 * weights[0], weights[1])
        biases = [float(parameter.detach().max()) for name, parameter in network.named_parameters() if name.endswith("bias")]
        assert sorted(biases) == pytest.approx([0.1, 0.1, 0.3])
        initialise_spiking(network, torch.Generator().manual_seed(0))
        assert float(bias_of(synaptic_modules(network)[-1]).max()) == 0.25


def test_what_is_judged_is_a_plain_network(tiny_npz: Path, data_folder: Path) -> None:
    """A trained replicate is evaluated by the kernels whatever normalises its drives, with the bytes, parameters and operations
    of a network that nothing normalises; the kernels for GPUs refuse standardised weights, untried there."""
    dataset = prepare(str(tiny_npz), data_folder)
    seen = []
    fields: dict[str, Any] = {"layout": "4 M 4", "time_steps": 2, "epochs": 1, "validation_fraction": 0.25, "device": "cpu"}
    for normalisation in ("none", *NORMALISED[1:]):
        config = bitnet.Config(**fields, data=str(tiny_npz), normalisation=normalisation)  # type: ignore[arg-type]
        (report,) = bitnet.train(config, seed=0, dataset=dataset)
        footprint = bitnet.footprint(config, dataset.image_shape, dataset.num_classes)
        assert report.run_facts["evaluation_backend"] == "event_driven"
        assert report.metrics["ops/dense_operations"] == footprint.operations_per_image
        seen.append((report.metrics["footprint_bytes"], footprint.num_parameters, footprint.operations_per_image))
    assert len(set(seen)) == 1
    with pytest.raises(UnfusableError, match="takes no standardised weights"):
        fused_layers(network_of("weight_standardisation"))


BROKEN: list[tuple[dict[str, Any], str, str]] = [
    ({"normalisation": "batch_norm", "gradient": "rate_collapsed"}, "gradient", "straight_through or surrogate"),
    ({"normalisation": "batch_norm", "batch_size": 1}, "batch_size", "at least 2"),
    ({"normalisation": "weight_standardisation", "layout": "4 M F1 F3"}, "normalisation", "2 inputs or more"),
    ({"normalisation": "weight_standardisation", "layout": "4 M A 1 M F4"}, "normalisation", "2 inputs or more"),
    (
        {"normalisation": "weight_standardisation", "layout": "4 M F8 F3", "feature_scale": 0.15},
        "normalisation",
        "2 inputs or more",
    ),
]


@pytest.mark.parametrize(("changes", "field", "rule"), BROKEN, ids=str)
def test_rules(changes: dict[str, Any], field: str, rule: str) -> None:
    """What cannot be normalised is refused by the field and the rule; the same is not without the normalisation, or where the
    weights of an analogue network take its place."""
    (problem,) = bitnet.problems(bitnet.Config(**{"layout": "4 M 4", **changes}), (8, 8, 1))
    assert problem.field == field
    assert rule in problem.rule
    without = {"layout": "4 M 4", **changes, "normalisation": "none"}
    assert not list(bitnet.problems(bitnet.Config(**without), (8, 8, 1)))
    if field != "batch_size":  # the analogue network has batch norms itself
        pretrained = {"layout": "4 M 4", **changes, "pretrain_epochs": 1}
        assert not list(bitnet.problems(bitnet.Config(**pretrained), (8, 8, 1)))


@pytest.mark.parametrize("normalisation", NORMALISED)
def test_pre_trained_networks_are_not_normalised(normalisation: Any) -> None:
    """The analogue network's weights go where they belong: no weight is computed, no norm is there, and the fields do nothing."""
    config = bitnet.Config(layout="4 M 4", normalisation=normalisation, pretrain_epochs=1)
    network = bitnet.build(config, (8, 8, 2), 4)
    assert not network.operations_of(*NORMS)
    assert not any(standardisation_of(synapses) for synapses in synaptic_modules(network))
    assert {"normalisation", "drive_std"} <= config.inactive_fields()
