"""Neurons: trajectories, the closed form of bddi, the straight-through gradient, agreement with SpikingJelly."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainables.spiking.neurons import Integrate, NeuronModel, Reset, SpikingNeuron


def bddi(drive_TBN: Tensor, time_steps: int) -> Tensor:
    """The spikes of BITnet's neuron."""
    spikes: Tensor = SpikingNeuron(NeuronModel())(drive_TBN, time_steps)[0]
    return spikes


class StraightThroughSpike(torch.autograd.Function):
    """H(u - 1) with slope 1, for the reference loop."""

    @staticmethod
    def forward(_: Any, u: Tensor) -> Tensor:
        return (u >= 1).to(u.dtype)

    @staticmethod
    def backward(_: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def reference_loop(drive_TB: Tensor) -> Tensor:
    """The equations of the neuron, step by step, for autograd: slope 1, reset attached."""
    s = torch.zeros_like(drive_TB[0])
    spikes = []
    for drive in drive_TB:
        p = drive.clamp(0, 1)
        u = s + p
        spike = StraightThroughSpike.apply(u)
        s = u - spike
        spikes.append(spike)
    return torch.stack(spikes)


def test_trajectory() -> None:
    """A neuron spikes when its membrane potential reaches 1, keeps the remainder, and sees no drive outside [0, 1]."""
    drive_T = torch.tensor([0.25, 0.75, 0.5, 0.75, -3.0, 0.5, 7.0, 1.0])
    # u:                     .25   1     .5   1.25   .25  .75  1.75 1.75
    assert bddi(drive_T, 8).tolist() == [0, 1, 0, 1, 0, 0, 1, 1]


@given(st.lists(st.lists(st.integers(-64, 192), min_size=3, max_size=3), min_size=1, max_size=40))
def test_closed_form(sixtyfourths_TN: list[list[int]]) -> None:
    """Spikes are the steps of the floor of the summed drive, S_t = floor(P_t) - floor(P_{t-1}), exactly for dyadic drives."""
    drive_TN = torch.tensor(sixtyfourths_TN, dtype=torch.float32) / 64
    floor_TN = drive_TN.clamp(0, 1).cumsum(0).floor()
    before_TN = torch.cat([torch.zeros(1, 3), floor_TN[:-1]])
    assert torch.equal(bddi(drive_TN, len(drive_TN)), floor_TN - before_TN)


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_spikes_and_gradient_equal_the_loop(seed: int, time_steps: int) -> None:
    """For any drive, spikes and gradient are those of autograd through the sequential loop, to the bit."""
    generator = torch.Generator().manual_seed(seed)
    drive = torch.randn(time_steps, 2, 5, generator=generator).requires_grad_()
    weights = torch.randn(time_steps, 2, 5, generator=generator)
    (grad,) = torch.autograd.grad((bddi(drive, time_steps) * weights).sum(), drive)
    (expected,) = torch.autograd.grad((reference_loop(drive) * weights).sum(), drive)
    assert torch.equal(bddi(drive, time_steps), reference_loop(drive))
    torch.testing.assert_close(grad, expected, rtol=1e-5, atol=1e-6)  # the loop sums terms that cancel


def test_constant_drive() -> None:
    """A drive given once for all steps acts as the same drive repeated, and gathers the gradient of every step."""
    drive = torch.tensor([[0.3, -0.2, 0.9, 1.5]], requires_grad=True)
    weights = torch.arange(20.0).reshape(5, 4)
    (grad,) = torch.autograd.grad((bddi(drive, 5) * weights).sum(), drive)
    assert torch.equal(bddi(drive, 5), bddi(drive.expand(5, 4), 5))
    assert grad.tolist() == [[40.0, 0.0, 50.0, 0.0]]


def test_wrong_number_of_steps_is_refused() -> None:
    """A drive for another number of steps is an error that says both."""
    with pytest.raises(ValueError, match=r"1 or 4 time steps in front, but got \(3, 2\)"):
        bddi(torch.zeros(3, 2), 4)


MODELS = [NeuronModel(integrate=integrate, reset=reset) for integrate in ("clamped", "raw") for reset in ("soft", "hard")]


def run(model: NeuronModel, drive_TN: Tensor, *, firing_threshold: float = 1.0, leak: float = 1.0) -> tuple[list[float], float]:
    """Spikes and the last membrane potential of one neuron."""
    neuron = SpikingNeuron(model, firing_threshold, leak=leak)
    spikes_T, last = neuron(drive_TN, len(drive_TN))
    return spikes_T.tolist(), float(last)


@pytest.mark.parametrize(
    ("integrate", "reset", "spikes", "last"),
    [
        ("clamped", "soft", [0, 1, 1, 1, 0, 0, 1], 0.25),  # u: .5  1.5  1.25  1    0   .5  1.25
        ("clamped", "hard", [0, 1, 0, 1, 0, 0, 1], 0.0),  # u: .5  1.5   .75  1.5   0   .5  1.25
        ("raw", "soft", [0, 1, 1, 1, 0, 0, 0], 0.75),  # u:    .5  2    1.75  1.5  -.5  0    .75
        ("raw", "hard", [0, 1, 0, 1, 0, 0, 0], 0.25),  # u:    .5  2     .75  1.5  -1  -.5   .25
    ],
)
def test_clamp_and_reset(integrate: Integrate, reset: Reset, spikes: list[int], last: float) -> None:
    """Clamped or raw drives and soft or hard resets give four different trajectories, worked by hand."""
    drive_T = torch.tensor([0.5, 1.5, 0.75, 0.75, -1.0, 0.5, 0.75])
    assert run(NeuronModel(integrate=integrate, reset=reset), drive_T) == (spikes, last)


def test_leak() -> None:
    """A leak multiplies the membrane potential before the drive arrives, worked by hand."""
    # u: .75  1.125  .5625  1.03125
    drive_T = torch.tensor([0.75, 0.75, 0.5, 0.75])
    assert run(NeuronModel(integrate="raw"), drive_T, leak=0.5) == ([0, 1, 0, 1], 0.03125)


def test_initial_membrane_potential() -> None:
    """The first step starts at a fraction of the firing threshold, worked by hand."""
    # u: 1 + .75  2  1.5  2.5
    model = NeuronModel(integrate="raw", initial_membrane_potential=0.5)
    assert run(model, torch.tensor([0.75, 0.25, 1.5, 1.0]), firing_threshold=2.0) == ([0, 1, 0, 1], 0.5)


@given(
    st.lists(st.lists(st.integers(-16, 40), min_size=3, max_size=3), min_size=1, max_size=30),
    st.integers(1, 24),
    st.sampled_from(["soft", "hard"]),
)
def test_raw_neurons_equal_spikingjelly(eighths_TN: list[list[int]], threshold_eighths: int, reset: Reset) -> None:
    """On dyadic drives, every spike and the last membrane potential are those of SpikingJelly's integrate-and-fire neuron."""
    from spikingjelly.activation_based.neuron import IFNode

    drive_TN = torch.tensor(eighths_TN, dtype=torch.float32) / 8
    theirs = IFNode(v_threshold=threshold_eighths / 8, v_reset=None if reset == "soft" else 0.0, step_mode="m")
    ours = SpikingNeuron(NeuronModel(integrate="raw", reset=reset), threshold_eighths / 8)
    spikes_TN, last_N = ours(drive_TN, len(drive_TN))
    assert torch.equal(spikes_TN, theirs(drive_TN))
    assert torch.equal(last_N, theirs.v)


@given(st.integers(0, 2**32), st.integers(1, 7), st.sampled_from(MODELS), st.sampled_from([1.0, 0.9]))
def test_pieces_equal_one_pass(seed: int, cut: int, model: NeuronModel, leak: float) -> None:
    """Time steps in two pieces, the membrane potential handed on, give the spikes of one pass to the bit."""
    drive_TN = torch.randn(8, 5, generator=torch.Generator().manual_seed(seed)) + 0.3
    neuron = SpikingNeuron(model, 0.7, leak=leak)
    whole, last = neuron(drive_TN, 8)
    first, between = neuron(drive_TN[:cut], cut)
    second, end = neuron(drive_TN[cut:], 8 - cut, between)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(end, last)


@given(st.integers(-40, 104), st.integers(1, 60))
def test_the_rate_approaches_the_clamped_drive(sixtyfourths: int, time_steps: int) -> None:
    """The rate of a soft-reset neuron under a constant drive d is clamp(d, 0, 1) within 1/T, clamped or raw."""
    drive = torch.tensor([[sixtyfourths / 64]])
    for integrate in ("clamped", "raw"):
        rate = float(SpikingNeuron(NeuronModel(integrate=integrate))(drive, time_steps)[0].mean())
        assert abs(rate - min(max(sixtyfourths / 64, 0), 1)) <= 1 / time_steps


def test_straight_through_gradient_of_a_raw_neuron() -> None:
    """dL/dS_t / θ passes at every step to a neuron whose mean drive is within (0, θ), whatever the single drives are."""
    drive_TN = torch.tensor([[-1.0, 1.0, 3.0, -1.0], [0.0, 1.0, 1.0, 3.0]], requires_grad=True)  # means: -.5  1  2  1
    weights_TN = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    spikes_TN, _ = SpikingNeuron(NeuronModel(integrate="raw"), 2.0)(drive_TN, 2)
    (grad,) = torch.autograd.grad((spikes_TN * weights_TN).sum(), drive_TN)
    assert grad.tolist() == [[0, 1, 0, 2], [0, 3, 0, 4]]
