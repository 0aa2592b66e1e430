"""Surrogate gradients: their shapes, and what they make of a neuron's gradient."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trainables.spiking.test_neurons import MODELS
from trainables.spiking.neurons import NeuronModel, Reset, SpikingNeuron
from trainables.spiking.surrogates import Shape, Surrogate, spike

NEVER = torch.tensor(1000.0)


@pytest.mark.parametrize("shape", ["arctan", "triangle", "rectangle", "sigmoid"])
@pytest.mark.parametrize(("width", "scale"), [(1.0, 1.0), (1 / math.pi, 0.3), (3.0, 2.0)])
def test_every_shape_has_area_scale(shape: Shape, width: float, scale: float) -> None:
    """Integrated over z, a surrogate gradient is its scale, whatever its shape and width."""
    z = torch.linspace(-15, 15, 400_001, dtype=torch.float64).sinh()  # far out, for arctan's heavy tails
    area = torch.trapezoid(Surrogate(shape, width, scale)(z, NEVER), z)
    assert float(area) == pytest.approx(scale, rel=1e-3)


def test_shapes_by_hand() -> None:
    """Values of every shape at z = 0 and z = 1/2 with width 2, worked by hand."""
    z = torch.tensor([0.0, 0.5], dtype=torch.float64)
    expected: dict[Shape, list[float]] = {
        "arctan": [1 / (2 * math.pi), 1 / (2 * math.pi * 1.0625)],
        "triangle": [0.5, 0.375],
        "rectangle": [0.5, 0.5],
        "sigmoid": [0.125, math.exp(-0.25) / (1 + math.exp(-0.25)) ** 2 / 2],
    }
    for shape, values in expected.items():
        assert Surrogate(shape, 2.0)(z, NEVER).tolist() == pytest.approx(values)
    assert Surrogate("arctan", 1 / math.pi)(z, NEVER)[0] == pytest.approx(1.0)  # Fang et al.'s with α = 2


def test_published_shapes() -> None:
    """Diet-SNN's triangle is γ·max(0, 1 - |z|) with γ = 0.3, and STDB's is α·e^(-βΔt) with α = 0.3, β = 0.01."""
    z = torch.tensor([-2.0, -0.5, 0.0, 0.25])
    assert Surrogate("triangle", scale=0.3)(z, NEVER).tolist() == pytest.approx([0.0, 0.15, 0.3, 0.225])
    assert Surrogate("stdb", scale=0.3)(z, torch.tensor(7.0)).item() == pytest.approx(0.3 * math.exp(-0.07))


def test_a_spike_at_the_threshold() -> None:
    """H(0) is 1, and the gradient is the given derivative alone."""
    z = torch.tensor([-0.25, 0.0, 0.25], requires_grad=True)
    spikes = spike(z, torch.tensor([1.0, 2.0, 3.0]))
    (grad,) = torch.autograd.grad(spikes.sum(), z)
    assert spikes.tolist() == [0, 1, 1]
    assert grad.tolist() == [1, 2, 3]


@given(
    st.integers(0, 2**32),
    st.sampled_from(["arctan", "triangle", "rectangle", "sigmoid", "stdb"]),
    st.sampled_from(MODELS),
    st.floats(0.125, 3, width=32),
)
def test_a_surrogate_changes_no_spike(seed: int, shape: Shape, model: NeuronModel, firing_threshold: float) -> None:
    """Spikes and membrane potentials of the pass with a surrogate gradient are those of the pass without, to the bit."""
    drive_TN = torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)) + 0.3
    with_surrogate = NeuronModel(integrate=model.integrate, reset=model.reset, surrogate=Surrogate(shape))
    spikes_TN, last_N = SpikingNeuron(model, firing_threshold)(drive_TN, 6)
    same_TN, same_last_N = SpikingNeuron(with_surrogate, firing_threshold)(drive_TN.requires_grad_(), 6)
    assert same_TN.requires_grad
    assert torch.equal(same_TN, spikes_TN)
    assert torch.equal(same_last_N, last_N)


@pytest.mark.parametrize(
    ("reset", "detach_reset", "expected"),
    [
        # h = dS/du = g/θ = 1/4 everywhere; dv/du: 1 - θh = 1/2, detached 1
        ("soft", False, [0.25 + 1 / 2, 0.5 + 1 / 2, 1.0]),
        ("soft", True, [0.25 + 1.5, 0.5 + 1.0, 1.0]),
        # dv/du = 1 - S - uh: 1 - 1.5/4 at the first step, -2.5/4 at the second; detached 1 and 0
        ("hard", False, [0.25 - 0.125 * 0.625, 0.5 - 0.625, 1.0]),
        ("hard", True, [0.25 + 0.5, 0.5, 1.0]),
    ],
)
def test_surrogate_gradient_by_hand(reset: Reset, detach_reset: bool, expected: list[float]) -> None:
    """The gradient of Σ c_t S_t through three steps, with the reset attached and detached, worked by hand."""
    surrogate = Surrogate("rectangle", width=2.0)  # g = 1/2 where |z| < 1
    model = NeuronModel(integrate="raw", reset=reset, surrogate=surrogate, detach_reset=detach_reset)
    drive_T = torch.tensor([1.5, 1.0, 0.5], requires_grad=True)  # u: 1.5  2.5  1 (soft) or .5 (hard)
    spikes_T, _ = SpikingNeuron(model, 2.0)(drive_T, 3)
    (grad,) = torch.autograd.grad((spikes_T * torch.tensor([1.0, 2.0, 4.0])).sum(), drive_T)
    assert spikes_T.tolist() == [0, 1, 0]
    assert grad.tolist() == expected


def test_stdb_depends_on_the_last_spike() -> None:
    """STDB's derivative decays with the steps since the neuron's last spike, and is tiny before its first."""
    model = NeuronModel(integrate="raw", surrogate=Surrogate("stdb", scale=0.3), detach_reset=True)
    drive_T = torch.tensor([0.5, 0.5, 0.25, 0.25], requires_grad=True)
    spikes_T, _ = SpikingNeuron(model)(drive_T, 4)
    derivatives = [float(torch.autograd.grad(spike, drive_T, retain_graph=True)[0][t]) for t, spike in enumerate(spikes_T)]
    assert spikes_T.tolist() == [0, 1, 0, 0]
    assert derivatives == pytest.approx([0.3 * math.exp(-0.01 * steps) for steps in (1000, 1001, 1, 2)], rel=1e-5)


def test_learnt_threshold_and_leak() -> None:
    """A threshold learns by g·(-u/θ²), and a leak of 1 by the potential that it keeps (Diet-SNN), worked by hand."""
    model = NeuronModel(integrate="raw", surrogate=Surrogate("rectangle", width=2.0))
    neuron = SpikingNeuron(model, 2.0, trainable=True)
    first, second = neuron(torch.tensor([1.5, 1.0]), 2)[0]
    (threshold_grad,) = torch.autograd.grad(first, neuron.firing_threshold, retain_graph=True)
    (leak_grad,) = torch.autograd.grad(second, neuron.leak)
    assert float(threshold_grad) == 0.5 * -1.5 / 4
    assert float(leak_grad) == 0.5 / 2 * 1.5


@pytest.mark.parametrize(("leak", "threshold", "expected"), [(1.25, 0.5, (1.0, 0.5)), (-0.25, -1.0, (0.0, 1e-3))])
def test_learnt_neurons_are_projected(leak: float, threshold: float, expected: tuple[float, float]) -> None:
    """After a step a learnt leak is within [0, 1] and a learnt threshold above 0; other neurons stay as they are."""
    for trainable in (True, False):
        neuron = SpikingNeuron(NeuronModel(), trainable=trainable)
        neuron.leak.data.fill_(leak)
        neuron.firing_threshold.data.fill_(threshold)
        neuron.project()
        assert (neuron.leak.item(), neuron.firing_threshold.item()) == pytest.approx(expected if trainable else (leak, threshold))
