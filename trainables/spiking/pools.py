"""Max pools of spikes: the logical OR of a window, and the pool whose spike count is the largest count of its window.

Windows are 2x2 with stride 2, as in layouts, unless a pool says otherwise.
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
    """A 2x2 max pool that shares its gradient equally among the largest inputs of a window; ties are common among binary spikes.

    ``nn.MaxPool2d`` gives the whole gradient to the first of them.
    """

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """``[N, C, H, W]`` to ``[N, C, H // 2, W // 2]``."""
        pooled: Tensor = _SplitTies.apply(x_NCHW)
        return pooled


def pool_gradient_shares(x_NCHW: Tensor, pooled_NCHW: Tensor, *, split_ties: bool) -> Tensor:
    """Which share of the gradient of its 2x2 window every input of a max pool gets; of the input's shape and type.

    With ``split_ties`` all largest inputs share it, else the first of them gets all. An odd last row or column gets none.
    """
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
    """Repeat every value of a pool's output over its 2x2 window, up to ``shape``; an odd last row or column gets ``fill``."""
    upsampled_NCHW = pooled_NCHW.repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)
    missing = (0, shape[-1] - upsampled_NCHW.shape[-1], 0, shape[-2] - upsampled_NCHW.shape[-2])
    return functional.pad(upsampled_NCHW, missing, value=fill) if any(missing) else upsampled_NCHW


class LargestCountPool(nn.Module):
    """A pool that spikes whenever the largest spike count of its window rises; so its own count equals that largest count.

    A logical OR spikes more often than that. So does a gate that lets every spike of the neuron with the largest count through
    (Rueckauer et al. 2017, section 2.2.5), where neurons with similar rates take turns in having it.

    Args:
        pool: The max pool that it replaces, whose window it takes.
    """

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.window = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode)

    def forward(self, spikes_TBN: Tensor, time_steps: int, counts: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pooled spikes ``[T, B, C, H', W']``, and the spike counts of the inputs, ``[B, C, H, W]``, for steps that follow.

        Args:
            spikes_TBN: ``[T, B, C, H, W]``, or ``[1, B, C, H, W]`` if they are the same at every step.
            time_steps: T.
            counts: What an earlier call returned, whose steps these follow.
        """
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
