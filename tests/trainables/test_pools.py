"""Max pools of spikes: which spikes they let through, and where their gradient goes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from trainables.spiking.pools import GatedMaxPool, SplitTiesMaxPool, routing, spread

SIDES = st.integers(2, 7)


def ties(seed: int, height: int, width: int) -> Tensor:
    """Few different values, so that most windows have several largest ones."""
    return torch.randint(0, 3, (2, 3, height, width), generator=torch.Generator().manual_seed(seed)).float()


def gradient(pool: nn.Module, x_NCHW: Tensor, weights_NCHW: Tensor) -> Tensor:
    x_NCHW = x_NCHW.clone().requires_grad_()
    (grad,) = torch.autograd.grad((pool(x_NCHW) * weights_NCHW).sum(), x_NCHW)
    return grad


@given(st.integers(0, 2**32), SIDES, SIDES)
def test_split_ties(seed: int, height: int, width: int) -> None:
    """The pool's values are the usual ones; a window's gradient is shared equally by its largest inputs, all of it."""
    x = ties(seed, height, width)
    pooled = functional.max_pool2d(x, 2)
    assert torch.equal(SplitTiesMaxPool()(x), pooled)
    weights = torch.rand(pooled.shape, generator=torch.Generator().manual_seed(seed)) + 0.5
    grad = gradient(SplitTiesMaxPool(), x, weights)
    torch.testing.assert_close(functional.avg_pool2d(grad, 2, divisor_override=1), weights)
    assert float(grad.sum()) == pytest.approx(float(weights.sum()))  # nothing for an odd last row or column
    shared = torch.where(x == spread(pooled, x.shape), grad, torch.zeros(()))
    assert torch.equal(shared, grad)
    largest = functional.max_pool2d(grad, 2)
    assert torch.equal(grad[grad > 0], spread(largest, x.shape)[grad > 0])


def test_split_ties_by_hand() -> None:
    """Two largest inputs get half each, four a quarter, one all; an odd last column gets nothing."""
    x = torch.tensor([[[[1.0, 0, 1, 1, 9], [1, 0, 1, 1, 9], [2, 1, 0, 0, 9], [0, 0, 0, 3, 9]]]])
    grad = gradient(SplitTiesMaxPool(), x, torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    assert grad[0, 0].tolist() == [[0.5, 0, 0.5, 0.5, 0], [0.5, 0, 0.5, 0.5, 0], [3, 0, 0, 0, 0], [0, 0, 0, 4, 0]]


@given(st.integers(0, 2**32), SIDES, SIDES)
def test_routing(seed: int, height: int, width: int) -> None:
    """The routing of a max pool is the one that autograd uses, ties and odd sides included."""
    x = ties(seed, height, width)
    pooled = functional.max_pool2d(x, 2)
    weights = torch.rand(pooled.shape, generator=torch.Generator().manual_seed(seed)) + 0.5
    expected = gradient(nn.MaxPool2d(2), x, weights)
    assert torch.equal(spread(weights, x.shape) * routing(x, pooled, split_ties=False), expected)


def gated(spikes_TBN: Tensor, pool: nn.MaxPool2d | None = None) -> Tensor:
    pooled: Tensor = GatedMaxPool(pool or nn.MaxPool2d(2))(spikes_TBN, len(spikes_TBN))[0]
    return pooled


def test_the_gate_follows_the_most_active_neuron() -> None:
    """At every step the spike of the neuron that has spiked most so far passes, this step included; the first among equals."""
    first, second, silent = [1, 0, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0], [0] * 6
    # counts:              1-0  1-1  1-2  1-2  1-3  2-3
    spikes_TBN = torch.tensor([first, second, silent, silent], dtype=torch.float32).T.reshape(6, 1, 1, 2, 2)
    assert gated(spikes_TBN).flatten().tolist() == [1, 0, 1, 0, 1, 0]
    assert spikes_TBN.amax(dim=(2, 3, 4)).flatten().tolist() == [1, 1, 1, 0, 1, 1]  # the OR lets more through


@given(st.lists(st.integers(0, 32), min_size=4, max_size=4))
def test_the_gated_rate_is_the_largest_rate(thirtyseconds: list[int]) -> None:
    """For constant rates, after a while, the gate lets as many spikes through as the most active neuron has, within 1."""
    rates = torch.tensor(thirtyseconds) / 32
    t = torch.arange(1, 257)[:, None]
    spikes_TN = (t * rates).floor() - ((t - 1) * rates).floor()
    pooled_T = gated(spikes_TN.reshape(256, 1, 1, 2, 2)).flatten()
    assert abs(float(pooled_T[128:].sum()) - 128 * float(rates.max())) <= 1


@given(st.integers(0, 2**32), st.integers(1, 7))
def test_pieces_equal_one_pass(seed: int, cut: int) -> None:
    """The gate's counts, handed on, let the same spikes through in two pieces as in one."""
    pool = GatedMaxPool(nn.MaxPool2d(2))
    spikes_TBN = (torch.rand(8, 2, 3, 5, 4, generator=torch.Generator().manual_seed(seed)) < 0.4).float()
    first, counts = pool(spikes_TBN[:cut], cut)
    second, _ = pool(spikes_TBN[cut:], 8 - cut, counts)
    assert torch.equal(torch.cat([first, second]), gated(spikes_TBN))


@pytest.mark.parametrize("window", [{"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 2, "ceil_mode": True}])
def test_the_gate_has_the_window_of_its_pool(window: dict[str, int]) -> None:
    """Kernel, stride, padding and rounding are the max pool's: on one step of spikes both are the OR of the same neurons."""
    pool = nn.MaxPool2d(**window)  # type: ignore[arg-type]
    spikes_BCHW = (torch.rand(4, 3, 7, 7, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    assert torch.equal(gated(spikes_BCHW[None], pool)[0], pool(spikes_BCHW))
