"""One batch in a spiking network before any training: which images reach the classifier, who spikes, and what gets a gradient.

A network whose spikes die out on the way cannot learn: what hears nothing gets no gradient, and so it stays silent. All this
is seen in the first batch, in much less time than an epoch takes.
"""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainables.data.augmentation import training_batch
from trainables.data.datasets import Splits
from trainables.data.encodings import inputs_of
from trainables.data.randomness import generator_for
from trainables.networks.layouts import ImageShape
from trainables.networks.network import ONE_AT_A_TIME, SYNAPSES, Network
from trainables.networks.precision import forward_torch
from trainables.networks.readout import Readout
from trainables.networks.shapes import operation_shapes
from trainables.spiking.costs import dense_operations
from trainables.spiking.neurons import SpikingNeuron, gradient_mask
from trainables.training.configs import without_inactive
from trainables.training.recipe import Recipe
from trainables.training.recipe_parts.optimisation_fields import OptimisationFields
from trainables.training.regularisers import Pruning, SpikeRegularisers
from trainables.training.task import Task

MOST_IMAGES = 64
"""Shares of images are then known to about six points."""
FEWEST_IMAGES = 8
"""Where they take too long for all time steps, fewer steps are run, rather than fewer images."""
MOST_OPERATIONS = 3e11
"""Synaptic operations of one look, forward and backward: a few seconds on two cores."""
MOST_ELEMENTS = 5e7
"""Numbers that the network's results have in one look; they take some bytes each, and all are kept for the backward pass."""


@dataclass(frozen=True)
class Extent:
    """How much of a network's first batch is looked at.

    Attributes:
        num_images: How many images.
        time_steps: How many of the first time steps; T, unless they take too long.
        operations: Synaptic operations that this takes, forward and backward.
    """

    num_images: int
    time_steps: int
    operations: float


@dataclass(frozen=True)
class LayerStart:
    """What a layer does in the first batch; shares are from 0 to 1.

    Attributes:
        layer: Its name.
        rate_at_1: Spikes per neuron and image at the first time step; None for an output layer without neurons, as the next
            three.
        rate: Spikes per neuron, image and time step.
        dead_units: The share of its units that never spike, for no image; a unit is a channel of a convolution, or a neuron.
        cut_off: The share of its spikes at which the straight-through gradient is cut off, at that time step; None also where
            nothing spikes, and with a surrogate gradient, which cuts nothing off.
        weights_with_gradient: The share of its weights that get a gradient other than 0; None where they are not learnt.
    """

    layer: str
    rate_at_1: float | None
    rate: float | None
    dead_units: float | None
    cut_off: float | None
    weights_with_gradient: float | None


@dataclass(frozen=True)
class FirstBatch:
    """What the first batch does in a network before any training; shares are from 0 to 1.

    Attributes:
        num_images: How many images it was looked at with.
        time_steps: Over how many of the first time steps.
        silent_images: The share of the images of which no spike reaches the output layer at any of these time steps.
        silent_images_at_1: The same at the first time step.
        cut_off: Of the spikes of all hidden layers, see ``LayerStart``.
        layers: Every layer with weights, from the input to the output.
    """

    num_images: int
    time_steps: int
    silent_images: float
    silent_images_at_1: float
    cut_off: float | None
    layers: tuple[LayerStart, ...]

    @property
    def dead_units(self) -> float:
        """The share of dead units of the hidden layer that has most of them."""
        return max((layer.dead_units or 0.0 for layer in self.layers[:-1]), default=0.0)

    @property
    def output_gradient(self) -> float:
        """The share of the output layer's weights that get a gradient other than 0."""
        return self.layers[-1].weights_with_gradient or 0.0


def extent_of(task: Task, input_shape: ImageShape) -> Extent | None:
    """How much of a task's first batch can be looked at within seconds and a gigabyte; None if not even one time step.

    Operations and memory grow with images times time steps: images are saved first, then time steps.
    """
    with ONE_AT_A_TIME, torch.device("meta"):
        network = task.build()
        shapes = operation_shapes(network, input_shape)
    operations = 0
    for operation in network.operations_of(*SYNAPSES):
        part = network.parts[operation.name]
        assert isinstance(part, nn.Conv2d | nn.Linear)
        operations += 3 * dense_operations(part, shapes[operation.inputs[0]])  # forward, and two backward
    elements = sum(shape.numel() for shape in shapes.values())
    most = min(MOST_OPERATIONS / operations, MOST_ELEMENTS / elements)  # images times time steps
    num_images = min(MOST_IMAGES, max(FEWEST_IMAGES, int(most / task.time_steps)))
    time_steps = min(task.time_steps, int(most / num_images))
    return Extent(num_images, time_steps, float(operations) * num_images * time_steps) if time_steps else None


LATER = {"eval_time_steps", "train_time_steps", "batch_norm_momentum"} | {
    field.name for terms in (OptimisationFields, SpikeRegularisers, Pruning) for field in dataclasses.fields(terms)
} - {"batch_size"}
"""Fields of a config that change nothing in what the first batch does before the optimiser's first step."""


def at_the_start(config: Recipe) -> Recipe:
    """The config with all fields at their defaults that change nothing in its first batch: equal ones, equal first batches."""
    later = {field.name: field.default for field in dataclasses.fields(config) if field.name in LATER}
    start: Recipe = dataclasses.replace(without_inactive(config), **later)
    return start


def first_batch(task: Task, recipe: Recipe, splits: Splits, num_images: int) -> FirstBatch:
    """What the first images of the first epoch do in a task's network as it starts, which must have spiking neurons.

    The gradient is that of the task's loss on the recipe's first batch, or on all images that are looked at if these are fewer.
    First weights that are measured on training images (``Task.prepare``) are measured on the same images.
    """
    with torch.random.fork_rng([]):  # the caller's random numbers go on as they were
        return _first_batch(task, recipe, splits, num_images)


def _first_batch(task: Task, recipe: Recipe, splits: Splits, num_images: int) -> FirstBatch:
    order = torch.randperm(len(splits.train), generator=generator_for(task.seed, "shuffle", 1))[:num_images]
    images_BCHW, targets, indices_B = training_batch(
        splits, order, recipe.augmentation(), task.encoding, seed=task.seed, epoch=1, batch=0
    )
    network = task.build()
    task.prepare(network, dataclasses.replace(splits, train=dataclasses.replace(splits.train, indices=indices_B)))
    network.train()
    synapses = _synapses(network)
    record = _Record(network, list(synapses.values())[-1][-1], len(targets))
    inputs = inputs_of(task.encoding, images_BCHW, indices_B, task.seed, "train", 1)
    readout, steps = Readout(network, task.ties), task.time_steps
    drive_TBK = forward_torch(network, inputs(0, steps), steps, task.time_groups, precision=task.precision, until=readout.until)
    outputs_TBK = readout.outputs(drive_TBK, steps, task.time_groups)
    first = slice(0, recipe.batch_size)
    task.loss(outputs_TBK[:, first], targets[first]).backward()  # type: ignore[no-untyped-call]
    hidden = [record.neurons[layer] for layer in list(synapses)[:-1] if layer in record.neurons]
    assert record.heard_TB is not None
    return FirstBatch(
        num_images=len(targets),
        time_steps=steps,
        silent_images=_share(~record.heard_TB.any(dim=0)),
        silent_images_at_1=_share(~record.heard_TB[0]),
        cut_off=_cut_off(hidden),
        layers=tuple(_layer(layer, parts, record.neurons.get(layer)) for layer, parts in synapses.items()),
    )


@dataclass(frozen=True)
class _Spiking:
    """What the neurons of a layer do."""

    rate_at_1: float
    rate: float
    dead_units: float
    num_spikes: int
    num_cut_off: int | None  # with a surrogate gradient there is nothing to cut off


class _Record:
    """Sees what the neurons of every layer do and what the output layer receives, whichever gradient runs the network."""

    def __init__(self, network: Network, output: nn.Module, num_images: int) -> None:
        self.neurons: dict[str, _Spiking] = {}
        self.heard_TB: Tensor | None = None
        self._num_images = num_images
        output.register_forward_pre_hook(lambda _, given: self._hear(given[0]))
        for layer, neuron in network.neurons():
            neuron.register_forward_hook(lambda neuron, given, made, layer=layer: self._see(layer, neuron, given[0], made[0]))

    def _hear(self, inputs: Tensor) -> None:
        """Time steps and images are one dimension here; a rate-collapsed gradient shows the spikes first, then their means."""
        if self.heard_TB is None:
            self.heard_TB = inputs.detach().flatten(1).any(dim=1).view(-1, self._num_images)

    def _see(self, layer: str, neuron: SpikingNeuron, drive_TBN: Tensor, spikes_TBN: Tensor) -> None:
        spikes_TBN = spikes_TBN.detach().bool()
        ever_N = spikes_TBN.flatten(0, 1).any(dim=0)
        num_cut_off = None
        if neuron.model.surrogate is None:
            open_TBN = gradient_mask(drive_TBN.detach(), neuron.firing_threshold.detach(), neuron.model)
            num_cut_off = int((spikes_TBN & ~open_TBN).sum())
        self.neurons[layer] = _Spiking(
            rate_at_1=_share(spikes_TBN[0]),
            rate=_share(spikes_TBN),
            dead_units=_share(~ever_N.flatten(1).any(dim=1) if ever_N.dim() > 1 else ~ever_N),
            num_spikes=int(spikes_TBN.sum()),
            num_cut_off=num_cut_off,
        )


def _synapses(network: Network) -> dict[str, list[nn.Module]]:
    """The convolutions and linear layers of every layer, by its name, from the input to the output."""
    layers: dict[str, list[nn.Module]] = {}
    for operation in network.operations_of(*SYNAPSES):
        layers.setdefault(network.layers[operation.name], []).append(network.parts[operation.name])
    return layers


def _layer(layer: str, parts: list[nn.Module], spiking: _Spiking | None) -> LayerStart:
    """What is told of a layer: its neurons' spikes, if it has any, and its weights' gradients."""
    learnt = [parameter for part in parts for parameter in part.parameters() if parameter.requires_grad]
    weights = [weight for weight in learnt if weight.dim() > 1]  # neither biases nor scales
    num_with_gradient = sum(int((weight.grad != 0).sum()) for weight in weights if weight.grad is not None)
    return LayerStart(
        layer=layer,
        rate_at_1=spiking.rate_at_1 if spiking else None,
        rate=spiking.rate if spiking else None,
        dead_units=spiking.dead_units if spiking else None,
        cut_off=_cut_off([spiking]) if spiking else None,
        weights_with_gradient=num_with_gradient / sum(weight.numel() for weight in weights) if weights else None,
    )


def _cut_off(layers: list[_Spiking]) -> float | None:
    """The share of the layers' spikes at which the gradient is cut off; None if there is none to cut off."""
    num_cut_off = [layer.num_cut_off for layer in layers if layer.num_cut_off is not None]
    num_spikes = sum(layer.num_spikes for layer in layers)
    return sum(num_cut_off) / num_spikes if num_cut_off and num_spikes else None


def _share(which: Tensor) -> float:
    return float(which.float().mean())
