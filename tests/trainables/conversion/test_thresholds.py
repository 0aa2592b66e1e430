"""Firing thresholds: Spike-Norm on an example worked by hand, and the scales of activations."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.trainables.conversions import SHAPE, Listed, random_calibration
from trainables import converted_snn
from trainables.conversion.calibration_set import CalibrationSet
from trainables.conversion.structure import spiking_structure
from trainables.conversion.thresholds import activation_scales, layers_at_junctions, spike_norm
from trainables.networks.network import Inputs, Network
from trainables.spiking.neurons import NeuronModel


class Given(CalibrationSet):
    """A calibration set that shows written-down spikes."""

    def spiking_batches(self) -> Any:
        """Two images, each in a batch of its own."""
        busy = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        calm = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
        batches: list[Inputs] = [Listed(steps.reshape(3, 1, 2, 1, 1)) for steps in (busy, calm)]
        return iter(batches)


def test_spike_norm_by_hand() -> None:
    """θ_l is the largest weighted input at any step, of any image, with the layers before already spiking at their thresholds.

    Layer 1 is driven by (2, 0), (1, 5), (3, 5): θ_1 = 5 (its membrane potential would reach 6, an average over batches 3.5).
    At θ_1 it spikes as (0, 0), (0, 1), (1, 1), which drives layer 2 by (0, 0), (2, -3), (3, 1): θ_2 = 3. At θ_1 = 1 it would
    be 4, one step late 2, by the membrane potential 5, by the analogue network's activations more than 8.
    """
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False), nn.ReLU()))
    for operation, weight in zip(
        network.operations_of(nn.Linear), ([[2.0, 1.0], [0.0, 5.0]], [[1.0, 2.0], [4.0, -3.0]]), strict=True
    ):
        network.parts[operation.name].weight.data = torch.tensor(weight)
    model = NeuronModel(integrate="raw")
    options: dict[str, Any] = {"per": "layer", "max_pool": "or", "with_biases": False, "leak": 1.0, "trainable": False}
    spiking = spiking_structure(network, model, input_shape=(1, 1, 2), **options)
    calibration = Given(**vars(random_calibration()))
    thresholds = spike_norm(spiking, calibration, 3, shared_by=set())
    assert {layer: float(threshold) for layer, threshold in thresholds.items()} == {"layer1": 5, "layer2": 3}
    assert [float(neuron.firing_threshold) for _, neuron in spiking.neurons()] == [5, 3]
    shared = spike_norm(copy.deepcopy(spiking), calibration, 3, shared_by={"layer1"})
    assert {layer: float(threshold) for layer, threshold in shared.items()} == {"layer1": 1, "layer2": 4}


def test_layers_at_junctions() -> None:
    """The layers that share a threshold are those whose spikes meet at an addition, one layer of weights away at most."""
    config = converted_snn.Config(layout="resnet20", feature_scale=0.25, num_plain_convolutions=3)
    network = converted_snn._build(config, SHAPE, 3)
    assert len(dict(network.neurons())) == 3 + 2 * 9
    # all but the first two plain convolutions' and the last junction's, which average pooling follows
    assert layers_at_junctions(network) == {f"layer{number}" for number in range(3, 21)}


ACTIVATIONS = {"layer1": torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]]).reshape(4, 2, 1, 1)}
LAYER, CHANNELS = torch.Size(), torch.Size([2, 1, 1])


@pytest.mark.parametrize(
    ("balance", "percentile", "shape", "expected"),
    [
        ("max", 50.0, LAYER, [4]),
        ("max", 50.0, CHANNELS, [4, 4]),  # a channel that is never active takes its layer's
        ("percentile", 75.0, LAYER, [2]),  # the sixth of 0 0 0 0 1 2 3 4
        ("percentile", 75.0, CHANNELS, [3, 2]),
        ("percentile", 100.0, LAYER, [4]),
        ("mse", 50.0, LAYER, [4]),  # with T = 4, V = 4 represents all of them
    ],
)
def test_scales_by_hand(balance: Any, percentile: float, shape: torch.Size, expected: list[float]) -> None:
    """The largest activation, a percentile of them, and the value of least squared error, of a layer or of every channel."""
    scales = activation_scales(ACTIVATIONS, {"layer1": shape}, balance=balance, percentile=percentile, time_steps=4)
    assert scales["layer1"].shape == shape
    assert scales["layer1"].flatten().tolist() == expected


@given(st.integers(0, 2**32), st.integers(1, 16))
def test_mse_scales_are_the_best(seed: int, time_steps: int) -> None:
    """No other hundredth of the largest activation has a smaller ‖a - (V/T)·clip(⌊aT/V⌋, 0, T)‖²."""
    activations = torch.randn(40, 5, generator=torch.Generator().manual_seed(seed)).relu().double()
    (scale,) = activation_scales({"l": activations}, {"l": LAYER}, balance="mse", percentile=50.0, time_steps=time_steps).values()

    def error(v: Tensor) -> float:
        steps = (activations * time_steps / v).floor().clamp(0, time_steps)
        return float((activations - v / time_steps * steps).square().sum())

    errors = [error(activations.max() * hundredth / 100) for hundredth in range(1, 101)]
    assert error(scale) == pytest.approx(min(errors))


@pytest.mark.parametrize("balance", ["max", "percentile", "mse"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_what_is_silent_has_a_scale(balance: Any, per_channel: bool) -> None:
    """A silent channel has its layer's scale, a silent layer 1: never one so small that weights vanish or explode."""
    some = torch.rand(20, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    some[:, 1] = 0
    shape = torch.Size([3, 1, 1]) if per_channel else torch.Size()
    activations = {"layer1": some, "layer2": torch.zeros_like(some)}
    shapes = dict.fromkeys(activations, shape)
    scales = activation_scales(activations, shapes, balance=balance, percentile=99.0, time_steps=8)
    whole = activation_scales(
        activations, dict.fromkeys(activations, torch.Size()), balance=balance, percentile=99.0, time_steps=8
    )
    assert torch.equal(scales["layer2"], torch.ones(shape))
    if per_channel:
        assert scales["layer1"][1] == whole["layer1"]
    assert scales["layer1"].min() > 0.5
