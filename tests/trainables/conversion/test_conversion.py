"""Conversions: the two forms of normalisation, what thresholds are, and that rates become activations."""

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.trainables.conversions import (
    SHAPE,
    converted,
    random_analogue,
    random_calibration,
    run,
)
from trainables.conversion.structure import normalise_weights, scale_weights, spiking_structure
from trainables.networks.activations import QCFS
from trainables.networks.layered import initialise_analogue
from trainables.networks.network import ConstantCurrent, Network
from trainables.networks.residual import ResidualUnit
from trainables.spiking.neurons import NeuronModel

IMAGES_BCHW = torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(1))
T = 6


def with_junction() -> Network:
    """A convolution and two residual units, one with a convolution for its shortcut."""
    options: dict[str, Any] = {"activation": nn.ReLU, "batch_norm": False, "dropout": 0.0, "bias": True}
    units = [
        ResidualUnit(4, 4, 1, junction_activation=True, **options),
        ResidualUnit(4, 6, 2, junction_activation=True, **options),
    ]
    network = Network(
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), *units, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    )
    initialise_analogue(network, torch.Generator().manual_seed(0))
    return network


NETWORKS = {layout: random_analogue(layout=layout) for layout in ("6 A 8 F10", "6 M 8 S F10")} | {"residual": with_junction()}


def structure(analogue: Network, **options: Any) -> Network:
    defaults = {"per": "layer", "max_pool": "largest_count", "with_biases": False, "leak": 1.0, "trainable": False}
    model = NeuronModel(integrate="raw", reset=options.pop("reset", "soft"), initial_membrane_potential=0.25)
    return spiking_structure(analogue, model, input_shape=SHAPE, **{**defaults, **options})


def set_thresholds(network: Network, thresholds: dict[str, Tensor]) -> None:
    for layer, neuron in network.neurons():
        neuron.firing_threshold.copy_(thresholds[layer])


@settings(max_examples=30)
@given(
    st.sampled_from(sorted(NETWORKS)),
    st.sampled_from(["layer", "channel"]),
    st.sampled_from(["soft", "hard"]),
    st.integers(0, 2**32),
)
def test_weight_normalisation_and_threshold_balancing_are_one(name: str, per: str, reset: str, seed: int) -> None:
    """Thresholds λ, or weights divided by them and thresholds 1: every layer spikes at the same steps (Diehl et al. 2015).

    With powers of 2 for λ both are exact.
    """
    network = structure(NETWORKS[name], per=per, reset=reset)
    generator = torch.Generator().manual_seed(seed)
    shapes = {layer: neuron.firing_threshold.shape for layer, neuron in network.neurons()}
    scales = {layer: 2.0 ** torch.randint(-3, 3, shape, generator=generator) for layer, shape in shapes.items()}
    scale_weights(network, scales, torch.tensor(0.5), SHAPE)
    set_thresholds(network, scales)
    outputs, spikes = run(network, ConstantCurrent(IMAGES_BCHW), T)
    normalise_weights(network)
    same_outputs, same_spikes = run(network, ConstantCurrent(IMAGES_BCHW), T)
    assert all(bool((neuron.firing_threshold == 1).all()) for _, neuron in network.neurons())
    assert torch.equal(same_outputs, outputs)
    assert spikes.keys() == same_spikes.keys()
    for layer, spikes_TBN in spikes.items():
        assert torch.equal(same_spikes[layer], spikes_TBN), layer
    assert any(bool(spikes_TBN.any()) for spikes_TBN in spikes.values())


def weights_and_biases(network: Network) -> list[tuple[Tensor, Tensor]]:
    parts = [network.parts[operation.name] for operation in network.operations_of(nn.Conv2d, nn.Linear)]
    return [(part.weight, part.bias) for part in parts if isinstance(part, nn.Conv2d | nn.Linear) and part.bias is not None]


def test_normalised_weights_by_formula() -> None:
    """W̃ = W·λ_{l-1}/λ_l and b̃ = b/λ_l; the output layer, which has no threshold, gets W·λ_{l-1} and its bias as it was."""
    analogue = NETWORKS["6 A 8 F10"]
    network = structure(analogue)
    scales = {"layer1": torch.tensor(2.0), "layer2": torch.tensor(0.5), "layer3": torch.tensor(4.0)}
    scale_weights(network, scales, torch.tensor(1.0), SHAPE)
    set_thresholds(network, scales)
    normalise_weights(network)
    before = [1.0, 2.0, 0.5, 4.0]
    after = [2.0, 0.5, 4.0, 1.0]
    for (weight, bias), (old_weight, old_bias), ingoing, own in zip(
        weights_and_biases(network), weights_and_biases(analogue), before, after, strict=True
    ):
        assert torch.equal(weight, old_weight * ingoing / own)
        assert torch.equal(bias, old_bias / own)


def test_thresholds_without_biases() -> None:
    """Without biases, θ_l = λ_l/λ_{l-1} with unchanged weights gives the same spikes as scaled weights with θ_l = λ_l."""
    analogue = random_analogue(bias=False)
    scaled, plain = structure(analogue), structure(analogue)
    scales = {"layer1": torch.tensor(2.0), "layer2": torch.tensor(0.25), "layer3": torch.tensor(0.5)}
    scale_weights(scaled, scales, torch.tensor(1.0), SHAPE)
    set_thresholds(scaled, scales)
    set_thresholds(plain, {"layer1": torch.tensor(2.0), "layer2": torch.tensor(0.125), "layer3": torch.tensor(2.0)})
    spikes, same_spikes = (run(network, ConstantCurrent(IMAGES_BCHW), T)[1] for network in (scaled, plain))
    for layer, spikes_TBN in spikes.items():
        assert torch.equal(same_spikes[layer], spikes_TBN)
        assert spikes_TBN.any()


class Meeting(nn.Module):
    """Spikes of two layers meet at an addition without any weights between."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.output = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1), nn.Linear(192, 3)
        self.relu, self.flatten = nn.ReLU(), nn.Flatten()

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        one = self.relu(self.one(x))
        logits: Tensor = self.output(self.flatten(one + self.relu(self.other(one))))
        return logits


@torch.no_grad()
def test_spikes_that_meet_are_worth_their_scales() -> None:
    """Where spikes of two layers are added, each counts as its own layer's scale: the outputs approach the logits."""
    torch.manual_seed(0)
    analogue = Network(Meeting())
    logits_TBK, activations = run(analogue, ConstantCurrent(IMAGES_BCHW), 1)
    scales = {layer: values.max() for layer, values in activations.items()}
    network = structure(analogue)
    scale_weights(network, scales, torch.tensor(1.0), SHAPE)
    set_thresholds(network, scales)
    outputs_TBK, _ = run(network, ConstantCurrent(IMAGES_BCHW), 512)
    assert scales["layer1"] != scales["layer2"]
    torch.testing.assert_close(outputs_TBK.mean(dim=0), logits_TBK[0], rtol=0, atol=0.01)


class BesideTheImage(nn.Module):
    """The image itself is added to a drive."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(2, 2, 3, padding=1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Activations."""
        activations: Tensor = self.relu(x + self.conv(x))
        return activations


@torch.no_grad()
def test_an_image_that_meets_a_drive_is_worth_its_scale() -> None:
    """Where the input's spikes are added to a drive, they count as much as behind weights."""
    analogue = Network(BesideTheImage())
    scale_C11 = torch.tensor([2.0, 0.5]).view(2, 1, 1)
    network = structure(analogue)
    scale_weights(network, {"layer1": torch.tensor(1.0)}, scale_C11, SHAPE)
    (addition,) = [operation.name for operation in network.operations if operation.kind == "add"]
    drive_TBN, _ = network((IMAGES_BCHW / scale_C11)[None], until=addition)
    expected_TBN, _ = analogue(IMAGES_BCHW[None], until=addition)
    torch.testing.assert_close(drive_TBN, expected_TBN)


def test_a_drive_of_two_layers_cannot_be_normalised() -> None:
    """Where one drive reaches two layers with thresholds of their own, dividing its weights is refused."""

    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flatten, self.linear, self.one, self.other = nn.Flatten(), nn.Linear(128, 4), nn.ReLU(), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            drive = self.linear(self.flatten(x))
            both: Tensor = self.one(drive) + self.other(drive)
            return both

    with pytest.raises(ValueError, match="what drives layer1 is not its alone"):
        normalise_weights(structure(Network(Fork())))


@pytest.mark.parametrize(
    ("layout", "per"), [("6 A 8 F10", "layer"), ("6 A 8 F10", "channel"), ("6 M 8 F10", "channel"), ("resnet20", "layer")]
)
@torch.no_grad()
def test_outputs_converge(layout: str, per: str) -> None:
    """With constant current and soft resets the mean output approaches the analogue network's logits, about as 1/T."""
    options: dict[str, Any] = {"layout": layout, "feature_scale": 0.25 if layout == "resnet20" else 1}
    trained, calibration = random_analogue(**options), random_calibration()
    network, _ = converted(trained, calibration, **options, per=per, time_steps=32)
    images = calibration.splits.normalise(calibration.images_BCHW[:20])
    outputs_TBK, _ = run(network, ConstantCurrent(images), 1024)
    logits_BK = trained(images[None])[0][0]
    errors = [float((outputs_TBK[:steps].mean(dim=0) - logits_BK).abs().mean()) for steps in (16, 64, 256, 1024)]
    assert all(later < 0.6 * earlier for earlier, later in itertools.pairwise(errors))
    assert errors[-1] < 0.025 * float(logits_BK.abs().mean())


@pytest.mark.parametrize("levels", [2, 4, 8])
def test_qcfs_is_exact_in_the_first_layer(levels: int) -> None:
    """After T = L steps from θ/2, the first layer's rates are the QCFS activations exactly; θ is λ (Bu et al. 2022)."""
    options: dict[str, Any] = {"activation": "qcfs", "qcfs_levels": levels}
    trained, calibration = random_analogue(**options), random_calibration()
    for number, activation in enumerate(module for module in trained.modules() if isinstance(module, QCFS)):
        activation.scale.data.fill_(0.5 * 2**number)
    for weight, bias in weights_and_biases(trained):
        weight.data.copy_((weight * 64).round() / 64)
        bias.data.copy_((bias * 64).round() / 64)
    network, _ = converted(trained, calibration, **options, balance="qcfs", initial_membrane_potential=0.5, time_steps=levels)
    images = (calibration.splits.normalise(calibration.images_BCHW) * 8).round() / 8
    _, spikes = run(network, ConstantCurrent(images), levels)
    _, activations = run(trained, ConstantCurrent(images), 1)
    assert [float(neuron.firing_threshold) for _, neuron in network.neurons()] == [0.5, 1, 2]
    assert torch.equal(spikes["layer1"].mean(dim=0) * 0.5, activations["layer1"][0])
