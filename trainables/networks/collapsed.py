"""The rate-collapsed backward pass: K groups of time steps stand for all T.

The forward pass is exact and keeps nothing. For the backward pass every group of steps g has one image per layer, its mean
spikes, and the mean of the per-step gradient masks in the neurons' place::

    Ḡ_L,g = Σ_{t∈g} dL/dS_t · mean_{t∈g}(M_t)
    Ḡ_l,g = mean_{t∈g}(M_t·R_t) · (Wᵀ Ḡ_{l+1,g})      R_t: the pool_gradient_shares of a max pool behind the neurons
    dW    = Σ_g mean_{t∈g}(s_t) ⊗ Ḡ_g

With K = T it is the exact straight-through gradient; its memory and time do not depend on T otherwise.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from trainables.networks.network import INPUT, Network, Observer, Operation
from trainables.spiking.neurons import SpikingNeuron, gradient_mask
from trainables.spiking.pools import SplitTiesMaxPool, pool_gradient_shares, upsample_window

TimeGroups = int | Literal["dyadic"]


def group_sizes(time_steps: int, groups: TimeGroups) -> list[int]:
    """How many consecutive steps every group has: K nearly equal ones, or [0,1) [1,2) [2,4) [4,8) and so on.

    ``group_sizes(12, "dyadic")`` is ``[1, 1, 2, 4, 4]``.
    """
    if groups != "dyadic":
        num = min(groups, time_steps)
        return [time_steps * (g + 1) // num - time_steps * g // num for g in range(num)]
    sizes = [1]
    while (gone := sum(sizes)) < time_steps:
        sizes.append(min(gone, time_steps - gone))
    return sizes


def resolved_groups(time_steps: Iterable[int], groups: TimeGroups) -> TimeGroups:
    """``"dyadic"`` where a number of equal groups makes the dyadic ones, whichever of ``time_steps`` it is; else ``groups``."""
    return "dyadic" if all(group_sizes(number, groups) == group_sizes(number, "dyadic") for number in time_steps) else groups


@dataclass
class _Signal:
    """An operation's result twice: as it is, ``[T, B, …]``, without gradient, and as group means, ``[K, B, …]``, with one.

    Behind neurons also what a max pool needs to put its pool_gradient_shares into the same mean: their drive and mask.
    """

    values_TBN: Tensor
    means_KBN: Tensor
    drive_KBN: Tensor | None = None
    mask_TBN: Tensor | None = None


def forward_collapsed(
    network: Network,
    inputs_TBN: Tensor,
    time_steps: int,
    groups: TimeGroups,
    observers: Sequence[Observer] = (),
    until: str | None = None,
) -> Tensor:
    """What ``network(inputs_TBN, time_steps, until=until)`` gives, ``[T, B, …]``, with the rate-collapsed gradient.

    Dropout and batch norms are not supported: both passes would draw and count on their own.
    """
    sizes = group_sizes(time_steps, groups)
    results = {INPUT: _Signal(inputs_TBN, group_means(inputs_TBN, sizes))}
    for number, operation in enumerate(network.operations):
        arguments = [results[name] for name in operation.inputs]
        results[operation.name] = _run(network, operation, arguments, time_steps, sizes)
        if observers and network.is_a(operation, SpikingNeuron):
            signal = results[operation.name]
            outputs_TBN = Ungroup.apply(signal.means_KBN, signal.values_TBN, sizes)
            for observer in observers:
                observer.outputs(network.layers[operation.name], outputs_TBN)
        if operation.name == until:
            break
        network.forget(results, number)
    last = results[until or network.operations[-1].name]
    values_TBN = last.values_TBN.expand(time_steps, *last.values_TBN.shape[1:])  # a drive may be constant
    result: Tensor = Ungroup.apply(last.means_KBN, values_TBN, sizes)
    return result


def _run(network: Network, operation: Operation, arguments: list[_Signal], time_steps: int, sizes: list[int]) -> _Signal:
    first = arguments[0]
    part = network.parts[operation.name] if operation.kind == "module" else None
    with torch.no_grad():
        if isinstance(part, SpikingNeuron):
            spikes_TBN, _ = part(first.values_TBN, time_steps)
            mask_TBN = gradient_mask(first.values_TBN, part.firing_threshold, part.model)
            mean_spikes, mean_mask = group_means(spikes_TBN, sizes), group_means(mask_TBN, sizes)
        else:
            values_TBN = network.apply_stateless(operation, [argument.values_TBN for argument in arguments])
    if isinstance(part, SpikingNeuron):
        means = _Replace.apply(first.means_KBN, mean_spikes, lambda grad: grad * mean_mask / part.firing_threshold)
        return _Signal(spikes_TBN, means, first.means_KBN / part.firing_threshold, mask_TBN)
    if isinstance(part, nn.MaxPool2d | SplitTiesMaxPool) and first.mask_TBN is not None:
        return _max_pool(first, values_TBN, sizes, split_ties=isinstance(part, SplitTiesMaxPool))
    means = network.apply_stateless(operation, [argument.means_KBN for argument in arguments])
    if isinstance(part, nn.MaxPool2d | SplitTiesMaxPool):  # the mean of the largest is not the largest mean
        means = _Replace.apply(means, group_means(values_TBN, sizes), lambda grad: grad)
    return _Signal(values_TBN, means)


def _max_pool(signal: _Signal, pooled_TBN: Tensor, sizes: list[int], *, split_ties: bool) -> _Signal:
    assert signal.mask_TBN is not None
    with torch.no_grad():
        shares_TBN = pool_gradient_shares(signal.values_TBN, pooled_TBN, split_ties=split_ties)
        mean_shares = group_means(shares_TBN * signal.mask_TBN, sizes)
    shape = signal.means_KBN.shape
    means = _Replace.apply(
        signal.drive_KBN, group_means(pooled_TBN, sizes), lambda grad: upsample_window(grad, shape) * mean_shares
    )
    return _Signal(pooled_TBN, means)


def group_means(values_TBN: Tensor, sizes: list[int]) -> Tensor:
    """``[T, B, …]`` to ``[K, B, …]``; what is constant in time is its own mean."""
    if values_TBN.shape[0] == 1:
        return values_TBN.expand(len(sizes), *values_TBN.shape[1:]).to(torch.get_default_dtype())
    return torch.stack([group.mean(dim=0, dtype=torch.get_default_dtype()) for group in torch.split(values_TBN, sizes)])


class _Replace(torch.autograd.Function):
    """``value`` in the forward pass; in the backward pass what ``gradient`` makes of the gradient."""

    @staticmethod
    def forward(ctx: Any, _: Tensor, value: Tensor, gradient: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.gradient = gradient
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return ctx.gradient(grads[0]), None, None


class Ungroup(torch.autograd.Function):
    """The values of every step; a group's mean gets the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, _: Tensor, values_TBN: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        return values_TBN.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return torch.stack([group.sum(dim=0) for group in torch.split(grads[0], ctx.sizes)]), None, None
