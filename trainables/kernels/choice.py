"""Which code runs a network: the plain torch of ``network``, which is the definition, or a faster one that means the same.

Spikes are equal where the arithmetic is exact (weights and images of few bits); elsewhere drives are summed in another order, so
that results agree within rounding. So a backend is no part of a replicate's identity, but every report names it.
"""

import warnings
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch

from trainables.kernels.cpu.supported import NotAChainError, chain_of
from trainables.kernels.gpu import triton_backend
from trainables.kernels.interface import Backend, BackendRequest, Evaluating, KernelBackend, Training
from trainables.networks.collapsed import TimeGroups
from trainables.networks.network import Network


def evaluator_for(network: Network, request: BackendRequest) -> tuple[Evaluating | None, str]:
    """What evaluates a network, None for torch; and its name, with the reason if it is not the one that was wanted."""
    return _backend_for(network, request, None, training=False)


def trainer_for(
    network: Network, request: BackendRequest, groups: TimeGroups | None, *, observed_by: str | None
) -> tuple[Training | None, str]:
    """What trains a network, None for torch; and its name, with the reason if it is not the one that was wanted.

    Args:
        network: With gradients.
        request: What it is run for.
        groups: Of time steps, for the rate-collapsed gradient; None for the exact one.
        observed_by: Who must see every layer's spikes while it learns, if anybody: the kernels show them to nobody.
    """
    if observed_by:
        return None, _torch_instead_of(_kernels_for(network), request.wanted, f"shows no layers to {observed_by}")
    return _backend_for(network, request, groups, training=True)


def kernels_support(network: Network, request: BackendRequest, *, training: bool) -> bool:
    """Whether the kernels for CPUs will run a network there, if they can be compiled; the network may be on any device."""
    return next(_reasons_against("event_driven", network, request, None, training=training), None) is None


def _backend_for(network: Network, request: BackendRequest, groups: TimeGroups | None, *, training: bool) -> tuple[Any, str]:
    backend = _kernels_for(network)
    reason = next(_reasons_against(backend, network, request, groups, training=training), None)
    if reason is None:
        try:
            made = _MAKERS[backend](network, request, groups, training)
        except Exception as error:  # noqa: BLE001  # whatever is wrong with a compiler, torch still runs
            reason = _lost(backend, f"cannot be compiled here ({type(error).__name__}: {error})")
        else:
            return made, backend
    return None, _torch_instead_of(backend, request.wanted, reason)


def _kernels_for(network: Network) -> KernelBackend:
    """Those of its device."""
    return "triton" if next(network.parameters()).device.type == "cuda" else "event_driven"


def _make_event_driven(network: Network, request: BackendRequest, groups: TimeGroups | None, training: bool) -> Any:
    # imported here: they need Numba, which takes a second to import and may be missing
    made: Any
    if training:
        from trainables.kernels.cpu.training import EventDrivenTrainer

        made = EventDrivenTrainer(network, request.input_map, request.time_steps, groups)
    else:
        from trainables.kernels.cpu.evaluation import EventDrivenEvaluator

        made = EventDrivenEvaluator(network, request.input_map, request.time_steps)
    made.warm_up()
    return made


def _make_triton(network: Network, request: BackendRequest, groups: TimeGroups | None, training: bool) -> Any:
    if reason := triton_backend.why_kernels_fail(next(network.parameters()).device):
        raise RuntimeError(reason)
    if training:
        return triton_backend.TritonTrainer(network, request.time_steps, groups, precision=request.precision)
    return triton_backend.TritonEvaluator(network, request.time_steps, precision=request.precision)


_MAKERS: dict[KernelBackend, Callable[[Network, BackendRequest, TimeGroups | None, bool], Any]] = {
    "event_driven": _make_event_driven,
    "triton": _make_triton,
}


def _reasons_against(
    backend: KernelBackend, network: Network, request: BackendRequest, groups: TimeGroups | None, *, training: bool
) -> Iterator[str]:
    """Why a backend is not the one, going on from "the event-driven backend …"."""
    if request.wanted not in ("auto", backend):
        yield "was not asked for"
    if not any(True for _ in network.neurons()):
        yield "is for spiking networks"
    if not request.constant_input:
        yield "takes inputs that are the same at every time step"
    if backend == "triton":
        if reason := triton_backend.why_not(network, next(network.parameters()).device, groups):
            yield reason
        return
    if next(network.parameters()).dtype != torch.float32 or request.precision != "float32":
        yield "computes in float32 alone"
    try:
        chain_of(network, training=training)
    except NotAChainError as error:
        yield str(error)


def _torch_instead_of(backend: KernelBackend, wanted: Backend, reason: str) -> str:
    if wanted in ("auto", backend):
        return f"torch (the {backend.replace('_', '-')} backend {reason})"
    device = {"event_driven": "CPUs", "triton": "GPUs"}
    return f"torch (the {wanted.replace('_', '-')} backend is for {device[wanted]})" if wanted in device else "torch"


@cache
def _lost(backend: KernelBackend, reason: str) -> str:
    """Say once that everything is slower than it could be."""
    warnings.warn(
        f"the {backend.replace('_', '-')} backend {reason}; torch runs in its stead, several times as slow", stacklevel=2
    )
    return reason
