"""Max pools of spikes: which spikes they let through, and where their gradient goes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from trainables.spiking.pools import LargestCountPool, SplitTiesMaxPool, pool_gradient_shares, upsample_window

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
    shared = torch.where(x == upsample_window(pooled, x.shape), grad, torch.zeros(()))
    assert torch.equal(shared, grad)
    largest = functional.max_pool2d(grad, 2)
    assert torch.equal(grad[grad > 0], upsample_window(largest, x.shape)[grad > 0])


def test_split_ties_by_hand() -> None:
    """Two largest inputs get half each, four a quarter, one all; an odd last column gets nothing."""
    x = torch.tensor([[[[1.0, 0, 1, 1, 9], [1, 0, 1, 1, 9], [2, 1, 0, 0, 9], [0, 0, 0, 3, 9]]]])
    grad = gradient(SplitTiesMaxPool(), x, torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    assert grad[0, 0].tolist() == [[0.5, 0, 0.5, 0.5, 0], [0.5, 0, 0.5, 0.5, 0], [3, 0, 0, 0, 0], [0, 0, 0, 4, 0]]


@given(st.integers(0, 2**32), SIDES, SIDES)
def test_routing(seed: int, height: int, width: int) -> None:
    """The shares of a max pool's gradient are those that autograd uses, ties and odd sides included."""
    x = ties(seed, height, width)
    pooled = functional.max_pool2d(x, 2)
    weights = torch.rand(pooled.shape, generator=torch.Generator().manual_seed(seed)) + 0.5
    expected = gradient(nn.MaxPool2d(2), x, weights)
    assert torch.equal(upsample_window(weights, x.shape) * pool_gradient_shares(x, pooled, split_ties=False), expected)


def largest_count(spikes_TBN: Tensor, pool: nn.MaxPool2d | None = None) -> Tensor:
    pooled: Tensor = LargestCountPool(pool or nn.MaxPool2d(2))(spikes_TBN, len(spikes_TBN))[0]
    return pooled


def test_a_spike_passes_where_the_largest_count_rises() -> None:
    """Two neurons that take turns give the rate of one, where a logical OR gives that of both."""
    first, second, silent = [1, 0, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0], [0] * 6
    # counts:              1-0  1-1  1-2  1-2  1-3  2-3
    spikes_TBN = torch.tensor([first, second, silent, silent], dtype=torch.float32).T.reshape(6, 1, 1, 2, 2)
    assert largest_count(spikes_TBN).flatten().tolist() == [1, 0, 1, 0, 1, 0]
    assert spikes_TBN.amax(dim=(2, 3, 4)).flatten().tolist() == [1, 1, 1, 0, 1, 1]
    in_turn = torch.tensor([[0, 1] * 4, [1, 0] * 4, [0] * 8, [0] * 8], dtype=torch.float32).T.reshape(8, 1, 1, 2, 2)
    assert largest_count(in_turn).flatten().tolist() == [1, 0, 1, 0, 1, 0, 1, 0]


@given(st.integers(0, 2**32), st.integers(1, 20))
def test_the_pooled_count_is_the_largest_count(seed: int, time_steps: int) -> None:
    """At every step, whatever the spikes, a pool's own count is the largest of its window."""
    generator = torch.Generator().manual_seed(seed)
    spikes_TBN = (torch.rand(time_steps, 2, 3, 5, 4, generator=generator) < 0.5).float()
    counts_TBN = spikes_TBN.cumsum(dim=0)
    expected = functional.max_pool2d(counts_TBN.flatten(0, 1), 2).view(time_steps, 2, 3, 2, 2)
    assert torch.equal(largest_count(spikes_TBN).cumsum(dim=0), expected)


@given(st.integers(0, 2**32), st.integers(1, 7))
def test_pieces_equal_one_pass(seed: int, cut: int) -> None:
    """The counts, handed on, give the same spikes in two pieces as in one."""
    pool = LargestCountPool(nn.MaxPool2d(2))
    spikes_TBN = (torch.rand(8, 2, 3, 5, 4, generator=torch.Generator().manual_seed(seed)) < 0.4).float()
    first, counts = pool(spikes_TBN[:cut], cut)
    second, _ = pool(spikes_TBN[cut:], 8 - cut, counts)
    assert torch.equal(torch.cat([first, second]), largest_count(spikes_TBN))


@pytest.mark.parametrize("window", [{"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 2, "ceil_mode": True}])
def test_it_has_the_window_of_its_pool(window: dict[str, int]) -> None:
    """Kernel, stride, padding and rounding are the max pool's: on one step of spikes both are the OR of the same neurons."""
    pool = nn.MaxPool2d(**window)  # type: ignore[arg-type]
    spikes_BCHW = (torch.rand(4, 3, 7, 7, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    assert torch.equal(largest_count(spikes_BCHW[None], pool)[0], pool(spikes_BCHW))
