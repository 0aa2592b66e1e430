"""The backend for GPUs: what ``training.loop`` may call in the place of a network and of ``forward_collapsed``, up to the drive
of the output layer.

``forward_triton`` and ``simulate_triton`` are functions for any loss and any input. The evaluator and the trainer run images
that are the same input at every step, and a loss that is a mean over images: then a piece goes forward and backward before the
next one does, and only the bits of one piece have to be kept.
"""

from collections.abc import Iterator, Sequence
from functools import cache

import torch
from torch import Tensor, nn

from trainables.kernels.gpu.chain import FOLDED_IMAGES, UnfusableError, forward_fused, fused_layers, piece_of, simulate_fused
from trainables.kernels.gpu.collapsed import forward_fused_collapsed
from trainables.kernels.gpu.neurons import fire, pass_gradient, why_no_triton
from trainables.kernels.interface import LossOf, OutputsOf
from trainables.networks.collapsed import TimeGroups
from trainables.networks.network import ConstantCurrent, Inputs, Network, Observer
from trainables.networks.precision import DTYPES, Precision
from trainables.spiking.neurons import NeuronModel, SpikingNeuron
from trainables.spiking.pools import SplitTiesMaxPool


def why_not(network: Network, device: torch.device, groups: TimeGroups | None = None, *, observed: bool = False) -> str | None:
    """Why this backend cannot run a network, going on from "the triton backend …"; None if it can.

    Args:
        network: Its structure.
        device: Where it is to run.
        groups: Of the rate-collapsed gradient; None for the exact one.
        observed: Whether observers watch its training.
    """
    if reason := why_no_triton(device):
        return reason
    if groups is not None and observed:
        return "shows observers nothing of a rate-collapsed gradient"
    try:
        layers = fused_layers(network, fuse_pools=not observed)
    except UnfusableError as error:
        return str(error)
    if groups is not None and any(isinstance(part, nn.MaxPool2d | SplitTiesMaxPool) for layer in layers for part in layer.before):
        return "takes 2x2 max pools right behind neurons alone where the gradient is rate-collapsed"
    return None


@cache
def why_kernels_fail(device: torch.device) -> str | None:
    """Why a first launch on a device fails, as where there is no C compiler, going on from "the triton backend …"."""
    drive_TBN = torch.zeros(1, 1, 8, 2, 2, device=device)
    try:
        _, _, bits = fire(drive_TBN, SpikingNeuron(NeuronModel()).to(device), 1, pool="one", keep="bits")
        assert bits is not None
        pass_gradient(drive_TBN[..., :1, :1], bits, "one", torch.float32)
    except Exception as error:  # noqa: BLE001  # plain PyTorch still runs
        return f"cannot compile its kernels: {type(error).__name__}: {error}"
    return None


def forward_triton(
    network: Network,
    inputs_TBN: Tensor,
    time_steps: int,
    groups: TimeGroups | None = None,
    observers: Sequence[Observer] = (),
    *,
    precision: Precision = "bfloat16",
) -> Tensor:
    """The output layer's drive in a training step, ``[T, B, classes]`` float32; arguments as in ``precision.forward_torch``."""
    dtype = DTYPES[precision]
    if groups is not None:
        return forward_fused_collapsed(network, inputs_TBN, time_steps, groups, dtype=dtype)
    return forward_fused(network, inputs_TBN, time_steps, observers, dtype=dtype)


def simulate_triton(
    network: Network,
    inputs: Inputs,
    time_steps: int,
    observers: Sequence[Observer] = (),
    *,
    precision: Precision = "bfloat16",
    num_micro_batches: int = 1,
) -> Iterator[Tensor]:
    """The output layer's drive, without gradient, in pieces as ``network.simulate`` has them."""
    return simulate_fused(network, inputs, time_steps, observers, dtype=DTYPES[precision], num_micro_batches=num_micro_batches)


class TritonEvaluator:
    """Evaluates a network.

    Args:
        network: What ``why_not`` has nothing against; its weights may change from call to call.
        time_steps: T.
        precision: Of the convolutions.
    """

    def __init__(self, network: Network, time_steps: int, *, precision: Precision = "bfloat16") -> None:
        self._network, self._time_steps, self._precision = network, time_steps, precision

    def drives(self, images_BCHW: Tensor, counter: Observer | None = None) -> Tensor:
        """The output layer's drive ``[T, B, classes]`` for images that are the same input at every time step."""
        observers = [counter] if counter else []
        inputs = ConstantCurrent(images_BCHW)
        return torch.cat(list(simulate_triton(self._network, inputs, self._time_steps, observers, precision=self._precision)))


class TritonTrainer(TritonEvaluator):
    """Runs a network forward and backward.

    Args:
        network: As above, with gradients.
        time_steps: T.
        groups: Of the rate-collapsed gradient; None for the exact one.
        precision: Of the convolutions.
    """

    def __init__(
        self, network: Network, time_steps: int, groups: TimeGroups | None = None, *, precision: Precision = "bfloat16"
    ) -> None:
        super().__init__(network, time_steps, precision=precision)
        self._groups = groups

    def gradients(self, images_BCHW: Tensor, outputs_of: OutputsOf, loss_of: LossOf) -> tuple[Tensor, Tensor]:
        """The mean loss over a batch, and its drive ``[T, B, classes]``; gradients are added to the parameters'.

        Args:
            images_BCHW: The same input at every time step.
            outputs_of: Of the output layer's drive ``[T, B', classes]`` for some images: what the loss sees.
            loss_of: Of outputs ``[T, B', classes]`` and which images of the batch they are of: their mean loss.
        """
        num_images = len(images_BCHW)
        piece, _ = piece_of(num_images, self._time_steps, FOLDED_IMAGES)
        total_loss, drives = images_BCHW.new_zeros(()), []
        for start in range(0, num_images, piece):
            which = slice(start, min(start + piece, num_images))
            images_1BCHW = images_BCHW[None, which]
            drive_TBK = forward_triton(self._network, images_1BCHW, self._time_steps, self._groups, precision=self._precision)
            loss = loss_of(outputs_of(drive_TBK), which) * ((which.stop - start) / num_images)
            loss.backward()  # type: ignore[no-untyped-call]
            total_loss += loss.detach()
            drives.append(drive_TBK.detach())
        return total_loss, torch.cat(drives, dim=1)
