"""The rate-collapsed backward pass (see ``collapsed``) on the fused layers of ``fused``.

The forward pass keeps, of every group of time steps, how often each neuron spiked and how often its gradient passes: bytes. In the
backward pass every group is one dense pass on their means. That pass needs no drives, so its forward half is not computed: what
stands in autograd's graph for it are shapes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trainables.networks.collapsed import TimeGroups, Ungroup, group_sizes
from trainables.networks.fused import (
    FusedLayer,
    apply_folded,
    bias_gradient,
    connect,
    fused_layers,
    low_precision,
    piece_of,
    synapse_gradients,
)
from trainables.networks.network import NUM_FOLDED_IMAGES, Network
from trainables.spiking.triton_neuron import Counts, counts_for, fire, pass_gradient, spikes_of


def forward_fused_collapsed(
    network: Network,
    inputs_TBN: Tensor,
    time_steps: int,
    groups: TimeGroups,
    *,
    dtype: torch.dtype = torch.bfloat16,
    num_folded_images: int = NUM_FOLDED_IMAGES,
) -> Tensor:
    """What ``forward_fused`` gives, ``[T, B, …]``, with the rate-collapsed gradient."""
    layers = fused_layers(network)
    weights = low_precision(layers, dtype)
    sizes = group_sizes(time_steps, groups)
    images, length = piece_of(inputs_TBN.shape[1], num_folded_images)
    values, means = [], []
    for images_TBN in inputs_TBN.split(images, dim=1):
        state: list[Tensor | None] = [None] * len(layers)
        steps, stand_ins = [], []
        start = 0
        for size in sizes:
            group_TBN = images_TBN[start : start + size] if len(images_TBN) > 1 else images_TBN
            steps_TBN, counts = _count(layers, weights, group_TBN, size, length, state, dtype)
            steps.append(steps_TBN)
            stand_ins.append(_stand_in(layers, weights, group_TBN, counts))
            start += size
        values.append(torch.cat(steps))
        means.append(torch.cat(stand_ins))
    result: Tensor = Ungroup.apply(torch.cat(means, dim=1), torch.cat(values, dim=1), sizes)
    return result


@torch.no_grad()
def _count(
    layers: Sequence[FusedLayer],
    weights: Sequence[Tensor],
    inputs_TBN: Tensor,
    num_steps: int,
    length: int,
    state: list[Tensor | None],
    dtype: torch.dtype,
) -> tuple[Tensor, list[Counts]]:
    """A group's outputs, ``[num_steps, B, …]``, and every layer's counts."""
    counts: list[Counts] = []
    outputs = []
    for start in range(0, num_steps, length):
        values_TBN = inputs_TBN[start : start + length] if len(inputs_TBN) > 1 else inputs_TBN
        steps = min(length, num_steps - start)
        for number, (layer, weight) in enumerate(zip(layers, weights, strict=True)):
            drive_NCHW = connect(apply_folded(layer.before, values_TBN).flatten(0, 1), weight, layer.synapses)
            drive_TBN = drive_NCHW.view(*values_TBN.shape[:2], *drive_NCHW.shape[1:])
            if start == 0:
                counts.append(counts_for(drive_TBN, layer.pool, num_steps))
            values_TBN, state[number], _ = fire(
                drive_TBN,
                layer.neuron,
                steps,
                bias_C=layer.synapses.bias,
                pool=layer.pool,
                membrane_potential=state[number],
                keep=counts[number],
                dtype=torch.float32 if layer is layers[-1] else dtype,
            )
        outputs.append(values_TBN)
    return torch.cat(outputs), counts


def _stand_in(layers: Sequence[FusedLayer], weights: Sequence[Tensor], inputs_TBN: Tensor, counts: list[Counts]) -> Tensor:
    """The group's mean outputs as autograd sees them: a shape, ``[1, B, …]``, with a gradient."""
    kept: Tensor | Counts = inputs_TBN.mean(dim=0, keepdim=True)
    stand_in = kept
    for layer, weight, own in zip(layers, weights, counts, strict=True):
        stand_in = _Layer.apply(stand_in, layer.synapses.weight, layer.synapses.bias, weight, layer, kept, own)
        kept = own
    return stand_in


class _Layer(torch.autograd.Function):
    """The backward pass of a layer on the means of a group."""

    @staticmethod
    def forward(
        ctx: Any,
        stand_in: Tensor,
        parameter: Tensor,
        bias: Tensor | None,
        weight: Tensor,
        layer: FusedLayer,
        inputs: Tensor | Counts,
        counts: Counts,
    ) -> Tensor:
        del stand_in, parameter
        ctx.weight, ctx.layer, ctx.inputs, ctx.counts, ctx.has_bias = weight, layer, inputs, counts, bias is not None
        return weight.new_zeros(()).expand(counts.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None, None, None, None]:
        weight, layer = ctx.weight, ctx.layer
        grad_TBN = pass_gradient(grads[0], ctx.counts, layer.pool, weight.dtype)
        means_TBN = ctx.inputs if isinstance(ctx.inputs, Tensor) else spikes_of(ctx.inputs, weight.dtype)
        grad_means, grad_weight = synapse_gradients(
            grad_TBN, means_TBN, weight, layer, needs_input_grad=ctx.needs_input_grad[0]
        )
        return grad_means, grad_weight, bias_gradient(grad_TBN) if ctx.has_bias else None, None, None, None, None
