"""How much memory training will take, from the sizes of tensors alone.

The peak is that of all tensors that live at once::

    weights, gradients and the optimiser's state: 4 P with AdamW and Muon, 3 P with SGD; P where nothing is trained; P more where
    an epoch is selected, and P more where weights are averaged
    + the largest of training, evaluation and calibration

    training     batch · (what the backward pass needs of every layer, over all time steps + the largest result once more)
    evaluation   64 images · (4 of the largest results over the steps that ``simulate`` folds + all membrane potentials)
    calibration  every layer's activations twice, and the larger of evaluation and once more; 4 P of copied weights

The backward pass needs what enters convolutions, linear layers, pools, norms and clamps; what leaves a ReLU; where the largest
inputs of max pools were; of spiking neurons a mask, or with a surrogate the derivative of every step. A rate-collapsed one
needs group means of these, and the forward pass before it holds 6 results over all time steps at once, most of them to find
where the gradient of a max pool goes.

Results of an analogue network in bfloat16 have two bytes a number, and so have the copies of its weights that convolutions
read. Of spiking networks in bfloat16, whose membrane potentials are float32, as much is predicted as in float32.

What simulates a network in plain PyTorch before it is trained, to measure drives, takes as much as an evaluation there.

A batch that is run in n parts (``num_micro_batches``) is the size of its largest part, in evaluation as in training; weights,
gradients and a calibration's activations are as many as before.

A process takes more than its tensors: glibc gives blocks of 32 MiB and more back at once, but smaller ones stay in a heap with
gaps. The factors were measured on Linux, on CPUs.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from trainables.costs.kernel_memory import NO_KERNELS, TABLES, KernelUse, kernel_bytes, shared_weight_bytes
from trainables.networks.activations import QCFS, ClampedReLU
from trainables.networks.collapsed import group_sizes
from trainables.networks.drive_normalisation import standardisation_of
from trainables.networks.network import INPUT, NORMS, NUM_FOLDED_IMAGES, POOLS, SYNAPSES, Network, Operation
from trainables.networks.rewriting import folded
from trainables.networks.shapes import operation_lengths
from trainables.spiking.neurons import SpikingNeuron
from trainables.spiking.pools import LargestCountPool, SplitTiesMaxPool
from trainables.training.epochs.judging import EVALUATION_BATCH_SIZE, size_of_parts
from trainables.training.recipe import Recipe
from trainables.training.task import Task

FLOAT, HALF = 4, 2
INDEX = 8
MAPPED_BYTES = 2**25
"""The size of a block from which on it is given back."""
MAPPED, HEAP, STEPWISE, KERNELS = 1.55, 2.2, 3.2, 1.3
"""Peak resident memory over the tensors' own bytes where the largest of them is given back; where not; where those of single
time steps lie among those of all, as in back-propagation through time; and where kernels do the work."""
COLLAPSED_RESULTS = 6

NEEDS_INPUT = (*SYNAPSES, *POOLS, *NORMS, ClampedReLU)
NEEDS_OUTPUT = (nn.ReLU, SplitTiesMaxPool)
VIEWS = (nn.Flatten, nn.Identity)


@dataclass(frozen=True)
class _Peak:
    """Bytes of all tensors that are there at once, and the factor for the gaps between them."""

    tensors: int
    gaps: float

    def resident(self, *, beside: int) -> int:
        return round((self.tensors + beside) * self.gaps)


@dataclass(frozen=True)
class TeacherSize:
    """Of a network that another one learns from: its parameters, and the numbers in its largest result for one image."""

    parameters: int = 0
    largest: int = 0

    def tensors(self, batch_size: int) -> int:
        """Bytes of its weights, and of the results that are there at once while it runs."""
        return FLOAT * (self.parameters + 4 * batch_size * self.largest)


def memory_bytes(
    network: Network,
    shapes: Mapping[str, torch.Size],
    task: Task,
    recipe: Recipe,
    *,
    calibration_images: int,
    kernels: KernelUse = NO_KERNELS,
    teacher: TeacherSize = TeacherSize(),
) -> int:
    """The predicted peak of a process beyond what it takes before it trains; never more for more parts of a batch.

    Args:
        network: Its structure, on any device.
        shapes: Of every operation's result, for one image (see ``operation_shapes``).
        task: How the network is run, and in how many parts a batch.
        recipe: How it is trained.
        calibration_images: On how many images a conversion keeps all activations; 0 without one.
        kernels: What plain PyTorch does not run.
        teacher: Of a network that is distilled.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    parameters = FLOAT * sum(parameter.numel() for parameter in network.parameters())
    copies_of_weights = (3 if recipe.optimizer == "sgd" else 4) + (recipe.ema_decay > 0) if recipe.epochs else 1
    copies_of_weights += _copies_for_normalisation(network) + (task.selection != "last")
    more_weights = parameters // 2 if _bytes_of(network, task) == HALF else 0
    predicted = [
        max(
            peak.resident(
                beside=copies_of_weights * parameters
                + more_weights
                + teacher.tensors(size_of_parts(recipe.batch_size, num_parts))
            )
            for peak in _peaks(network, sizes, task, recipe, parameters, calibration_images, num_parts, kernels)
        )
        for num_parts in range(1, task.num_micro_batches + 1)
    ]
    return min(predicted)  # where blocks become small enough for the heap, its gaps are predicted too large at first


def _copies_for_normalisation(network: Network) -> int:
    """Copies of the weights that normalised drives take: the network that is judged, those that it is made from or, where weights
    are standardised, what their backward pass needs.
    """
    if any(standardisation_of(part) for part in network.parts.values()):
        return 5
    return 3 if folded(network) is not network else 0


def _peaks(
    network: Network,
    sizes: Mapping[str, int],
    task: Task,
    recipe: Recipe,
    parameters: int,
    calibration_images: int,
    num_parts: int,
    kernels: KernelUse,
) -> Iterator[_Peak]:
    """Of evaluation, training and calibration, beside the weights."""
    evaluation = _evaluation(network, sizes, task, size_of_parts(EVALUATION_BATCH_SIZE, num_parts))
    if kernels.evaluation:
        num_epochs = recipe.epochs if kernels.training else 0
        tables = TABLES * (parameters + shared_weight_bytes(network, sizes))
        yield _Peak(tables + kernel_bytes(network, sizes, task, num_epochs=num_epochs), KERNELS)
    if not kernels.evaluation or task.simulates_to_prepare:
        yield evaluation
    if recipe.epochs and not kernels.training:
        yield _training(
            network, sizes, task, max(task.training_time_steps(recipe.epochs)), size_of_parts(recipe.batch_size, num_parts)
        )
    if calibration_images:
        activations = (
            FLOAT * calibration_images * sum(sizes[operation.name] for operation in network.operations_of(SpikingNeuron))
        )
        copies = 4 * parameters + 2 * activations
        yield _Peak(copies + max(activations, evaluation.tensors), evaluation.gaps)


def _bytes_of(network: Network, task: Task) -> int:
    """How many a number of the network's results has."""
    return HALF if task.precision == "bfloat16" and not any(True for _ in network.neurons()) else FLOAT


def _gaps(largest: int) -> float:
    return MAPPED if largest >= MAPPED_BYTES else HEAP


def _evaluation(network: Network, sizes: Mapping[str, int], task: Task, batch_size: int) -> _Peak:
    folded = min(task.eval_time_steps, max(2, NUM_FOLDED_IMAGES // EVALUATION_BATCH_SIZE))
    largest = batch_size * _bytes_of(network, task) * max(_elements(network, sizes, task, folded).values())
    membrane_potentials = sum(sizes[operation.name] for operation in network.operations_of(SpikingNeuron))
    return _Peak(4 * largest + batch_size * FLOAT * membrane_potentials, _gaps(largest))


def _training(network: Network, sizes: Mapping[str, int], task: Task, time_steps: int, batch_size: int) -> _Peak:
    results, width = _elements(network, sizes, task, time_steps), _bytes_of(network, task)
    largest = batch_size * width * max(results.values())
    if task.time_groups is None:
        stepwise = any(neuron.model.surrogate for _, neuron in network.neurons())
        needed = batch_size * _needed(network, results, width, collapsed=False)
        return _Peak(needed + largest, STEPWISE if stepwise else _gaps(largest))
    means = _elements(network, sizes, task, len(group_sizes(time_steps, task.time_groups)))
    return _Peak(batch_size * _needed(network, means, width, collapsed=True) + COLLAPSED_RESULTS * largest, _gaps(largest))


def _elements(network: Network, sizes: Mapping[str, int], task: Task, time_steps: int) -> dict[str, int]:
    """Of every result over its time steps, for one image."""
    lengths = operation_lengths(network, time_steps, constant_input=task.encoding == "constant")
    return {name: sizes[name] * lengths[name] for name in sizes}


def _needed(network: Network, elements: Mapping[str, int], width: int, *, collapsed: bool) -> int:
    """Bytes that wait for the backward pass, per image, of numbers of ``width`` bytes; a result that several operations need is
    there once.
    """
    results: set[str] = set()
    more = 0
    for operation in network.operations:
        part = network.parts[operation.name] if operation.kind == "module" else None
        if isinstance(part, NEEDS_INPUT):
            results.add(_owner(network, operation.inputs[0]))
        if isinstance(part, NEEDS_OUTPUT):
            results.add(operation.name)
        if isinstance(part, SpikingNeuron) and not collapsed and part.model.surrogate and part.model.integrate == "clamped":
            results.add(_owner(network, operation.inputs[0]))
        more += _needed_beside(operation, part, elements, width, collapsed=collapsed)
    return width * sum(elements[name] for name in results) + more


def _needed_beside(
    operation: Operation, part: nn.Module | None, elements: Mapping[str, int], width: int, *, collapsed: bool
) -> int:
    """Bytes for the backward pass of an operation that are no operation's result, such as masks."""
    source, result = elements[operation.inputs[0]], elements[operation.name]
    if isinstance(part, nn.MaxPool2d | SplitTiesMaxPool):
        return width * source if collapsed else INDEX * result
    if isinstance(part, LargestCountPool):
        return width * source + (INDEX + 1) * result
    if isinstance(part, QCFS):
        return width * result  # its ratio to the step; the activation is what enters the next layer
    if isinstance(part, SpikingNeuron):
        return _needed_by_neurons(part, source, result, collapsed=collapsed)
    return 0


def _needed_by_neurons(neuron: SpikingNeuron, drive: int, spikes: int, *, collapsed: bool) -> int:
    if collapsed:
        return FLOAT * spikes
    if neuron.model.surrogate is None:
        return drive
    return FLOAT * spikes * (1 + 2 * (neuron.model.reset == "hard") + 3 * neuron.trainable)


def _owner(network: Network, name: str) -> str:
    """The operation whose memory a result lies in: flattening copies nothing."""
    operation = next((operation for operation in network.operations if operation.name == name), None)
    if name == INPUT or operation is None or not (operation.kind == "flatten" or network.is_a(operation, *VIEWS)):
        return name
    return _owner(network, operation.inputs[0])
