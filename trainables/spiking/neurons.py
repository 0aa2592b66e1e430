"""Spiking neurons: bddi (Reddy, BITnet README) and leaky integrate-and-fire.

Per neuron and time step, from the drive d_t that the layer delivers, with firing threshold θ and leak λ::

    p_t = clamp(d_t, 0, 1)   if integrate is clamped (bddi), else d_t
    u_t = λ·v_{t-1} + p_t    the membrane potential
    S_t = H(u_t - θ)         the spike, H(0) = 1, in the same step
    v_t = u_t - θ·S_t        soft reset: the remainder is kept
    v_t = u_t·(1 - S_t)      hard reset: it is lost

bddi is the clamped neuron with θ = 1, λ = 1 and soft reset, whose v_t stays in [0, 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.spiking.surrogates import LONG_AGO, Surrogate, spike

MOST_TIME_STEPS = 100_000
"""For which an image may be shown; what is counted for each time step is a list of them."""

Integrate = Literal["clamped", "raw"]
Reset = Literal["soft", "hard"]
InitialMembranePotential = float | Literal["dithered", "learnt"]

DITHER = ((1 / 8, 5 / 8), (7 / 8, 3 / 8))
"""v_0 of the four pixels of a 2x2 window where it is dithered: the ordered dither of Bayer (1973), whose mean is one half."""
LARGEST_FRACTION = 1 - 2**-24
"""The largest float32 below 1, where a learnt v_0 ends."""


@dataclass(frozen=True)
class NeuronModel:
    """The equations that all neurons of a network share; see this module's docstring.

    Attributes:
        integrate: ``clamped`` bounds the drive to [0, 1] before it is added to the membrane potential, ``raw`` adds it as it is.
        reset: ``soft`` subtracts the firing threshold after a spike, ``hard`` sets the membrane potential to 0.
        initial_membrane_potential: v_0, as a fraction of the firing threshold. ``dithered``: one of ``DITHER`` at every pixel of
            a map that a 2x2 pool reads, one half in all other layers. ``learnt``: one for every channel, from one half on.
        gradient_margin: δ ≥ 0 of the straight-through gradient, see ``gradient_mask``.
        surrogate: Stands in for the derivative of a spike in back-propagation through time; None for the straight-through
            gradient.
        detach_reset: Whether the surrogate gradient ignores the reset.
    """

    integrate: Integrate = "clamped"
    reset: Reset = "soft"
    initial_membrane_potential: InitialMembranePotential = 0.0
    surrogate: Surrogate | None = None
    detach_reset: bool = False
    gradient_margin: float = 0.0


class SpikingNeuron(nn.Module):
    """A layer of spiking neurons. It holds no state: it takes and returns the membrane potential.

    Args:
        model: The neuron's equations.
        firing_threshold: θ > 0, of any shape that broadcasts with the layer's output ``[C, H, W]`` or ``[C]``.
        leak: λ in (0, 1]; 1 for none.
        trainable: Whether threshold and leak are learnt (Diet-SNN; one of each a layer); needs a surrogate.
        pooled: Whether a 2x2 pool reads the spikes, on which a dithered initial membrane potential depends.
        channels: The shape of a learnt initial membrane potential: ``[C, 1, 1]`` of a map, ``[C]`` of a linear layer.
    """

    firing_threshold: Tensor
    leak: Tensor

    def __init__(
        self,
        model: NeuronModel,
        firing_threshold: Tensor | float = 1.0,
        *,
        leak: float = 1.0,
        trainable: bool = False,
        pooled: bool = False,
        channels: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.model = model
        self.pooled = pooled
        self.learnt_start: nn.Parameter | None = None
        if model.initial_membrane_potential == "learnt":
            self.learnt_start = nn.Parameter(torch.full(tuple(channels), 0.5))
        self.trainable = trainable
        self.leaks = trainable or leak != 1  # known here, so that no GPU is waited for
        threshold = torch.as_tensor(firing_threshold, dtype=torch.float32).clone()
        if trainable:
            self.firing_threshold, self.leak = nn.Parameter(threshold), nn.Parameter(torch.tensor(leak))
        else:
            self.register_buffer("firing_threshold", threshold)
            self.register_buffer("leak", torch.tensor(leak))

    def start(self, map_shape: Sequence[int]) -> Tensor:
        """θ·v_0, the membrane potential before the first time step, of a shape that broadcasts with ``[C, H, W]`` or ``[C]``.

        Args:
            map_shape: The shape of the layer's output.
        """
        threshold = self.firing_threshold.detach()
        if self.learnt_start is not None:
            return self.learnt_start * threshold
        fraction = self.model.initial_membrane_potential
        if fraction != "dithered":
            return float(fraction) * threshold
        if not self.pooled:
            return 0.5 * threshold
        height, width = map_shape[-2:]
        window = torch.tensor(DITHER, dtype=threshold.dtype, device=threshold.device)
        return window.repeat(-(-height // 2), -(-width // 2))[:height, :width] * threshold

    def forward(self, drive_TBN: Tensor, time_steps: int, membrane_potential: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Spikes in {0, 1}, ``[T, B, …]``, and the membrane potential after the last step, ``[B, …]``.

        Args:
            drive_TBN: What the layer delivers, before any clamp: ``[T, B, …]``, or ``[1, B, …]`` for a drive that is the
                same at every step.
            time_steps: T.
            membrane_potential: From an earlier call whose steps these follow; the initial one unless given.

        Raises:
            ValueError: The first dimension is neither 1 nor ``time_steps``.
        """
        membrane_potential = self._before(drive_TBN, time_steps, membrane_potential)
        if self.model.surrogate is not None and torch.is_grad_enabled():
            return self._with_surrogate(self.model.surrogate, drive_TBN, time_steps, membrane_potential)
        spikes: Tensor
        last: Tensor
        spikes, last = _StraightThrough.apply(
            drive_TBN,
            membrane_potential,
            self.firing_threshold.detach(),
            self.leak.detach() if self.leaks else None,
            self.model,
            time_steps,
        )
        return spikes, last

    @torch.no_grad()
    def trace(self, drive_TBN: Tensor, time_steps: int, membrane_potential: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Spikes as ``forward`` gives them, and the membrane potentials after every step, both ``[T, B, …]``, without gradient.

        Of a clamped neuron with soft reset and θ = 1 spikes so far and potential left add up to v_0 and the clamped drive so far.
        """
        before = self._before(drive_TBN, time_steps, membrane_potential)
        potentials_TBN: list[Tensor] = []
        leak = self.leak if self.leaks else None
        spikes_TBN, _ = _simulate(drive_TBN, before, self.firing_threshold, leak, self.model, time_steps, potentials_TBN)
        return spikes_TBN, torch.stack(potentials_TBN)

    def _before(self, drive_TBN: Tensor, time_steps: int, membrane_potential: Tensor | None) -> Tensor:
        """The membrane potential before the first of some steps, ``[B, …]``; says what is wrong with their drive."""
        if drive_TBN.shape[0] not in (1, time_steps):
            raise ValueError(f"drive_TBN must have 1 or {time_steps} time steps in front, but got {tuple(drive_TBN.shape)}")
        if membrane_potential is not None:
            return membrane_potential
        return self.start(drive_TBN.shape[2:]).expand(drive_TBN.shape[1:])

    def _with_surrogate(
        self, surrogate: Surrogate, drive_TBN: Tensor, time_steps: int, membrane_potential: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The equations step by step, for autograd."""
        p_TBN = functional.hardtanh(drive_TBN, 0.0, 1.0) if self.model.integrate == "clamped" else drive_TBN  # see ClampedReLU
        spikes_TBN = []
        last_spike = torch.full_like(p_TBN[0], LONG_AGO)
        for t, p in enumerate(p_TBN.expand(time_steps, *p_TBN.shape[1:])):
            u = self.leak * membrane_potential + p
            z = u / self.firing_threshold - 1
            spikes = spike(z, surrogate(z.detach(), t - last_spike))
            last_spike = last_spike.masked_fill(spikes.detach().bool(), t)
            resetting = spikes.detach() if self.model.detach_reset else spikes
            hard = self.model.reset == "hard"
            membrane_potential = u * (1 - resetting) if hard else u - self.firing_threshold * resetting
            spikes_TBN.append(spikes)
        return torch.stack(spikes_TBN), membrane_potential

    @torch.no_grad()
    def project(self) -> None:
        """After an optimiser step, bring a learnt leak back into [0, 1], a learnt threshold above 0, a learnt v_0 into [0, 1).

        A clamp within the equations would not do: its gradient is 0 on the bound where the leak starts.
        """
        if self.trainable:
            self.leak.clamp_(0, 1)
            self.firing_threshold.clamp_(min=1e-3)
        if self.learnt_start is not None:
            self.learnt_start.clamp_(0, LARGEST_FRACTION)


class _StraightThrough(torch.autograd.Function):
    """The equations with the straight-through gradient (slope 1, reset attached).

    With slope g, dL/dp_t = g dL/dS_t + (1 - g) dL/dv_t, so at g = 1 the temporal term vanishes and the gradient is local
    in time. Clamped (θ = 1): dL/dd_t = dL/dS_t where 0 < d_t < 1, else 0 (the rule of torch.clamp). Raw: dL/dd_t = dL/dS_t / θ
    for neurons whose mean drive is within (0, θ), as the rate is clipped there (DSR, Meng et al. 2022, eq. 11). A margin widens
    these bounds (``gradient_mask``). Only that mask is kept for the backward pass. The membrane potential before the first step
    moves u_1 alone, whatever the drive is: dL/dv_0 = λ·dL/dS_1 / θ.
    """

    @staticmethod
    def forward(
        ctx: Any,
        drive_TBN: Tensor,
        membrane_potential: Tensor,
        firing_threshold: Tensor,
        leak: Tensor | None,
        model: NeuronModel,
        time_steps: int,
    ) -> tuple[Tensor, Tensor]:
        spikes_TBN, v = _simulate(drive_TBN, membrane_potential, firing_threshold, leak, model, time_steps)
        ctx.mark_non_differentiable(v)
        ctx.constant, ctx.clamped = drive_TBN.shape[0] == 1, model.integrate == "clamped"
        if any(ctx.needs_input_grad[:2]):
            ctx.save_for_backward(gradient_mask(drive_TBN, firing_threshold, model), firing_threshold, leak)
        return spikes_TBN, v

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None, None, None]:
        inside_TBN, firing_threshold, leak = ctx.saved_tensors
        grad_TBN, grad_start = grads[0], None
        if ctx.needs_input_grad[1]:
            grad_start = grad_TBN[0] / firing_threshold if leak is None else leak * grad_TBN[0] / firing_threshold
        if ctx.constant:  # a drive constant in time gathers the gradient of every step
            grad_TBN = grad_TBN.sum(dim=0, keepdim=True)
        grad_TBN = grad_TBN * inside_TBN
        return grad_TBN if ctx.clamped else grad_TBN / firing_threshold, grad_start, None, None, None, None


def _simulate(
    drive_TBN: Tensor,
    membrane_potential: Tensor,
    firing_threshold: Tensor,
    leak: Tensor | None,
    model: NeuronModel,
    time_steps: int,
    potentials_TBN: list[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """The equations step by step, without gradient: spikes and the last membrane potential; those of all steps are appended."""
    p_TBN = drive_TBN.clamp(0, 1) if model.integrate == "clamped" else drive_TBN
    p_TBN = p_TBN.expand(time_steps, *drive_TBN.shape[1:])
    one_BN = torch.empty_like(p_TBN[0])  # as the drive lies in memory, with channels first or last
    spikes_TBN = one_BN.new_empty_strided(p_TBN.shape, (one_BN.numel(), *one_BN.stride()))
    v = torch.empty_like(one_BN, dtype=torch.promote_types(drive_TBN.dtype, torch.float32))  # sums of T drives
    v.copy_(membrane_potential)
    for p, spikes in zip(p_TBN, spikes_TBN, strict=True):
        if leak is not None:
            v *= leak
        v += p
        torch.ge(v, firing_threshold, out=spikes)
        if model.reset == "soft":
            v.addcmul_(spikes, firing_threshold, value=-1)
        else:
            v *= 1 - spikes
        if potentials_TBN is not None:
            potentials_TBN.append(v.clone())
    return spikes_TBN, v


def gradient_mask(drive_TBN: Tensor, firing_threshold: Tensor, model: NeuronModel) -> Tensor:
    """Where the straight-through gradient passes, as booleans: ``[T, B, …]`` for a clamped drive, ``[1, B, …]`` for a raw one.

    With the margin δ these are the drives in (-δ, 1 + δ), or the mean drives in (-δθ, (1 + δ)θ).
    """
    margin = model.gradient_margin
    if model.integrate == "clamped":
        return (drive_TBN > -margin) & (drive_TBN < 1 + margin)
    mean_drive = drive_TBN.mean(dim=0, keepdim=True)
    return (mean_drive > -margin * firing_threshold) & (mean_drive < (1 + margin) * firing_threshold)
