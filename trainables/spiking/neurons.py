"""The bddi neuron of BITnet (Reddy, BITnet README): bounded drive, discrete integration.

Per neuron and time step, from the drive :math:`d_t` that the layer delivers::

    p_t = clamp(d_t, 0, 1)
    u_t = s_{t-1} + p_t          the membrane potential
    S_t = H(u_t - 1)             the spike, H(0) = 1
    s_t = u_t - S_t              soft reset; the remainder stays in [0, 1)
"""

from typing import Any

import torch
from torch import Tensor


class _Bddi(torch.autograd.Function):
    """bddi with the straight-through gradient (slope 1, reset attached).

    With slope g, dL/dp_t = g dL/dS_t + (1 - g) dL/ds_t, so at g = 1 the temporal term vanishes and the gradient is local
    in time: dL/dd_t = dL/dS_t where 0 < d_t < 1, else 0 (the rule of torch.clamp). Only that mask is kept for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, drive_TBN: Tensor, time_steps: int) -> Tensor:
        p_TBN = drive_TBN.clamp(0, 1).expand(time_steps, *drive_TBN.shape[1:])
        spikes_TBN = torch.empty_like(p_TBN, memory_format=torch.contiguous_format)
        membrane_potential = torch.zeros_like(p_TBN[0])
        for p, spikes in zip(p_TBN, spikes_TBN, strict=True):
            membrane_potential += p
            torch.ge(membrane_potential, 1, out=spikes)
            membrane_potential -= spikes
        ctx.save_for_backward((drive_TBN > 0) & (drive_TBN < 1))
        return spikes_TBN

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (inside_TBN,) = ctx.saved_tensors
        (grad_TBN,) = grads
        if inside_TBN.shape[0] == 1:  # a drive constant in time gathers the gradient of every step
            grad_TBN = grad_TBN.sum(dim=0, keepdim=True)
        return grad_TBN * inside_TBN, None


def bddi(drive_TBN: Tensor, time_steps: int) -> Tensor:
    """Spikes of a layer of bddi neurons that start at membrane potential 0.

    Args:
        drive_TBN: What the layer delivers, before the clamp: ``[T, B, …]``, or ``[1, B, …]`` for a drive that is the
            same at every step.
        time_steps: T.

    Returns:
        Spikes in {0, 1}, of the drive's type, ``[T, B, …]``.

    Raises:
        ValueError: The first dimension is neither 1 nor ``time_steps``.
    """
    if drive_TBN.shape[0] not in (1, time_steps):
        raise ValueError(f"drive_TBN must have 1 or {time_steps} time steps in front, but got {tuple(drive_TBN.shape)}")
    spikes: Tensor = _Bddi.apply(drive_TBN, time_steps)
    return spikes
