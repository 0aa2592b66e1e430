"""Which code runs a network: the plain torch of ``network``, which is the definition, or a faster one that means the same.

Spikes are equal where the arithmetic is exact (weights and images of few bits); elsewhere drives are summed in another order, so
that results agree within rounding. So a backend is no part of a replicate's identity, but every report names it.
"""

import importlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from trainables.kernels.cpu.supported import NotAChainError, chain_of
from trainables.kernels.gpu import engine
from trainables.networks.collapsed import TimeGroups
from trainables.networks.network import Network
from trainables.networks.precision import Precision
from trainables.spiking.costs import CostMeter

Backend = Literal["auto", "torch", "event_driven", "triton"]
Kernels = Literal["event_driven", "triton"]
"""Event-driven ones for CPUs, fused ones for GPUs."""
LossOf = Callable[[Tensor, slice], Tensor]
"""Of outputs ``[T, B', classes]`` and which images of the batch they are of: their mean loss."""


class Evaluating(Protocol):
    """Runs a network."""

    def outputs(self, images_BCHW: Tensor, meter: CostMeter | None = None) -> Tensor:
        """The outputs ``[T, B, classes]`` of images that are the same input at every time step."""


class Training(Protocol):
    """Runs a network forward and backward."""

    def gradients(self, images_BCHW: Tensor, loss_of: LossOf) -> tuple[Tensor, Tensor]:
        """The mean loss over a batch, and its outputs; gradients are added to the parameters'."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a network is to be run for.

    Attributes:
        wanted: The config's backend.
        input_map: Height and width of its images.
        time_steps: T.
        constant_input: Whether an image is the same input at every step.
        precision: Of convolutions.
    """

    wanted: Backend
    input_map: tuple[int, int]
    time_steps: int
    constant_input: bool
    precision: Precision = "float32"


def evaluation_engine(network: Network, demand: Demand) -> tuple[Evaluating | None, str]:
    """What evaluates a network, None for torch; and its name, with the reason if it is not the one that was wanted."""
    return _engine(network, demand, None, training=False)


def training_engine(
    network: Network, demand: Demand, groups: TimeGroups | None, *, watched: str | None
) -> tuple[Training | None, str]:
    """What trains a network, None for torch; and its name, with the reason if it is not the one that was wanted.

    Args:
        network: With gradients.
        demand: What it is run for.
        groups: Of time steps, for the rate-collapsed gradient; None for the exact one.
        watched: Who must see every layer's spikes while it learns, if anybody: the kernels show them to nobody.
    """
    if watched:
        return None, _torch_instead_of(_kernels_for(network), demand.wanted, f"shows no layers to {watched}")
    return _engine(network, demand, groups, training=True)


def kernels_run(network: Network, demand: Demand, *, training: bool) -> bool:
    """Whether the kernels for CPUs will run a network there, if they can be compiled; the network may be on any device."""
    return next(_reasons_against("event_driven", network, demand, None, training=training), None) is None


def _engine(network: Network, demand: Demand, groups: TimeGroups | None, *, training: bool) -> tuple[Any, str]:
    backend = _kernels_for(network)
    reason = next(_reasons_against(backend, network, demand, groups, training=training), None)
    if reason is None:
        try:
            engine = _MAKERS[backend](network, demand, groups, training)
        except Exception as error:  # noqa: BLE001  # whatever is wrong with a compiler, torch still runs
            reason = _lost(backend, f"cannot be compiled here ({type(error).__name__}: {error})")
        else:
            return engine, backend
    return None, _torch_instead_of(backend, demand.wanted, reason)


def _kernels_for(network: Network) -> Kernels:
    """Those of its device."""
    return "triton" if next(network.parameters()).device.type == "cuda" else "event_driven"


def _make_event_driven(network: Network, demand: Demand, groups: TimeGroups | None, training: bool) -> Any:
    # needs Numba, and a second
    if training:
        made = importlib.import_module("trainables.kernels.cpu.training")
        engine = made.TrainingEngine(network, demand.input_map, demand.time_steps, groups)
    else:
        engine = importlib.import_module("trainables.kernels.cpu.evaluation").Engine(network, demand.input_map, demand.time_steps)
    engine.warm_up()
    return engine


def _make_triton(network: Network, demand: Demand, groups: TimeGroups | None, training: bool) -> Any:
    if reason := engine.why_kernels_fail(next(network.parameters()).device):
        raise RuntimeError(reason)
    if training:
        return engine.TrainingEngine(network, demand.time_steps, groups, precision=demand.precision)
    return engine.Engine(network, demand.time_steps, precision=demand.precision)


_MAKERS: dict[Kernels, Callable[[Network, Demand, TimeGroups | None, bool], Any]] = {
    "event_driven": _make_event_driven,
    "triton": _make_triton,
}


def _reasons_against(
    backend: Kernels, network: Network, demand: Demand, groups: TimeGroups | None, *, training: bool
) -> Iterator[str]:
    """Why a backend is not the one, going on from "the event-driven backend …"."""
    if demand.wanted not in ("auto", backend):
        yield "was not asked for"
    if not any(True for _ in network.neurons()):
        yield "is for spiking networks"
    if not demand.constant_input:
        yield "takes inputs that are the same at every time step"
    if backend == "triton":
        if reason := engine.why_not(network, next(network.parameters()).device, groups):
            yield reason
        return
    if next(network.parameters()).dtype != torch.float32 or demand.precision != "float32":
        yield "computes in float32 alone"
    try:
        chain_of(network, training=training)
    except NotAChainError as error:
        yield str(error)


def _torch_instead_of(backend: Kernels, wanted: Backend, reason: str) -> str:
    if wanted in ("auto", backend):
        return f"torch (the {backend.replace('_', '-')} backend {reason})"
    device = {"event_driven": "CPUs", "triton": "GPUs"}
    return f"torch (the {wanted.replace('_', '-')} backend is for {device[wanted]})" if wanted in device else "torch"


@cache
def _lost(backend: Kernels, reason: str) -> str:
    """Say once that everything is slower than it could be."""
    warnings.warn(
        f"the {backend.replace('_', '-')} backend {reason}; torch runs in its stead, several times as slow", stacklevel=2
    )
    return reason
