"""Activations of analogue networks that have a spiking counterpart."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class ClampedReLU(nn.Module):
    """clamp(x, 0, 1): what a bddi neuron's rate is for a drive constant in time. Its gradient is 1 where 0 < x < 1, else 0."""

    def forward(self, drive: Tensor) -> Tensor:
        """Any shape."""
        # to the bit what torch.clamp and its gradient give, at a fifth of their time on a CPU
        return functional.hardtanh(drive, 0.0, 1.0)


class QCFS(nn.Module):
    """a = λ·clip(⌊zL/λ + ½⌋/L, 0, 1) with a straight-through floor and a trainable λ (Bu et al. 2022, eq. 15).

    An integrate-and-fire neuron with firing threshold λ and initial membrane potential λ/2 has this rate after L steps. With
    zL/λ + ½ in (0, L), da/dz = 1 and da/dλ = (a - z)/λ; below da/dλ = 0, above 1, and da/dz = 0.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        # the step λ/L must be below what a freshly initialised layer gives, or all of it rounds to 0 and stays there
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, drive: Tensor) -> Tensor:
        """Any shape."""
        activation: Tensor = _QCFS.apply(drive, self.scale, self.levels)
        return activation

    def project(self) -> None:
        """After an optimiser step, keep λ above 0, or the steps would turn around."""
        with torch.no_grad():
            self.scale.clamp_(min=1e-3)


class _QCFS(torch.autograd.Function):
    """Six passes over memory forward and six backward, a third of autograd's time; none in place, which is slow in bfloat16."""

    @staticmethod
    def forward(ctx: Any, drive: Tensor, scale: Tensor, levels: int) -> Tensor:
        ratio = drive / scale
        step = torch.add(ratio.new_tensor(0.5), ratio, alpha=levels).floor()
        activation = functional.hardtanh(step, 0.0, levels) * (scale / levels)
        ctx.levels = levels
        ctx.save_for_backward(ratio, activation, scale)
        return activation

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        ratio, activation, scale = ctx.saved_tensors
        half_step = 0.5 / ctx.levels
        grad_drive = torch.ops.aten.hardtanh_backward(grads[0], ratio, -half_step, 1 - half_step)
        if not ctx.needs_input_grad[1]:
            return grad_drive, None, None
        return grad_drive, _total(grads[0] * activation, scale) / scale - _total(grad_drive * ratio, scale), None


def _total(values_NCN: Tensor, like: Tensor) -> Tensor:
    """The sum of all values in the type of ``like``: first over every map, which is fast in bfloat16 too."""
    maps = tuple(range(2, values_NCN.dim()))
    return (values_NCN.sum(dim=maps) if maps else values_NCN).sum(dtype=like.dtype)


ACTIVATIONS = (nn.ReLU, ClampedReLU, QCFS)
