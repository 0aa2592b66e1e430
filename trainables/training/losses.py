"""Losses on the outputs of all time steps, ``[T, B, classes]``."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from trainables.data.label_mixing import shares_of_classes

Loss = Literal["mse", "cross_entropy"]
LossOfOutputs = Callable[[Tensor, Tensor], Tensor]
"""Of outputs ``[T, B, classes]`` and targets: labels ``[B]``, or the share of every class ``[B, classes]``."""

LOGITS_PER_RATE = 10.0
"""Spike rates lie in [0, 1]; as logits they are stretched, or no softmax over them could be sure of anything."""


def logits_of_rates(spikes_TBK: Tensor) -> Tensor:
    """10·Σ_t S_t / T, of output neurons."""
    return LOGITS_PER_RATE * spikes_TBK.mean(dim=0)


def logits_of_drives(drive_TBK: Tensor) -> Tensor:
    """Σ_t d_t / T, of an output layer that does not spike."""
    return drive_TBK.mean(dim=0) if len(drive_TBK) > 1 else drive_TBK.squeeze(0)


def mse_of_rates(spikes_TBK: Tensor, targets: Tensor) -> Tensor:
    """MSE(clamp(Σ_t S_t, max=T) / T, targets), the BITnet README's loss, averaged over batch and classes."""
    time_steps, _, num_classes = spikes_TBK.shape
    rates_BK = spikes_TBK.sum(dim=0).clamp(max=time_steps) / time_steps
    return functional.mse_loss(rates_BK, shares_of_classes(targets, num_classes))


def cross_entropy_of_rates(spikes_TBK: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of softmax(10·Σ_t S_t / T)."""
    return functional.cross_entropy(logits_of_rates(spikes_TBK), targets)


def mse_of_drives(drive_TBK: Tensor, targets: Tensor) -> Tensor:
    """MSE(Σ_t d_t / T, targets), averaged over batch and classes, for an output layer that does not spike."""
    mean_BK = logits_of_drives(drive_TBK)
    return functional.mse_loss(mean_BK, shares_of_classes(targets, mean_BK.shape[1]))


def cross_entropy_of_logits(outputs_TBK: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of softmax(Σ_t d_t / T), for an output layer that does not spike."""
    return functional.cross_entropy(logits_of_drives(outputs_TBK), targets)


SPIKE_LOSSES = {"mse": mse_of_rates, "cross_entropy": cross_entropy_of_rates}
DRIVE_LOSSES = {"mse": mse_of_drives, "cross_entropy": cross_entropy_of_logits}


def loss_of_outputs(name: Loss, *, spiking: bool, tet_lambda: float | None = None) -> LossOfOutputs:
    """The loss called ``name`` for an output layer that spikes or does not; with a ``tet_lambda`` that of every time step."""
    loss = (SPIKE_LOSSES if spiking else DRIVE_LOSSES)[name]
    return loss if tet_lambda is None else partial(loss_at_each_step, loss=loss, tet_lambda=tet_lambda)


def loss_at_each_step(outputs_TBK: Tensor, targets: Tensor, *, loss: LossOfOutputs, tet_lambda: float) -> Tensor:
    """(1 - λ)/T Σ_t loss(o_t) + λ mean (o - 1)², for an output layer that does not spike (TET, Deng et al. 2022)."""
    every_1NK = outputs_TBK.flatten(0, 1).unsqueeze(0)  # a mean over images, of which every time step is one
    total = loss(every_1NK, torch.cat([targets] * len(outputs_TBK)))
    return (1 - tet_lambda) * total + tet_lambda * (every_1NK - 1).square().mean()


def divergence_from_teacher(outputs_TBK: Tensor, teacher_BK: Tensor, *, spiking: bool, temperature: float) -> Tensor:
    """τ² KL(softmax(z/τ) ‖ softmax(o/τ)), a mean over images (Hinton et al. 2015): z are the teacher's logits, o those of an
    output layer that spikes or does not.
    """
    logits_BK = logits_of_rates(outputs_TBK) if spiking else logits_of_drives(outputs_TBK)
    log_of_teacher, log_of_student = ((each / temperature).log_softmax(dim=1) for each in (teacher_BK, logits_BK))
    return temperature**2 * functional.kl_div(log_of_student, log_of_teacher, reduction="batchmean", log_target=True)
