"""Activations of analogue networks that have a spiking counterpart."""

import torch
from torch import Tensor, nn


class ClampedReLU(nn.Module):
    """clamp(x, 0, 1): what a bddi neuron's rate is for a drive constant in time."""

    def forward(self, drive: Tensor) -> Tensor:
        """Any shape."""
        return drive.clamp(0, 1)


class QCFS(nn.Module):
    """a = λ·clip(⌊zL/λ + ½⌋/L, 0, 1) with a straight-through floor and a trainable λ (Bu et al. 2022, eq. 15).

    An integrate-and-fire neuron with firing threshold λ and initial membrane potential λ/2 has this rate after L steps.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        # the step λ/L must be below what a freshly initialised layer gives, or all of it rounds to 0 and stays there
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, drive: Tensor) -> Tensor:
        """Any shape."""
        position = drive * self.levels / self.scale + 0.5
        # at 0.5 the straight-through floor has the value of the floor and the gradient of its argument
        quantised = position + (position.floor() - position).detach()
        return self.scale * (quantised / self.levels).clamp(0, 1)

    def project(self) -> None:
        """After an optimiser step, keep λ above 0, or the steps would turn around."""
        with torch.no_grad():
            self.scale.clamp_(min=1e-3)


ACTIVATIONS = (nn.ReLU, ClampedReLU, QCFS)
