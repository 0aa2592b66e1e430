"""The GPU's backend: what ``training.loop`` may call in the place of a network and of ``forward_collapsed``."""

from collections.abc import Iterator, Sequence
from functools import cache

import torch
from torch import Tensor, nn

from trainables.networks.collapsed import TimeGroups
from trainables.networks.fused import UnfusableError, forward_fused, fused_layers, simulate_fused
from trainables.networks.fused_collapsed import forward_fused_collapsed
from trainables.networks.network import Inputs, Network, Observer
from trainables.networks.precision import DTYPES, Precision
from trainables.spiking.neurons import NeuronModel, SpikingNeuron
from trainables.spiking.pools import SplitTiesMaxPool
from trainables.spiking.triton_neuron import fire, pass_gradient, why_no_triton


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
    """The outputs of a training step, ``[T, B, …]`` in float32; arguments as in ``precision.forward_torch``."""
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
    """What ``network.simulate`` yields, without gradient."""
    return simulate_fused(network, inputs, time_steps, observers, dtype=DTYPES[precision], num_micro_batches=num_micro_batches)
