"""How much of a GPU's memory a training step of ``chain`` takes, from sizes alone.

What lives at once::

    weights   P parameters, their gradients and AdamW's two moments in float32; a copy for the convolutions
    kept      exact: bits of all layers and time steps; rate-collapsed: counts of all layers and groups; of one piece's images,
              or of all where they wait for one loss
    state     the membrane potentials of one piece's images
    piece     the largest of: what enters a layer, its drives and its spikes (forward); the gradient of its drives, what enters
              it and the gradient of that (backward); for all steps, or groups' means, that are folded with a piece's images
    gradient  a convolution's largest weight gradient, in its own type and in float32, beside the sum

cuDNN's workspaces and the allocator's gaps come on top; they are only known when they are measured.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainables.kernels.gpu.chain import FOLDED_IMAGES, FusedLayer, fused_layers, piece_of
from trainables.kernels.gpu.neurons import Bits, Counts, bits_for, counts_for
from trainables.networks.collapsed import TimeGroups, group_sizes
from trainables.networks.network import INPUT, Network
from trainables.networks.precision import DTYPES, Precision

FLOAT = 4
COPIES_OF_WEIGHTS = 4


@dataclass(frozen=True)
class FusedMemory:
    """Bytes, by what they are for; see above."""

    weights: int
    kept: int
    state: int
    piece: int
    gradient: int

    @property
    def total(self) -> int:
        """All at once."""
        return self.weights + self.kept + self.state + self.piece + self.gradient


def fused_memory(
    network: Network,
    shapes: Mapping[str, torch.Size],
    *,
    batch_size: int,
    time_steps: int,
    groups: TimeGroups | None = None,
    precision: Precision = "bfloat16",
    num_folded_images: int = FOLDED_IMAGES,
    one_loss: bool = False,
) -> FusedMemory:
    """The peak of one training step.

    Args:
        network: A chain, on any device.
        shapes: Of every operation's result, for one image (see ``operation_shapes``).
        batch_size: Images.
        time_steps: T.
        groups: Of the rate-collapsed gradient; None for the exact one.
        precision: Of the convolutions.
        num_folded_images: Images times time steps of a piece.
        one_loss: Whether all images wait for one loss, as in ``forward_triton``, rather than a piece's for their own.

    Raises:
        UnfusableError: The network is no chain.
    """
    layers = fused_layers(network)
    element = DTYPES[precision].itemsize
    images, length = piece_of(batch_size, time_steps, num_folded_images)
    sizes = [time_steps] if groups is None else group_sizes(time_steps, groups)
    forward = images * min(length, max(sizes))
    backward = forward if groups is None else images * min(len(sizes), num_folded_images // images)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    largest = max(layer.synapses.weight.numel() for layer in layers)
    forward_peak, backward_peak = _peaks(network, layers, shapes)
    return FusedMemory(
        weights=parameters * (COPIES_OF_WEIGHTS * FLOAT + element),
        kept=(batch_size if one_loss else images) * sum(_kept(layer, shapes, time_steps, groups) for layer in layers),
        state=images * FLOAT * sum(math.prod(shapes[layer.drive]) for layer in layers if layer.neuron),
        piece=element * max(forward * forward_peak, backward * backward_peak),
        gradient=largest * (element + FLOAT),
    )


def _kept(layer: FusedLayer, shapes: Mapping[str, torch.Size], time_steps: int, groups: TimeGroups | None) -> int:
    """Bytes of an image."""
    if layer.neuron is None:
        return 0
    drive_TBN = torch.empty(1, 1, *shapes[layer.drive], device="meta")
    if groups is None:
        return _bytes(bits_for(drive_TBN, layer.pool, time_steps))
    sizes = group_sizes(time_steps, groups)
    return _bytes(counts_for(drive_TBN, layer.pool, sizes, drive_TBN.new_empty(len(sizes))))


def _bytes(kept: Bits | Counts) -> int:
    tensors: list[Tensor | None] = [kept.spikes, kept.passing]
    if isinstance(kept, Bits):
        tensors.append(kept.winners)
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def _peaks(network: Network, layers: list[FusedLayer], shapes: Mapping[str, torch.Size]) -> tuple[int, int]:
    """Elements of an image and step that live at once in the largest layer, forward and backward."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    forward, backward, before = [], [], INPUT
    for layer in layers:
        (entering,) = next(operation.inputs for operation in network.operations if operation.name == layer.drive)
        copies = any(not isinstance(module, nn.Identity) for module in layer.before)
        inputs = sizes[before] + copies * sizes[entering]
        forward.append(inputs + sizes[layer.drive] + sizes[layer.spikes])
        backward.append(2 * inputs + sizes[layer.drive] if before != INPUT else sizes[layer.drive] + sizes[layer.spikes])
        before = layer.spikes
    return max(forward), max(backward)
