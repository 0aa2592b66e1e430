"""Surrogate gradients: what replaces the derivative of the spike S = H(z) in the backward pass.

u is the membrane potential, θ the firing threshold, z = u/θ - 1 the distance to it. Every shape but ``stdb`` has area 1 over z,
so that they differ in form alone; ``width`` stretches it, ``scale`` multiplies it.
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
"""The time step of the last spike of a neuron that has never spiked; its STDB gradient is scale·e^-10 (Rathi et al. 2020)."""


@dataclass(frozen=True)
class Surrogate:
    """A surrogate gradient dS/dz: a shape, its width w in firing thresholds, and its area (``scale``).

    ``arctan``: 1 / (πw(1 + (z/w)²)), w = 1/π is Fang et al.'s α = 2; ``triangle``: max(0, 1 - |z|/w)/w, scale 0.3 is
    Diet-SNN's; ``rectangle``: 1/w where |z| < w/2 (STBP); ``sigmoid``: σ'(z/w)/w; ``stdb``: e^(-βΔt), Δt the steps since
    the neuron's last spike, whatever z is, with scale α = 0.3 (Rathi et al. 2020, eq. 8).
    """

    shape: Shape
    width: float = 1.0
    scale: float = 1.0

    def __call__(self, z: Tensor, steps_since_spike: Tensor) -> Tensor:
        """dS/dz of every neuron; any shape.

        Args:
            z: u/θ - 1.
            steps_since_spike: Time steps since the neuron's last spike, for ``stdb``.
        """
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
    """H(z), with H(0) = 1 and ``derivative`` as its derivative in the backward pass; any shape."""
    spikes: Tensor = _Spike.apply(z, derivative)
    return spikes
