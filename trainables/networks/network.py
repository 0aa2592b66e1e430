"""A network as a list of steps that runs an analogue image or T time steps of spikes with the same few lines.

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

from trainables.networks.activations import ACTIVATIONS
from trainables.spiking.neurons import SpikingNeuron
from trainables.spiking.pools import LargestCountPool, SplitTiesMaxPool

SYNAPSES = (nn.Conv2d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
POOLS = (nn.MaxPool2d, SplitTiesMaxPool, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
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
NUM_FOLDED_IMAGES = 512
"""Time steps times images that ``simulate`` folds at most, which bounds its memory whatever T is."""

INPUT = "input"
State = Mapping[str, Tensor]


class Inputs(Protocol):
    """What a network is shown for a batch of images."""

    num_images: int

    def __call__(self, start: int, length: int) -> Tensor:
        """``[length, B, …]`` for the time steps from ``start`` (0 is the first), or ``[1, B, …]`` if it never changes."""


class UnknownModuleError(ValueError):
    """A network holds something whose spiking counterpart is not known; the message names it."""


class Observer(Protocol):
    """Watches a network while it runs."""

    def inputs(self, layer: str, module: nn.Module, inputs_TBN: Tensor) -> None:
        """What the synapses of a layer receive: ``[T, B, …]``, or ``[1, B, …]`` if it is constant."""

    def outputs(self, layer: str, outputs_TBN: Tensor) -> None:
        """What the activations or neurons of a layer give."""


@dataclass(frozen=True)
class Step:
    """One operation: a module, ``add`` or ``flatten``, on the results of earlier steps."""

    name: str
    operation: str
    inputs: tuple[str, ...]


ONE_AT_A_TIME = threading.RLock()
"""Tracing replaces ``nn.Module.__call__`` for the whole process: no thread may trace, or run a network, while another traces."""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, KNOWN) or not any(True for _ in m.children())


class Network(nn.Module):
    """Runs the steps of a module; ``steps[-1]`` gives the result.

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
        self.steps: list[Step] = []
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
            if not isinstance(node.args[0], fx.Node) or node.args[0].name != self.steps[-1].name:
                raise UnknownModuleError("a network must have one result, that of its last step")
            return
        arguments = node.args + tuple(node.kwargs.values())
        inputs = tuple(INPUT if a.name == self._input else a.name for a in arguments if isinstance(a, fx.Node))
        if node.op == "call_module":
            self._add_part(node.name, str(node.target), module.get_submodule(str(node.target)))
            self.steps.append(Step(node.name, "module", inputs))
        elif _is(node, "add", "iadd", "add_") and len(inputs) == len(arguments) == 2:
            self.steps.append(Step(node.name, "add", inputs))
        elif _is(node, "flatten") and _keeps_the_batch_alone(node):
            self.steps.append(Step(node.name, "flatten", inputs))
        else:
            called = getattr(node.target, "__name__", node.target)
            raise UnknownModuleError(
                f"step {node.name} calls {called}, whose spiking counterpart is not known; "
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
        """The layer of every activation and of every step with synapses."""
        layers: dict[str, str] = {}
        for step in self.steps:
            if isinstance(self.parts[step.name] if step.operation == "module" else None, (*ACTIVATIONS, SpikingNeuron)):
                layers[step.name] = f"layer{len(layers) + 1}"
        driven = {step.name: self._driven_layer(step.name, layers) for step in self.steps if self.is_a(step, *SYNAPSES)}
        return layers | driven

    def _driven_layer(self, name: str, layers: Mapping[str, str]) -> str:
        for step in self.steps:
            if name in step.inputs:
                return layers[step.name] if step.name in layers else self._driven_layer(step.name, layers)
        return "output"

    def is_a(self, step: Step, *kinds: type[nn.Module]) -> bool:
        """Whether a step is a module of one of these kinds."""
        return step.operation == "module" and isinstance(self.parts[step.name], kinds)

    def steps_of(self, *kinds: type[nn.Module]) -> list[Step]:
        """The steps that are modules of one of these kinds, in order."""
        return [step for step in self.steps if self.is_a(step, *kinds)]

    def neurons(self) -> Iterator[tuple[str, SpikingNeuron]]:
        """The spiking layers by name, in order."""
        for step in self.steps:
            part = self.parts[step.name] if step.operation == "module" else None
            if isinstance(part, SpikingNeuron):
                yield self.layers[step.name], part

    def forward(
        self,
        inputs_TBN: Tensor,
        time_steps: int = 1,
        state: State | None = None,
        observers: Sequence[Observer] = (),
        until: str | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The result of the last step, ``[T, B, …]`` (``[1, B, …]`` if it is constant), and the state after the last time step.

        Args:
            inputs_TBN: ``[T, B, …]``, or ``[1, B, …]`` for an input that is the same at every step.
            time_steps: T.
            state: What an earlier call returned, whose time steps these follow.
            observers: See every layer's inputs and outputs.
            until: The step to stop after, instead of the last.
        """
        if len(inputs_TBN) == 1 and not any(isinstance(part, STATEFUL) for part in self.parts.values()):
            return self._forward_once(inputs_TBN.squeeze(0), observers, until).unsqueeze(0), {}
        state = state or {}
        new_state: dict[str, Tensor] = {}
        results = {INPUT: inputs_TBN}
        for number, step in enumerate(self.steps):
            arguments = [results[name] for name in step.inputs]
            if self.is_a(step, *SYNAPSES):
                for observer in observers:
                    observer.inputs(self.layers[step.name], self.parts[step.name], arguments[0])
            results[step.name], after = self.run_step(step, arguments, time_steps, state.get(step.name))
            if after is not None:
                new_state[step.name] = after
            if self.is_a(step, *ACTIVATIONS, SpikingNeuron):
                for observer in observers:
                    observer.outputs(self.layers[step.name], results[step.name])
            if step.name == until:
                return results[step.name], new_state
            self.forget(results, number)
        return results[self.steps[-1].name], new_state

    def _forward_once(self, inputs_BN: Tensor, observers: Sequence[Observer], until: str | None) -> Tensor:
        """The same of a network without state for one time step, ``[B, …]``: there is no time to fold.

        Folding costs two views a layer, and as many on the way back: a tenth of a small network's training step.
        """
        parts = dict(self.parts.items())
        last_use = {name: number for number, step in enumerate(self.steps) for name in step.inputs}
        results = {INPUT: inputs_BN}
        result: Tensor
        for number, step in enumerate(self.steps):
            name, part, first = step.name, parts.get(step.name), results[step.inputs[0]]
            if observers and isinstance(part, SYNAPSES):
                for observer in observers:
                    observer.inputs(self.layers[name], part, first.unsqueeze(0))
            if part is not None:
                result = part(first)
            else:
                result = first.flatten(1) if step.operation == "flatten" else first + results[step.inputs[1]]
            if observers and isinstance(part, ACTIVATIONS):
                for observer in observers:
                    observer.outputs(self.layers[name], result.unsqueeze(0))
            if name == until:
                break
            results[name] = result
            for used in step.inputs:
                if last_use[used] == number:
                    results.pop(used, None)
        return result

    def run_step(
        self, step: Step, arguments: list[Tensor], time_steps: int, state: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """A step's result on ``[T, B, …]``, and its state after the last time step if it has one."""
        if self.is_a(step, *STATEFUL):
            result: tuple[Tensor, Tensor] = self.parts[step.name](arguments[0], time_steps, state)
            return result
        return self.apply_stateless(step, arguments), None

    def apply_stateless(self, step: Step, arguments: list[Tensor]) -> Tensor:
        """A step without state on ``[T, B, …]``, time folded into the batch."""
        first = arguments[0]
        if step.operation == "add":
            return arguments[0] + arguments[1]
        if step.operation == "flatten":
            return first.flatten(2)
        part = self.parts[step.name]
        if isinstance(part, nn.Dropout):
            mask: Tensor = part(torch.ones_like(first[:1]))  # the same units at every time step (Rathi et al. 2020)
            return first * mask
        result: Tensor = part(first.flatten(0, 1))
        return result.reshape(*first.shape[:2], *result.shape[1:])

    def forget(self, results: dict[str, Any], number: int) -> None:
        """Let go of results that no step after this one needs."""
        for name in self.steps[number].inputs:
            if not any(name in later.inputs for later in self.steps[number + 1 :]):
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
        """Let the last step drive one more layer."""
        last = self.steps[-1].name
        self.parts["output_activation"] = activation
        self.steps.append(Step("output_activation", "module", (last,)))
        self.layers = self._name_layers()

    def insert(self, module: nn.Module, source: str, target: str) -> None:
        """Put a module between the result of ``source`` and the step ``target``, which uses it."""
        name = f"{source}_to_{target}"
        self.parts[name] = module
        number, step = next((number, step) for number, step in enumerate(self.steps) if step.name == target)
        inputs = tuple(name if other == source else other for other in step.inputs)
        self.steps[number : number + 1] = [Step(name, "module", (source,)), Step(target, step.operation, inputs)]

    def remove(self, step: Step) -> None:
        """Take out a module with one input; whoever used its result uses that input instead."""
        (source,) = step.inputs
        kept = [other for other in self.steps if other != step]
        renamed = {step.name: source}
        self.steps = [
            Step(other.name, other.operation, tuple(renamed.get(name, name) for name in other.inputs)) for other in kept
        ]
        del self.parts[step.name]

    def project(self) -> None:
        """Keep learnt neuron parameters within their bounds, after an optimiser step."""
        for part in self.parts.values():
            if isinstance(part, SpikingNeuron):
                part.project()


def _keeps_the_batch_alone(flatten: fx.Node) -> bool:
    dims = dict(zip(("start_dim", "end_dim"), flatten.args[1:], strict=False)) | flatten.kwargs
    return (dims.get("start_dim", 0), dims.get("end_dim", -1)) == (1, -1)


def _is(node: fx.Node, *names: str) -> bool:
    called = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return node.op in ("call_function", "call_method") and called in names


def replace_activations(network: Network, make: Callable[[str, nn.Module], nn.Module]) -> None:
    """Put ``make(layer, activation)`` in the place of every activation of a network."""
    for step in network.steps_of(*ACTIVATIONS):
        network.parts[step.name] = make(network.layers[step.name], network.parts[step.name])
