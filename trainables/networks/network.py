"""A network as a list of operations that runs an analogue image or T time steps of spikes with the same few lines.

``Network`` takes any module that is made of known parts apart and refuses what it does not know by name, so that nothing is
converted in silence. Time is folded into the batch for all that has no state; what has state (a spiking neuron) sees all steps
of its layer at once. Layers act within the same time step: no spike comes one step late per layer.
"""

import copy
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, fx, nn

from trainables.networks.activations import ACTIVATIONS, QCFS
from trainables.spiking.neurons import SpikingNeuron
from trainables.spiking.pools import LargestCountPool, SplitTiesMaxPool

SYNAPSES = (nn.Conv2d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
MAX_POOLS = (nn.MaxPool2d, SplitTiesMaxPool)
POOLS = (*MAX_POOLS, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
STATEFUL = (SpikingNeuron, LargestCountPool)


class Scale(nn.Module):
    """What the spikes of an identity shortcut are worth: multiplies by a constant shaped as ``like``."""

    weight: Tensor

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones_like(like))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Any shape that ``weight`` broadcasts with."""
        return x_NCHW * self.weight


KNOWN = (*SYNAPSES, *NORMS, *POOLS, *ACTIVATIONS, *STATEFUL, Scale, nn.Flatten, nn.Dropout, nn.Identity)
SMALLEST_SCALE = 1e-3
"""Of a batch norm behind a max pool."""
NUM_FOLDED_IMAGES = 512
"""Time steps times images that ``simulate`` folds at most, which bounds its memory whatever T is."""

INPUT = "input"
State = Mapping[str, Tensor]


class Inputs(Protocol):
    """What a network is shown for a batch of images."""

    num_images: int

    def __call__(self, start: int, length: int) -> Tensor:
        """``[length, B, …]`` for the time steps from ``start`` (0 is the first), or ``[1, B, …]`` if it never changes."""


class ConstantCurrent:
    """Constant current: the normalised image itself is the input at every time step.

    Args:
        images_BCHW: Normalised images.
    """

    def __init__(self, images_BCHW: Tensor) -> None:
        self.num_images = len(images_BCHW)
        self._images_1BCHW = images_BCHW[None]

    def __call__(self, start: int, length: int) -> Tensor:
        """The input of the time steps from ``start``: ``[1, B, C, H, W]``, as it never changes."""
        return self._images_1BCHW


class UnknownModuleError(ValueError):
    """A network holds something whose spiking counterpart is not known; the message names it."""


class Observer(Protocol):
    """Watches a network while it runs."""

    def inputs(self, layer: str, module: nn.Module, inputs_TBN: Tensor) -> None:
        """What the synapses of a layer receive: ``[T, B, …]``, or ``[1, B, …]`` if it is constant."""

    def outputs(self, layer: str, outputs_TBN: Tensor) -> None:
        """What the activations or neurons of a layer give."""


@dataclass(frozen=True)
class Operation:
    """A node of a network's graph.

    Attributes:
        name: Of the operation and its result; for a module also the key of ``Network.parts``.
        kind: ``module``, ``add`` or ``flatten``.
        inputs: Names of the operations whose results it takes, or ``INPUT``.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]


ONE_AT_A_TIME = threading.RLock()
"""Tracing replaces ``nn.Module.__call__`` for the whole process: no thread may trace, or run a network, while another traces."""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, KNOWN) or not any(True for _ in m.children())


class Network(nn.Module):
    """Runs the operations of a module in order; ``operations[-1]`` gives the result.

    Layers are named after their activations in order, layer1, …; synapses belong to the first layer behind them, those
    that have none there to ``output``.

    Args:
        module: Made of the modules in ``KNOWN``, additions and flattening, in any arrangement without loops.

    Raises:
        UnknownModuleError: It is not.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleDict()
        self.operations: list[Operation] = []
        self._input = ""
        try:
            with ONE_AT_A_TIME:
                graph = _Tracer().trace(module)
        except (fx.proxy.TraceError, TypeError) as error:
            raise UnknownModuleError(f"{type(module).__name__} decides by the values that it sees: {error}") from None
        for node in graph.nodes:
            self._add(node, module)
        self.layers = self._name_layers()

    def _add(self, node: fx.Node, module: nn.Module) -> None:
        if node.op == "placeholder":
            if self._input:
                raise UnknownModuleError(f"a network must have one input, but this one has {self._input} and {node.name}")
            self._input = node.name
            return
        if node.op == "output":
            if not isinstance(node.args[0], fx.Node) or node.args[0].name != self.operations[-1].name:
                raise UnknownModuleError("a network must have one result, that of its last operation")
            return
        arguments = node.args + tuple(node.kwargs.values())
        inputs = tuple(INPUT if a.name == self._input else a.name for a in arguments if isinstance(a, fx.Node))
        if node.op == "call_module":
            self._add_part(node.name, str(node.target), module.get_submodule(str(node.target)))
            self.operations.append(Operation(node.name, "module", inputs))
        elif _is(node, "add", "iadd", "add_") and len(inputs) == len(arguments) == 2:
            self.operations.append(Operation(node.name, "add", inputs))
        elif _is(node, "flatten") and _keeps_the_batch_alone(node):
            self.operations.append(Operation(node.name, "flatten", inputs))
        else:
            called = getattr(node.target, "__name__", node.target)
            raise UnknownModuleError(
                f"operation {node.name} calls {called}, whose spiking counterpart is not known; "
                f"write activations and pools as modules, e.g. nn.ReLU()"
            )

    def _add_part(self, name: str, target: str, part: nn.Module) -> None:
        if not isinstance(part, KNOWN):
            raise UnknownModuleError(f"{target} is a {type(part).__name__}, which has no known spiking counterpart")
        if isinstance(part, (*SYNAPSES, *NORMS)) and any(part is other for other in self.parts.values()):
            raise UnknownModuleError(f"{target} is used twice, but weights belong to one layer: what a spike is worth differs")
        if isinstance(part, ACTIVATIONS):  # one module may serve many layers
            part = copy.deepcopy(part)
            if isinstance(part, nn.ReLU):
                part.inplace = False
        self.parts[name] = part

    def _name_layers(self) -> dict[str, str]:
        """The layer of every activation and of every operation with synapses."""
        layers: dict[str, str] = {}
        for operation in self.operations:
            if isinstance(self.parts[operation.name] if operation.kind == "module" else None, (*ACTIVATIONS, SpikingNeuron)):
                layers[operation.name] = f"layer{len(layers) + 1}"
        driven = {
            operation.name: self._driven_layer(operation.name, layers)
            for operation in self.operations
            if self.is_a(operation, *SYNAPSES)
        }
        return layers | driven

    def _driven_layer(self, name: str, layers: Mapping[str, str]) -> str:
        for operation in self.operations:
            if name in operation.inputs:
                return layers[operation.name] if operation.name in layers else self._driven_layer(operation.name, layers)
        return "output"

    def is_a(self, operation: Operation, *kinds: type[nn.Module]) -> bool:
        """Whether an operation is a module of one of these types."""
        return operation.kind == "module" and isinstance(self.parts[operation.name], kinds)

    def operations_of(self, *kinds: type[nn.Module]) -> list[Operation]:
        """The operations that are modules of one of these types, in order."""
        return [operation for operation in self.operations if self.is_a(operation, *kinds)]

    def back_through_pools(self, name: str) -> list[Operation]:
        """The operation called ``name`` and those before it, up to the first that is no pool; the last of them first."""
        operation = next(operation for operation in self.operations if operation.name == name)
        if not self.is_a(operation, *POOLS) or operation.inputs == (INPUT,):
            return [operation]
        return [operation, *self.back_through_pools(operation.inputs[0])]

    def neurons(self) -> Iterator[tuple[str, SpikingNeuron]]:
        """The spiking layers by name, in order."""
        for operation in self.operations:
            part = self.parts[operation.name] if operation.kind == "module" else None
            if isinstance(part, SpikingNeuron):
                yield self.layers[operation.name], part

    def forward(
        self,
        inputs_TBN: Tensor,
        time_steps: int = 1,
        state: State | None = None,
        observers: Sequence[Observer] = (),
        until: str | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The last operation's result, ``[T, B, …]`` (``[1, B, …]`` if it is constant), and the state after the last time step.

        Args:
            inputs_TBN: ``[T, B, …]``, or ``[1, B, …]`` for an input that is the same at every step.
            time_steps: T.
            state: What an earlier call returned, whose time steps these follow.
            observers: See every layer's inputs and outputs.
            until: Name of the operation to stop after, instead of the last.
        """
        if len(inputs_TBN) == 1 and not any(isinstance(part, STATEFUL) for part in self.parts.values()):
            return self._forward_once(inputs_TBN.squeeze(0), observers, until).unsqueeze(0), {}
        state = state or {}
        new_state: dict[str, Tensor] = {}
        results = {INPUT: inputs_TBN}
        for number, operation in enumerate(self.operations):
            arguments = [results[name] for name in operation.inputs]
            if self.is_a(operation, *SYNAPSES):
                for observer in observers:
                    observer.inputs(self.layers[operation.name], self.parts[operation.name], arguments[0])
            results[operation.name], after = self.run_operation(operation, arguments, time_steps, state.get(operation.name))
            if after is not None:
                new_state[operation.name] = after
            if self.is_a(operation, *ACTIVATIONS, SpikingNeuron):
                for observer in observers:
                    observer.outputs(self.layers[operation.name], results[operation.name])
            if operation.name == until:
                return results[operation.name], new_state
            self.forget(results, number)
        return results[self.operations[-1].name], new_state

    def _forward_once(self, inputs_BN: Tensor, observers: Sequence[Observer], until: str | None) -> Tensor:
        """The same of a network without state for one time step, ``[B, …]``: there is no time to fold.

        Folding costs two views a layer, and as many on the way back: a tenth of a small network's training step.
        """
        parts = dict(self.parts.items())
        last_use = {name: number for number, operation in enumerate(self.operations) for name in operation.inputs}
        results = {INPUT: inputs_BN}
        result: Tensor
        for number, operation in enumerate(self.operations):
            name, part, first = operation.name, parts.get(operation.name), results[operation.inputs[0]]
            if observers and isinstance(part, SYNAPSES):
                for observer in observers:
                    observer.inputs(self.layers[name], part, first.unsqueeze(0))
            if part is not None:
                result = part(first)
            else:
                result = first.flatten(1) if operation.kind == "flatten" else first + results[operation.inputs[1]]
            if observers and isinstance(part, ACTIVATIONS):
                for observer in observers:
                    observer.outputs(self.layers[name], result.unsqueeze(0))
            if name == until:
                break
            results[name] = result
            for used in operation.inputs:
                if last_use[used] == number:
                    results.pop(used, None)
        return result

    def run_operation(
        self, operation: Operation, arguments: list[Tensor], time_steps: int, state: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """An operation's result on ``[T, B, …]``, and its state after the last time step if it has one."""
        if self.is_a(operation, *STATEFUL):
            result: tuple[Tensor, Tensor] = self.parts[operation.name](arguments[0], time_steps, state)
            return result
        return self.apply_stateless(operation, arguments), None

    def apply_stateless(self, operation: Operation, arguments: list[Tensor]) -> Tensor:
        """An operation without state on ``[T, B, …]``, time folded into the batch."""
        first = arguments[0]
        if operation.kind == "add":
            return arguments[0] + arguments[1]
        if operation.kind == "flatten":
            return first.flatten(2)
        part = self.parts[operation.name]
        if isinstance(part, nn.Dropout):
            mask: Tensor = part(torch.ones_like(first[:1]))  # the same units at every time step (Rathi et al. 2020)
            return first * mask
        # flatten would forget that images with one channel have it last
        result: Tensor = part(first.squeeze(0) if len(first) == 1 else first.flatten(0, 1))
        return result.reshape(*first.shape[:2], *result.shape[1:])

    def forget(self, results: dict[str, Any], number: int) -> None:
        """Drop the results that no operation after this one needs."""
        for name in self.operations[number].inputs:
            if not any(name in later.inputs for later in self.operations[number + 1 :]):
                results.pop(name, None)

    def simulate(
        self,
        inputs: Inputs,
        time_steps: int,
        observers: Sequence[Observer] = (),
        until: str | None = None,
        *,
        num_micro_batches: int = 1,
    ) -> Iterator[Tensor]:
        """Run T time steps in pieces that fit into memory, and yield the results of each: ``[steps, B, …]``.

        The pieces are as long for one of ``num_micro_batches`` parts of a batch as for the whole batch.
        """
        most_images = max(1, NUM_FOLDED_IMAGES // num_micro_batches)
        state: State = {}
        start = 0
        while start < time_steps:
            # at least 2: a first piece of 1 step would look as if its input were constant
            length = min(time_steps - start, max(2, most_images // inputs.num_images))
            results_TBN, state = self(inputs(start, length), length, state, observers, until)
            yield results_TBN.expand(length, *results_TBN.shape[1:])
            start += length

    def append_activation(self, activation: nn.Module) -> None:
        """Put an activation behind the last operation."""
        last = self.operations[-1].name
        self.parts["output_activation"] = activation
        self.operations.append(Operation("output_activation", "module", (last,)))
        self.layers = self._name_layers()

    def insert(self, module: nn.Module, source: str, target: str) -> None:
        """Put a module between the result of ``source`` and the operation ``target``, which uses it."""
        name = f"{source}_to_{target}"
        self.parts[name] = module
        number, operation = next(
            (number, operation) for number, operation in enumerate(self.operations) if operation.name == target
        )
        inputs = tuple(name if other == source else other for other in operation.inputs)
        self.operations[number : number + 1] = [Operation(name, "module", (source,)), Operation(target, operation.kind, inputs)]

    def swap(self, first: Operation, second: Operation) -> None:
        """Let ``second``, which alone uses the result of ``first``, come before it."""
        swapped = {
            first.name: Operation(second.name, second.kind, first.inputs),
            second.name: Operation(first.name, first.kind, (second.name,)),
        }
        self.operations = [
            swapped.get(other.name)
            or Operation(other.name, other.kind, tuple(first.name if name == second.name else name for name in other.inputs))
            for other in self.operations
        ]

    def remove(self, operation: Operation) -> None:
        """Take out a module with one input; whoever used its result uses that input instead."""
        (source,) = operation.inputs
        kept = [other for other in self.operations if other != operation]
        renamed = {operation.name: source}
        self.operations = [
            Operation(other.name, other.kind, tuple(renamed.get(name, name) for name in other.inputs)) for other in kept
        ]
        del self.parts[operation.name]

    def project(self) -> None:
        """Keep what neurons and activations learn within its bounds, after an optimiser step.

        The scales of batch norms behind a max pool stay above 0, so that the largest of a window is the same before it.
        """
        for part in self.parts.values():
            if isinstance(part, SpikingNeuron | QCFS):
                part.project()
        for norm in self.operations_of(*NORMS):
            if norm.inputs != (INPUT,) and any(self.is_a(pool, *MAX_POOLS) for pool in self.back_through_pools(norm.inputs[0])):
                with torch.no_grad():
                    self.parts[norm.name].weight.clamp_(min=SMALLEST_SCALE)  # type: ignore[operator]


def _keeps_the_batch_alone(flatten: fx.Node) -> bool:
    dims = dict(zip(("start_dim", "end_dim"), flatten.args[1:], strict=False)) | flatten.kwargs
    return (dims.get("start_dim", 0), dims.get("end_dim", -1)) == (1, -1)


def _is(node: fx.Node, *names: str) -> bool:
    called = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return node.op in ("call_function", "call_method") and called in names


def replace_activations(network: Network, make: Callable[[str, nn.Module], nn.Module]) -> None:
    """Put ``make(layer, activation)`` in the place of every activation of a network."""
    for operation in network.operations_of(*ACTIVATIONS):
        network.parts[operation.name] = make(network.layers[operation.name], network.parts[operation.name])
