"""Losses on the outputs of all time steps, ``[T, B, classes]``."""

from typing import Literal

from torch import Tensor
from torch.nn import functional

Loss = Literal["mse", "cross_entropy"]

LOGITS_PER_RATE = 10.0
"""Spike rates lie in [0, 1]; as logits they are stretched, or no softmax over them could be sure of anything."""


def mse_of_rates(spikes_TBK: Tensor, labels_B: Tensor) -> Tensor:
    """MSE(clamp(Σ_t S_t, max=T) / T, one_hot(labels)), the BITnet README's loss, averaged over batch and classes."""
    time_steps, _, num_classes = spikes_TBK.shape
    rates_BK = spikes_TBK.sum(dim=0).clamp(max=time_steps) / time_steps
    return functional.mse_loss(rates_BK, functional.one_hot(labels_B, num_classes).to(rates_BK.dtype))


def cross_entropy_of_rates(spikes_TBK: Tensor, labels_B: Tensor) -> Tensor:
    """Cross-entropy of softmax(10·Σ_t S_t / T)."""
    return functional.cross_entropy(LOGITS_PER_RATE * spikes_TBK.mean(dim=0), labels_B)


def mse_of_drives(drive_TBK: Tensor, labels_B: Tensor) -> Tensor:
    """MSE(Σ_t d_t / T, one_hot(labels)), averaged over batch and classes, for an output layer that does not spike."""
    mean_BK = drive_TBK.mean(dim=0)
    return functional.mse_loss(mean_BK, functional.one_hot(labels_B, mean_BK.shape[1]).to(mean_BK.dtype))


def cross_entropy_of_logits(outputs_TBK: Tensor, labels_B: Tensor) -> Tensor:
    """Cross-entropy of the mean output, for an output layer that does not spike."""
    outputs_BK = outputs_TBK.mean(dim=0) if len(outputs_TBK) > 1 else outputs_TBK.squeeze(0)
    return functional.cross_entropy(outputs_BK, labels_B)


SPIKE_LOSSES = {"mse": mse_of_rates, "cross_entropy": cross_entropy_of_rates}
DRIVE_LOSSES = {"mse": mse_of_drives, "cross_entropy": cross_entropy_of_logits}
