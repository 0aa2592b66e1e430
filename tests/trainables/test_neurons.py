"""The bddi neuron: its trajectory, its closed form, its gradient."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainables.spiking.neurons import NeuronModel, SpikingNeuron


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
