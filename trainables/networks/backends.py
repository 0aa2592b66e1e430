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

from trainables.event_driven.chain import NotAChainError, chain_of
from trainables.networks.collapsed import TimeGroups
from trainables.networks.network import Network
from trainables.spiking.costs import CostMeter

Backend = Literal["auto", "torch", "event_driven", "triton"]
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
    """

    wanted: Backend
    input_map: tuple[int, int]
    time_steps: int
    constant_input: bool


def evaluation_engine(network: Network, demand: Demand) -> tuple[Evaluating | None, str]:
    """What evaluates a network, None for torch; and its name, with the reason if it is not the one that was wanted."""
    return _engine(network, demand, "engine", "Engine", training=False)


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
        return None, _torch_instead_of(demand.wanted, f"shows no layers to {watched}")
    return _engine(network, demand, "gradients", "TrainingEngine", groups, training=True)


def _engine(network: Network, demand: Demand, module: str, kind: str, *options: Any, training: bool) -> tuple[Any, str]:
    reason = next(_reasons_against(network, demand, training=training), None)
    if reason is None:
        try:
            made = importlib.import_module(f"trainables.event_driven.{module}")  # needs Numba, and a second
            engine = getattr(made, kind)(network, demand.input_map, demand.time_steps, *options)
            engine.warm_up()
        except Exception as error:  # noqa: BLE001  # whatever is wrong with a compiler, torch still runs
            reason = _lost(f"cannot be compiled here ({type(error).__name__}: {error})")
        else:
            return engine, "event_driven"
    return None, _torch_instead_of(demand.wanted, reason)


def _reasons_against(network: Network, demand: Demand, *, training: bool) -> Iterator[str]:
    """Why the event-driven backend is not the one, going on from "the event-driven backend …"."""
    if demand.wanted not in ("auto", "event_driven"):
        yield "was not asked for"
    if not any(True for _ in network.neurons()):
        yield "is for spiking networks"
    tensor = next(network.parameters())
    if tensor.device.type != "cpu":
        yield "is for CPUs"
    if tensor.dtype != torch.float32:
        yield "computes in float32 alone"
    if not demand.constant_input:
        yield "takes inputs that are the same at every time step"
    try:
        chain_of(network, training=training)
    except NotAChainError as error:
        yield str(error)


def _torch_instead_of(wanted: Backend, reason: str) -> str:
    return f"torch (the event-driven backend {reason})" if wanted in ("auto", "event_driven") else "torch"


@cache
def _lost(reason: str) -> str:
    """Say once that everything is slower than it could be."""
    warnings.warn(f"the event-driven backend {reason}; torch runs in its stead, several times as slow", stacklevel=2)
    return reason
