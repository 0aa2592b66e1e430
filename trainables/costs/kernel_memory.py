"""How much memory the event-driven kernels take beside the weights: bits, and lists that are used again.

See ``kernels.cpu.workspace``. What an image needs between its forward and its backward pass is two bits for every neuron and
time step (spike and mask), a half more with borders (the first layer's spikes are not kept for an exact gradient, which is not
subtracted here); floats for the first layer's constant drives and their gradients; and
means where time steps are grouped. As many images are taken at once as fit into a budget. Lists are filled as far as neurons
spike or pass gradients: a half of what they could hold is counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from trainables.kernels.cpu.memory_limits import (
    EVALUATION_BYTES,
    EXACT_BYTES,
    GROUPED_BYTES,
    MOST_LISTED_BYTES,
    MOST_SAMPLED_BYTES,
    MOST_STEPS,
)
from trainables.networks.collapsed import group_sizes
from trainables.networks.network import Network
from trainables.spiking.neurons import SpikingNeuron
from trainables.training.loop import most_kept_trainers
from trainables.training.task import Task

FLOAT = 4
BITS = 3 / 8
"""Bytes for a neuron and time step."""
TABLES = 3
"""Copies of all weights: in rows for spikes, in rows for gradients, and the sum of their own gradients."""
FILLED = 0.5


@dataclass(frozen=True)
class KernelUse:
    """Which parts of a replicate the kernels for CPUs run, rather than plain PyTorch."""

    training: bool
    evaluation: bool


NO_KERNELS = KernelUse(training=False, evaluation=False)


def shared_weight_bytes(network: Network, sizes: Mapping[str, int]) -> int:
    """What the weights behind a global average pool take more, as every pixel has a row of its own in the kernels' tables."""
    more = 0
    for pool in network.operations_of(nn.AdaptiveAvgPool2d):
        behind = network.operations[network.operations.index(pool) :]
        linear = next(network.parts[each.name] for each in behind if network.is_a(each, nn.Linear))
        assert isinstance(linear, nn.Linear)
        pixels = sizes[pool.inputs[0]] // sizes[pool.name]
        more += FLOAT * (pixels - 1) * linear.in_features * linear.out_features
    return more


def kernel_bytes(network: Network, sizes: Mapping[str, int], task: Task, *, num_epochs: int) -> int:
    """The predicted peak of one thread, beside weights and their ``TABLES``.

    Args:
        network: A chain that the kernels take.
        sizes: Of every operation's result, for one image.
        task: How the network is run.
        num_epochs: Of training; 0 where the kernels only evaluate.
    """
    neurons = [sizes[operation.name] for operation in network.operations_of(SpikingNeuron)]
    evaluation = _held(neurons, task.eval_time_steps, 0, EVALUATION_BYTES)
    if not num_epochs:
        return round(evaluation + _listed(neurons, task.eval_time_steps))
    time_steps, num_trainers = max(task.training_time_steps(num_epochs)), most_kept_trainers(task)
    groups = len(group_sizes(time_steps, task.time_groups)) if task.time_groups is not None else 0
    training = _held(neurons, time_steps, groups, GROUPED_BYTES if groups else EXACT_BYTES)
    lists = _listed(neurons, max(time_steps, task.eval_time_steps))
    largest = max(neurons[1:], default=0)
    gradients = 2 * 2 * FILLED * max(MOST_SAMPLED_BYTES, 2 * FLOAT * largest)  # by place and by channel, of two layers in turn
    return round(num_trainers * (training + gradients + lists) + evaluation)


def _held(neurons: list[int], time_steps: int, groups: int, budget: int) -> float:
    an_image = BITS * time_steps * sum(neurons) + 2 * FLOAT * (neurons[0] + groups * sum(neurons))
    return max(budget, an_image)


def _listed(neurons: list[int], time_steps: int) -> float:
    """Spikes that begin and that end, of the layer with the most."""
    a_step = FLOAT * max(neurons)
    return 2 * FILLED * max(a_step, min(MOST_LISTED_BYTES, a_step * min(time_steps, MOST_STEPS)))
