"""The rate-collapsed backward pass (see ``networks.collapsed``) on the fused layers of ``chain``.

The forward pass keeps, of every group of time steps, how often each neuron spiked and how often its gradient passes: bytes. The
backward pass is a dense one on their means, as many groups at once as a piece has time steps. It needs no drives, so its forward
half is not computed: what stands in autograd's graph for it are shapes.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from trainables.kernels.gpu.chain import (
    FOLDED_IMAGES,
    FusedLayer,
    apply_folded,
    apply_synapses,
    bias_gradient,
    fused_layers,
    low_precision,
    output_drive,
    piece_of,
    synapse_gradients,
)
from trainables.kernels.gpu.neurons import Counts, counts_for, fire, pass_gradient, shares_of, spikes_of
from trainables.networks.collapsed import TimeGroups, Ungroup, group_means, group_sizes
from trainables.networks.network import Network


def forward_fused_collapsed(
    network: Network,
    inputs_TBN: Tensor,
    time_steps: int,
    groups: TimeGroups,
    *,
    dtype: torch.dtype = torch.bfloat16,
    num_folded_images: int = FOLDED_IMAGES,
) -> Tensor:
    """What ``forward_fused`` gives, ``[T, B, …]``, with the rate-collapsed gradient."""
    layers = fused_layers(network)
    weights = low_precision(layers, dtype)
    sizes = group_sizes(time_steps, groups)
    images, length = piece_of(inputs_TBN.shape[1], time_steps, num_folded_images)
    values, means = [], []
    for images_TBN in torch.split(inputs_TBN, images, dim=1):
        state: list[Tensor | None] = [None] * len(layers)
        steps, stand_ins = [], []
        start = 0
        for fold in batched(sizes, num_folded_images // images):
            fold_TBN = images_TBN[start : start + sum(fold)] if len(images_TBN) > 1 else images_TBN
            steps_TBN, counts = _count(layers, weights, fold_TBN, fold, length, state, dtype)
            steps.append(steps_TBN)
            stand_ins.append(_stand_in(layers, weights, group_means(fold_TBN, fold), counts))
            start += sum(fold)
        values.append(torch.cat(steps))
        means.append(torch.cat(stand_ins))
    result: Tensor = Ungroup.apply(torch.cat(means, dim=1), torch.cat(values, dim=1), sizes)
    return result


def batched(sizes: Sequence[int], most: int) -> list[list[int]]:
    """Groups in runs that are passed backward at once."""
    return [list(sizes[start : start + most]) for start in range(0, len(sizes), most)]


@torch.no_grad()
def _count(
    layers: Sequence[FusedLayer],
    weights: Sequence[Tensor],
    inputs_TBN: Tensor,
    sizes: Sequence[int],
    length: int,
    state: list[Tensor | None],
    dtype: torch.dtype,
) -> tuple[Tensor, list[Counts]]:
    """The output layer's drive in some groups, ``[T, B, …]``, and the counts of all layers before it."""
    counts: list[Counts] = []
    outputs = []
    shares = shares_of(sizes, inputs_TBN.device)
    for group, start, steps in _pieces(sizes, length):
        values_TBN = inputs_TBN[start : start + steps] if len(inputs_TBN) > 1 else inputs_TBN
        for number, (layer, weight) in enumerate(zip(layers, weights, strict=True)):
            drive_NCHW = apply_synapses(apply_folded(layer.before, values_TBN).flatten(0, 1), weight, layer.synapses)
            drive_TBN = drive_NCHW.view(*values_TBN.shape[:2], *drive_NCHW.shape[1:])
            if layer.neuron is None:
                values_TBN = output_drive(drive_TBN, layer).expand(steps, *drive_TBN.shape[1:])
                continue
            if start == 0:
                counts.append(counts_for(drive_TBN, layer.pool, sizes, shares))
            values_TBN, state[number], _ = fire(
                drive_TBN,
                layer.neuron,
                steps,
                bias_C=layer.synapses.bias,
                pool=layer.pool,
                membrane_potential=state[number],
                keep=counts[number].group(group),
                dtype=dtype,
            )
            del drive_NCHW, drive_TBN  # before the next layer's are made
        outputs.append(values_TBN)
    return torch.cat(outputs), counts


def _pieces(sizes: Sequence[int], length: int) -> Iterator[tuple[int, int, int]]:
    """Group, first time step and number of steps of every piece; none has steps of two groups."""
    start = 0
    for group, size in enumerate(sizes):
        for done in range(0, size, length):
            yield group, start + done, min(length, size - done)
        start += size


def _stand_in(layers: Sequence[FusedLayer], weights: Sequence[Tensor], means_KBN: Tensor, counts: list[Counts]) -> Tensor:
    """The groups' mean drives of the output layer as autograd sees them: a shape, ``[K, B, …]``, with a gradient."""
    kept: Tensor | Counts = means_KBN
    stand_in = means_KBN
    for layer, weight, own in zip(layers, weights, [*counts, None], strict=True):
        stand_in = _Layer.apply(stand_in, layer.synapses.weight, layer.synapses.bias, weight, layer, kept, own)
        if own is not None:
            kept = own
    return stand_in


class _Layer(torch.autograd.Function):
    """The backward pass of a layer on the means of groups."""

    @staticmethod
    def forward(
        ctx: Any,
        stand_in: Tensor,
        parameter: Tensor,
        bias: Tensor | None,
        weight: Tensor,
        layer: FusedLayer,
        inputs: Tensor | Counts,
        counts: Counts | None,
    ) -> Tensor:
        del parameter
        ctx.weight, ctx.layer, ctx.inputs, ctx.counts, ctx.has_bias = weight, layer, inputs, counts, bias is not None
        shape = (*stand_in.shape[:2], len(weight)) if counts is None else counts.shape
        return weight.new_zeros((), dtype=torch.float32).expand(shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None, None, None, None]:
        weight, layer = ctx.weight, ctx.layer
        grad_TBN = grads[0].to(weight.dtype)
        if ctx.counts is not None:
            grad_TBN = pass_gradient(grads[0], ctx.counts, layer.pool, weight.dtype)
        means_TBN = ctx.inputs if isinstance(ctx.inputs, Tensor) else spikes_of(ctx.inputs, weight.dtype)
        grad_means, grad_weight = synapse_gradients(grad_TBN, means_TBN, weight, layer, needs_input_grad=ctx.needs_input_grad[0])
        return grad_means, grad_weight, bias_gradient(grad_TBN) if ctx.has_bias else None, None, None, None, None
