"""Surrogate gradients: what stands in for the derivative of the spike S = H(z), z = u/θ - 1, in the backward pass.

Every shape but ``stdb`` is a density over z of area 1, so that they differ in form alone; ``width`` stretches it, ``scale``
multiplies it.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Shape = Literal["arctan", "triangle", "rectangle", "sigmoid", "stdb"]
STDB_DECAY = 0.01
"""β of spike-time-dependent back-propagation, per time step (Rathi et al. 2020)."""
LONG_AGO = -1000
"""The last spike of a neuron that has never spiked, as a time step; its STDB gradient is scale·e^-10 (Rathi et al.)."""


@dataclass(frozen=True)
class Surrogate:
    """A shape with its width and scale.

    ``arctan``: 1 / (πw(1 + (z/w)²)), w = 1/π is Fang et al.'s α = 2; ``triangle``: max(0, 1 - |z|/w)/w, scale 0.3 is
    Diet-SNN's; ``rectangle``: 1/w where |z| < w/2 (STBP); ``sigmoid``: σ'(z/w)/w; ``stdb``: e^(-βΔt), Δt the steps since
    the neuron's last spike, whatever z is, with scale α = 0.3 (Rathi et al. 2020, eq. 8).
    """

    shape: Shape
    width: float = 1.0
    scale: float = 1.0

    def __call__(self, z: Tensor, steps_since_spike: Tensor) -> Tensor:
        """dS/dz."""
        w = self.width
        if self.shape == "arctan":
            density = 1 / (math.pi * w * (1 + (z / w) ** 2))
        elif self.shape == "triangle":
            density = (1 - z.abs() / w).clamp(min=0) / w
        elif self.shape == "rectangle":
            density = (z.abs() < w / 2) / w
        elif self.shape == "sigmoid":
            density = torch.sigmoid(z / w) * torch.sigmoid(-z / w) / w
        else:
            density = torch.exp(-STDB_DECAY * steps_since_spike)
        return self.scale * density


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, derivative: Tensor) -> Tensor:
        ctx.save_for_backward(derivative)
        return (z >= 0).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (derivative,) = ctx.saved_tensors
        return grads[0] * derivative, None


def spike(z: Tensor, derivative: Tensor) -> Tensor:
    """H(z) with H(0) = 1, and ``derivative`` for its derivative; any shape."""
    spikes: Tensor = _Spike.apply(z, derivative)
    return spikes
