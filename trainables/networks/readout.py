"""How classes are read from the drive of a network's output layer: from the spikes of its neurons, or from the drive itself.

What runs a network, plain torch or a backend, gives the output layer's drive ``[T, B, classes]``; what follows is here, for
training and evaluation alike, and is a few small tensors.
"""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from trainables.networks.collapsed import TimeGroups, group_means, group_sizes
from trainables.networks.network import Network
from trainables.spiking.neurons import SpikingNeuron, gradient_mask

Ties = Literal["potential", "lowest_class"]
"""Which of several classes with the most spikes wins: the one with the largest membrane potential left, or the first."""
RANKS = 64
"""How many classes ``Readout.scores`` tells apart where they have equally many spikes."""


class Readout:
    """The read-out of a network.

    Args:
        network: Its last operation may be spiking neurons.
        ties: Between classes with equally many spikes; without output neurons it is of no use.
    """

    def __init__(self, network: Network, ties: Ties = "lowest_class") -> None:
        last = network.operations[-1]
        part = network.parts[last.name] if last.kind == "module" else None
        self.neuron = part if isinstance(part, SpikingNeuron) else None
        self.layer = network.layers.get(last.name, "output")
        self.until = last.inputs[0] if self.neuron else None
        """The operation that gives the drive; None for the last one. An argument of ``Network.forward`` and ``simulate``."""
        self.ties = ties

    def outputs(self, drive_TBK: Tensor, time_steps: int, groups: TimeGroups | None = None) -> Tensor:
        """What a loss sees, with gradient: the output neurons' spikes ``[T, B, classes]``, or the drive where there are none.

        Args:
            drive_TBK: Of the output layer, ``[T, B, classes]``, or ``[1, B, classes]`` if it is constant.
            time_steps: T.
            groups: Of the rate-collapsed gradient; None for the neurons' own.
        """
        if self.neuron is None:
            return drive_TBK
        spikes_TBK: Tensor
        if groups is None:
            spikes_TBK, _ = self.neuron(drive_TBK, time_steps)
        else:
            spikes_TBK = _CollapsedSpikes.apply(drive_TBK, self.neuron, group_sizes(time_steps, groups))
        return spikes_TBK

    @torch.no_grad()
    def classes(self, drive_TBK: Tensor, time_steps: int) -> Tensor:
        """The class of every image after all time steps, ``[B]``."""
        outputs_TBK, potential_BK = drive_TBK, None
        if self.neuron is not None:
            outputs_TBK, potential_BK = self.neuron(drive_TBK, time_steps)
        sums_BK = outputs_TBK.sum(dim=0) if len(outputs_TBK) > 1 else outputs_TBK[0]
        return self.winners(sums_BK, potential_BK)

    def winners(self, sums: Tensor, potentials: Tensor | None) -> Tensor:
        """The class with the largest sum, ``[…]`` of ``[…, classes]``; of several that tie, the one that ``ties`` says.

        Args:
            sums: Of spikes, or of drives.
            potentials: The output neurons' membrane potentials; None without neurons.
        """
        if self.ties == "lowest_class" or potentials is None:
            return sums.argmax(dim=-1)
        fewer = sums < sums.amax(dim=-1, keepdim=True)
        return self._fractions(potentials).masked_fill(fewer, -torch.inf).argmax(dim=-1)

    def scores(self, sums_BK: Tensor, potential_BK: Tensor | None) -> Tensor:
        """``[B, classes]``, the largest of which is the winner: the sums of drives, or of spikes.

        Where the membrane potential breaks ties, up to 63/64 of a spike is added to a spike count: 63/64 to the class that wins,
        1/64 less to every class behind it by spikes and then by potential, at least 0. Spike counts of up to 100,000 time steps
        and these fractions are exact in float32.
        """
        if self.ties == "lowest_class" or potential_BK is None:
            return sums_BK
        by_potential = self._fractions(potential_BK).argsort(dim=-1, descending=True, stable=True)
        by_count = sums_BK.gather(-1, by_potential).argsort(dim=-1, descending=True, stable=True)
        place = by_potential.gather(-1, by_count).argsort(dim=-1)
        return sums_BK + (RANKS - 1 - place).clamp(min=0) / RANKS

    def _fractions(self, potentials: Tensor) -> Tensor:
        """Of the firing threshold: what is left of a next spike, whatever a spike of the class is worth."""
        assert self.neuron is not None
        return potentials / self.neuron.firing_threshold


class Steps(NamedTuple):
    """What was read at some time steps.

    Attributes:
        outputs_TBK: Spikes, or drives where there are no output neurons.
        classes_TB: The class of every image, from all steps up to each of them.
        tied_TB: Whether several classes had the most spikes; None where there are no output neurons.
    """

    outputs_TBK: Tensor
    classes_TB: Tensor
    tied_TB: Tensor | None


class Tally:
    """The spikes of every class so far, or its summed drive, for a batch whose time steps come in pieces."""

    def __init__(self, readout: Readout) -> None:
        self._readout = readout
        self._sums_BK: Tensor | float = 0.0
        self._potential_BK: Tensor | None = None

    @torch.no_grad()
    def add(self, drive_TBK: Tensor) -> Steps:
        """Read the next time steps, ``[steps, B, classes]``."""
        readout, neuron = self._readout, self._readout.neuron
        if neuron is None:
            sums_TBK = self._add_up(drive_TBK)
            return Steps(drive_TBK, readout.winners(sums_TBK, None), None)
        spikes_TBK, potentials_TBK = neuron.trace(drive_TBK, len(drive_TBK), self._potential_BK)
        self._potential_BK = potentials_TBK[-1]
        counts_TBK = self._add_up(spikes_TBK)
        tied_TB = (counts_TBK == counts_TBK.amax(dim=-1, keepdim=True)).sum(dim=-1) > 1
        return Steps(spikes_TBK, readout.winners(counts_TBK, potentials_TBK), tied_TB)

    def _add_up(self, outputs_TBK: Tensor) -> Tensor:
        sums_TBK = outputs_TBK.cumsum(dim=0) + self._sums_BK
        self._sums_BK = sums_TBK[-1]
        return sums_TBK

    def scores(self) -> Tensor:
        """``[B, classes]``, the largest of which is the class after all steps so far; see ``Readout.scores``."""
        assert isinstance(self._sums_BK, Tensor), "no step has been added"
        return self._readout.scores(self._sums_BK, self._potential_BK)


class _CollapsedSpikes(torch.autograd.Function):
    """The output neurons' spikes with the rate-collapsed gradient: that of a group is ``Σ dL/dS_t`` times its mean mask.

    It stands at the group's first step, as only the sum over the group goes further back.
    """

    @staticmethod
    def forward(ctx: Any, drive_TBK: Tensor, neuron: SpikingNeuron, sizes: list[int]) -> Tensor:
        spikes_TBK: Tensor
        spikes_TBK, _ = neuron(drive_TBK, sum(sizes))
        mask_TBK = gradient_mask(drive_TBK, neuron.firing_threshold, neuron.model)
        ctx.sizes, ctx.num_steps = sizes, len(drive_TBK)
        ctx.save_for_backward(group_means(mask_TBK, sizes), neuron.firing_threshold.detach())
        return spikes_TBK

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        mean_mask_KBK, firing_threshold = ctx.saved_tensors
        sums_KBK = torch.stack([group.sum(dim=0) for group in torch.split(grads[0], ctx.sizes)])
        sums_KBK = sums_KBK * mean_mask_KBK / firing_threshold
        if ctx.num_steps == 1:
            return sums_KBK.sum(dim=0, keepdim=True), None, None
        grad_TBK = torch.zeros_like(grads[0])
        starts = torch.tensor([0, *ctx.sizes[:-1]]).cumsum(dim=0)
        grad_TBK[starts.to(grad_TBK.device)] = sums_KBK
        return grad_TBK, None, None
