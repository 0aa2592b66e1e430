"""Which code runs a network: the plain torch of ``network``, which is the definition, or a faster one that means the same.

Spikes are equal where the arithmetic is exact (weights and images of few bits); elsewhere drives are summed in another order, so
that results agree within rounding. So a backend is no part of a replicate's identity, but every report names it.
"""

import warnings
from functools import cache
from typing import TYPE_CHECKING, Literal, TypeVar

import torch

from trainables.event_driven.chain import NotAChainError, chain_of
from trainables.networks.collapsed import TimeGroups
from trainables.networks.network import Network

if TYPE_CHECKING:
    from trainables.event_driven.engine import Engine
    from trainables.event_driven.gradients import TrainingEngine

Backend = Literal["auto", "torch", "event_driven", "triton"]
EVENT_DRIVEN = "event_driven"
TORCH = "torch"


class BackendUnavailableError(Exception):
    """A backend cannot run a network; the message goes on from "the event-driven backend …"."""


def evaluation_engine(wanted: Backend, network: Network, input_map: tuple[int, int], time_steps: int) -> "Engine":
    """The event-driven engine for a network that is not trained.

    Raises:
        BackendUnavailableError: It does not apply.
    """
    _check(wanted, network, training=False)
    from trainables.event_driven.engine import Engine

    return _ready(Engine(network, input_map, time_steps))


def training_engine(
    wanted: Backend, network: Network, input_map: tuple[int, int], time_steps: int, groups: TimeGroups | None
) -> "TrainingEngine":
    """The event-driven engine for training a network; with ``groups`` its gradient is the rate-collapsed one.

    Raises:
        BackendUnavailableError: It does not apply.
    """
    _check(wanted, network, training=True)
    from trainables.event_driven.gradients import TrainingEngine

    return _ready(TrainingEngine(network, input_map, time_steps, groups))


def _check(wanted: Backend, network: Network, *, training: bool) -> None:
    if wanted not in ("auto", EVENT_DRIVEN):
        raise BackendUnavailableError(f"was not asked for, but {wanted}")
    if not any(True for _ in network.neurons()):
        raise BackendUnavailableError("is for spiking networks")
    tensor = next(network.parameters())
    if tensor.device.type != "cpu":
        raise BackendUnavailableError("is for CPUs")
    if tensor.dtype != torch.float32:
        raise BackendUnavailableError("computes in float32 alone")
    try:
        chain_of(network, training=training)
    except NotAChainError as error:
        raise BackendUnavailableError(str(error)) from None
    if problem := _import_problem():
        raise BackendUnavailableError(problem)


@cache
def _import_problem() -> str | None:
    """Why there are no kernels here, if so."""
    try:
        import trainables.event_driven.forward  # noqa: F401
    except ImportError as error:
        return _lost(f"needs numba: {error}")
    return None


AnyEngine = TypeVar("AnyEngine", bound="Engine")


def _ready(engine: AnyEngine) -> AnyEngine:
    try:
        engine.warm_up()
    except Exception as error:  # whatever is wrong with a compiler, torch still runs
        raise BackendUnavailableError(_lost(f"cannot compile its kernels: {type(error).__name__}: {error}")) from error
    return engine


@cache
def _lost(problem: str) -> str:
    """Say once that training is slower than it could be."""
    warnings.warn(f"the event-driven backend {problem}; torch is used in its stead, which is slower", stacklevel=2)
    return problem
