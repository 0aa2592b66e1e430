"""Parameters, operations and memory of a replicate, known before it is trained.

The network is built without memory (torch's meta device), so that this takes milliseconds, or tens of them for deep networks.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from trainables.costs.kernel_memory import KernelUse
from trainables.costs.memory_model import TeacherSize, memory_bytes
from trainables.kernels.choice import kernels_support
from trainables.networks.layouts import ImageShape, downsized_shape
from trainables.networks.network import ONE_AT_A_TIME, SYNAPSES, Network
from trainables.networks.rewriting import folded
from trainables.networks.shapes import operation_lengths, operation_shapes
from trainables.spiking.costs import dense_operations
from trainables.training.loop import backend_request, needs_layer_observers
from trainables.training.recipe import Recipe
from trainables.training.task import Task


@dataclass(frozen=True)
class Footprint:
    """The parameters, operations and memory of a config; they do not depend on its seed.

    Attributes:
        num_parameters: Parameters of the network that is judged, learnt or fixed.
        operations_per_image: Dense synaptic operations of one evaluated image over all its time steps: what
            ``ops/dense_operations`` will say.
        training_operations: The same of the forward pass of one image in training, a mean where its steps differ in T; 0 where
            nothing is trained, as in a conversion without fine-tuning. A source network's are its own.
        memory_bytes: Predicted peak of a process beyond what it takes before it trains, on plain PyTorch (``training.memory``).
        cpu_memory_bytes: The same on a CPU, where kernels may run that take far less (``training.kernel_memory``).
    """

    num_parameters: int
    operations_per_image: int
    training_operations: int
    memory_bytes: int
    cpu_memory_bytes: int

    def memory_on(self, *, gpu: bool) -> int:
        """The prediction for a device."""
        return self.memory_bytes if gpu else self.cpu_memory_bytes


def footprint_of(task: Task, recipe: Recipe, input_shape: ImageShape, *, calibration_images: int = 0) -> Footprint:
    """The footprint of a task under a recipe.

    Args:
        task: What is trained.
        recipe: How; no epochs, no training.
        input_shape: Height, width, channels of what the network sees.
        calibration_images: On how many images a conversion keeps all activations.
    """
    with ONE_AT_A_TIME, torch.device("meta"):  # a driver's main thread and its writer both ask
        network = task.build()
        judged = folded(network)
        shapes = operation_shapes(network, input_shape)
        teacher = _teacher_size(task, input_shape)
    predict = partial(memory_bytes, network, shapes, task, recipe, calibration_images=calibration_images, teacher=teacher)
    operations = partial(_operations, shapes=shapes, constant_input=task.encoding == "constant")
    shares = task.training_time_steps(recipe.epochs).items()
    trained = sum(share * operations(network, time_steps=time_steps) for time_steps, share in shares)
    if small := task.small_images:
        with ONE_AT_A_TIME, torch.device("meta"):
            small_shapes = operation_shapes(network, downsized_shape(input_shape, small.side))
        at_first = operations(network, shapes=small_shapes, time_steps=task.time_steps)
        trained = small.share * at_first + (1 - small.share) * trained
    return Footprint(
        num_parameters=sum(parameter.numel() for parameter in judged.parameters()),
        operations_per_image=operations(judged, time_steps=task.eval_time_steps),
        training_operations=round(trained) if recipe.epochs else 0,
        memory_bytes=predict(),
        cpu_memory_bytes=predict(kernels=kernels_for(task, recipe, network, judged, input_shape)),
    )


def _teacher_size(task: Task, input_shape: ImageShape) -> TeacherSize:
    if task.distillation is None:
        return TeacherSize()
    teacher = task.distillation.teacher()
    largest = max(math.prod(shape) for shape in operation_shapes(teacher, input_shape).values())
    return TeacherSize(sum(parameter.numel() for parameter in teacher.parameters()), largest)


def kernels_for(task: Task, recipe: Recipe, network: Network, judged: Network, input_shape: ImageShape) -> KernelUse:
    """Which parts of a task the kernels for CPUs would run on a CPU; ``network`` and its ``judged`` form may be on any device."""
    training, evaluation = (
        backend_request(task, recipe, input_shape, steps) for steps in (task.time_steps, task.eval_time_steps)
    )
    return KernelUse(
        training=kernels_support(network, training, training=True) and needs_layer_observers(task) is None,
        evaluation=kernels_support(judged, evaluation, training=False),
    )


def _operations(network: Network, shapes: Mapping[str, torch.Size], time_steps: int, *, constant_input: bool) -> int:
    lengths = operation_lengths(network, time_steps, constant_input=constant_input)
    total = 0
    for operation in network.operations_of(*SYNAPSES):
        part, (source,) = network.parts[operation.name], operation.inputs
        assert isinstance(part, nn.Conv2d | nn.Linear)
        total += dense_operations(part, shapes[source]) * lengths[source]
    return total
