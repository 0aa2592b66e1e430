"""Max pools of spikes: the logical OR, and the pool whose count is the largest of its window.

Where no window is given it is 2x2 with stride 2, as in layouts.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class _SplitTies(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NCHW: Tensor) -> Tensor:
        pooled = functional.max_pool2d(x_NCHW, 2)
        ctx.save_for_backward(x_NCHW, pooled)
        return pooled

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        x_NCHW, pooled = ctx.saved_tensors
        return upsample_window(grads[0], x_NCHW.shape) * pool_gradient_shares(x_NCHW, pooled, split_ties=True)


class SplitTiesMaxPool(nn.Module):
    """A max pool whose gradient is shared among equal largest inputs, as binary spikes nearly always are.

    ``nn.MaxPool2d`` gives it all to the first of them.
    """

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """``[N, C, H, W]`` to ``[N, C, H // 2, W // 2]``."""
        pooled: Tensor = _SplitTies.apply(x_NCHW)
        return pooled


def pool_gradient_shares(x_NCHW: Tensor, pooled_NCHW: Tensor, *, split_ties: bool) -> Tensor:
    """The share of its window's gradient that every input of a max pool gets, of the input's shape and type."""
    largest = (x_NCHW == upsample_window(pooled_NCHW, x_NCHW.shape, fill=float("nan"))).to(x_NCHW.dtype)
    if split_ties:
        num_largest = functional.avg_pool2d(largest.flatten(end_dim=-4), 2, divisor_override=1)  # time folded into the batch
        return largest / upsample_window(num_largest.view_as(pooled_NCHW), x_NCHW.shape, fill=1.0)
    height, width = (side // 2 * 2 for side in x_NCHW.shape[-2:])
    windows = largest[..., :height, :width].reshape(*largest.shape[:-2], height // 2, 2, width // 2, 2).transpose(-3, -2)
    first = (windows.flatten(-2).cumsum(dim=-1) == 1) * windows.flatten(-2)
    shares = torch.zeros_like(largest)
    shares[..., :height, :width] = first.reshape(windows.shape).transpose(-3, -2).reshape(*largest.shape[:-2], height, width)
    return shares


def upsample_window(pooled_NCHW: Tensor, shape: torch.Size, *, fill: float = 0.0) -> Tensor:
    """Every value of a pool's output at the four inputs that it was made of; ``fill`` where an odd last row has no window."""
    upsampled_NCHW = pooled_NCHW.repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)
    missing = (0, shape[-1] - upsampled_NCHW.shape[-1], 0, shape[-2] - upsampled_NCHW.shape[-2])
    return functional.pad(upsampled_NCHW, missing, value=fill) if any(missing) else upsampled_NCHW


class LargestCountPool(nn.Module):
    """Spikes whenever the largest spike count of its window rises, so that its own count is the largest one at every step.

    A logical OR exceeds it; so does letting every spike of the most active neuron through (Rueckauer et al. 2017, section
    2.2.5), where neurons of like rates take turns in leading.

    Args:
        pool: Of which it has the window.
    """

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.window = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode)

    def forward(self, spikes_TBN: Tensor, time_steps: int, counts: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Spikes ``[T, B, C, H, W]`` to pooled spikes, and every input's spike count for the steps that follow."""
        if counts is None:
            counts = torch.zeros_like(spikes_TBN[0])
        largest = functional.max_pool2d(counts, *self.window)
        pooled_TBN = []
        for spikes in spikes_TBN.expand(time_steps, *spikes_TBN.shape[1:]):
            counts, before = counts + spikes, largest
            largest, winners = functional.max_pool2d(counts, *self.window, return_indices=True)
            # where the largest count has risen, its neuron has just spiked; gathered, so that the gradient reaches it
            passing = spikes.flatten(-2).gather(-1, winners.flatten(-2)).view_as(winners)
            pooled_TBN.append(passing * (largest > before))
        return torch.stack(pooled_TBN), counts
