"""In which floating-point type a network's convolutions are computed by plain PyTorch, and how images then lie in memory.

bfloat16 is PyTorch's autocast, with channels last in memory: oneDNN's and cuDNN's convolutions in bfloat16 are made for that.
On a CPU analogue networks of images of 16x16 pixels and more have their channels last in float32, too: a step of training takes
0.73 to 0.85 of the time (max pools a sixth, convolutions less), and of smaller images as long as before.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor

from trainables.networks.collapsed import TimeGroups, forward_collapsed
from trainables.networks.network import STATEFUL, Inputs, Network, Observer

Precision = Literal["float32", "bfloat16"]
"""bfloat16 rounds every weight and drive to 8 significant bits; spikes are exact in it. Sums of products, membrane potentials,
losses and optimisers stay float32."""

DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}

FEWEST_PIXELS = 256
"""Of an image whose channels are last in memory in float32; smaller ones gain nothing, and keep their results to the bit."""

BFLOAT16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "sve_bf16", "bf16")
"""PyTorch's names of those that multiply in bfloat16, on x86 and ARM, the fastest first."""


def bfloat16_instructions() -> str | None:
    """Those with which this machine's CPU multiplies in bfloat16, such as ``amx_bf16``; None if it has none and emulates them."""
    known = torch.cpu.get_capabilities()
    return next((name for name in BFLOAT16_INSTRUCTIONS if known.get(name)), None)


def rounding(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Where plain PyTorch computes in this precision: bfloat16 is its autocast, float32 leaves everything as it is."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


def forward_torch(
    network: Network,
    inputs_TBN: Tensor,
    time_steps: int,
    groups: TimeGroups | None = None,
    observers: Sequence[Observer] = (),
    *,
    precision: Precision = "float32",
    until: str | None = None,
) -> Tensor:
    """The outputs of a training step, ``[T, B, …]`` in float32, by plain PyTorch; bfloat16 is its autocast.

    Args:
        network: Any.
        inputs_TBN: ``[T, B, …]``, or ``[1, B, …]`` for an input that is the same at every step.
        time_steps: T.
        groups: Of the rate-collapsed gradient; None for the network's own.
        observers: See every layer's inputs and outputs.
        precision: Of convolutions and linear layers.
        until: Name of the operation whose result is asked for, instead of the last.
    """
    with rounding(precision, inputs_TBN.device):
        inputs_TBN = _laid_out(inputs_TBN, network, precision)
        if groups is not None:
            return forward_collapsed(network, inputs_TBN, time_steps, groups, observers, until).float()
        outputs_TBK, _ = network(inputs_TBN, time_steps, observers=observers, until=until)
    result: Tensor = outputs_TBK.float()
    return result


def simulate_torch(
    network: Network,
    inputs: Inputs,
    time_steps: int,
    observers: Sequence[Observer] = (),
    until: str | None = None,
    *,
    precision: Precision = "float32",
    num_micro_batches: int = 1,
) -> Iterator[Tensor]:
    """The same as ``Network.simulate`` gives, in float32, computed in this precision."""
    device = next(network.parameters()).device
    pieces = network.simulate(
        _LaidOut(inputs, network, precision), time_steps, observers, until, num_micro_batches=num_micro_batches
    )
    while True:
        with rounding(precision, device):  # not around a yield: what is done with the pieces is no part of the network
            piece_TBN = next(pieces, None)
        if piece_TBN is None:
            return
        yield piece_TBN.float()


class _LaidOut:
    """Inputs as a network reads them fastest in a precision."""

    def __init__(self, inputs: Inputs, network: Network, precision: Precision) -> None:
        self.num_images = inputs.num_images
        self._inputs, self._network, self._precision = inputs, network, precision

    def __call__(self, start: int, length: int) -> Tensor:
        return _laid_out(self._inputs(start, length), self._network, self._precision)


def _laid_out(inputs_TBN: Tensor, network: Network, precision: Precision) -> Tensor:
    """The same values, with the channels of images last in memory where the network computes faster with them."""
    if inputs_TBN.dim() != 5 or not (precision == "bfloat16" or _is_faster_in_float32(inputs_TBN, network)):
        return inputs_TBN
    _, num_images, channels, height, width = inputs_TBN.shape
    pixels, row = channels * height * width, channels * width
    last_TBHWC = inputs_TBN.permute(0, 1, 3, 4, 2).contiguous()
    # told as strides, which would be others for images with one channel: they decide how PyTorch lays out what follows
    return last_TBHWC.as_strided(inputs_TBN.shape, (num_images * pixels, pixels, 1, row, channels))


def _is_faster_in_float32(images_TBCHW: Tensor, network: Network) -> bool:
    is_analogue = not any(isinstance(part, STATEFUL) for part in network.parts.values())
    return is_analogue and images_TBCHW.device.type == "cpu" and images_TBCHW[0, 0, 0].numel() >= FEWEST_PIXELS


def precision_fact(precision: Precision, device: torch.device) -> str:
    """What a report says of the arithmetic that a replicate was trained with."""
    if precision == "bfloat16":
        return f"bfloat16 convolutions{_how_on(device)}, float32 membrane potentials"
    rounded = device.type == "cuda" and torch.backends.cudnn.allow_tf32
    return "float32, convolutions of products in TF32" if rounded else "float32"


def _how_on(device: torch.device) -> str:
    if device.type != "cpu":
        return ""
    instructions = bfloat16_instructions()
    return f" by {instructions}" if instructions else " (emulated: the CPU has no instructions for it)"
