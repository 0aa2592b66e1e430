"""Which code runs a network: plain torch (``networks.network``), which is the definition, or a backend that does the same faster.

Spikes are equal where the arithmetic is exact (weights and images of few bits); elsewhere drives are summed in another order, so
that results agree within rounding. So a backend is not part of a replicate's identity, but every report names it.

``auto`` chooses the event-driven kernels on a CPU, where they support the network. On a GPU it chooses plain torch until the
Triton kernels have been measured on one: so far they are tested in Triton's interpreter alone.
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

UNMEASURED = "has not been measured on a GPU yet; backend: triton asks for it"
"""Why ``auto`` means plain torch on a CUDA device."""


def evaluator_for(network: Network, request: BackendRequest) -> tuple[Evaluating | None, str]:
    """What evaluates a network, None for plain torch; and its name for the record, with the reason where it is torch."""
    return _backend_for(network, request, None, training=False)


def trainer_for(
    network: Network, request: BackendRequest, groups: TimeGroups | None, *, observed_by: str | None
) -> tuple[Training | None, str]:
    """What trains a network, None for plain torch; and its name for the record, with the reason where it is torch.

    Args:
        network: With gradients.
        request: How it is to be run.
        groups: Groups of time steps of the rate-collapsed gradient; None for the exact gradient.
        observed_by: What must see the spikes of every layer during training, such as a penalty; the kernels do not show them.
    """
    if observed_by:
        return None, _torch_instead_of(_kernels_for(network), request.wanted, f"shows no layers to {observed_by}")
    return _backend_for(network, request, groups, training=True)


def kernels_support(network: Network, request: BackendRequest, *, training: bool) -> bool:
    """Whether the kernels for CPUs support a network, if they can be compiled; the network itself may be on any device."""
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
    """The backend for the device that the network is on."""
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
    """Why a backend does not run a network; each continues "the event-driven backend …"."""
    if request.wanted not in ("auto", backend):
        yield "was not asked for"
    if not any(True for _ in network.neurons()):
        yield "is for spiking networks"
    if not request.constant_input:
        yield "takes inputs that are the same at every time step"
    if backend == "triton":
        if reason := triton_backend.why_not(network, next(network.parameters()).device, groups):
            yield reason
        if request.wanted == "auto":
            yield UNMEASURED
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
    """Warn once that training will be slower than it could be."""
    name = backend.replace("_", "-")
    warnings.warn(f"the {name} backend {reason}; plain torch is used instead, and takes several times as long", stacklevel=2)
    return reason
