"""Takes batches forward through a chain of spiking layers, a few images at a time in every thread."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from trainables.kernels.cpu.compiled import forward
from trainables.kernels.cpu.compiled.arrays import Array, lanes_of
from trainables.kernels.cpu.compiled.compiling import one_at_a_time
from trainables.kernels.cpu.compiled.firing import Kind
from trainables.kernels.cpu.compiled.first_layer import image_drives
from trainables.kernels.cpu.compiled.pooling import pool_largest_count
from trainables.kernels.cpu.cost_counts import BatchCosts
from trainables.kernels.cpu.layer_shapes import Shape, shapes_of
from trainables.kernels.cpu.memory_limits import EVALUATION_BYTES
from trainables.kernels.cpu.supported import chain_of
from trainables.kernels.cpu.weights import LayerWeights, array, weights_of
from trainables.kernels.cpu.workspace import Workspace
from trainables.networks.network import Network
from trainables.spiking.costs import OperationCounter


class EventDrivenEvaluator:
    """The event-driven forward pass of a network.

    Args:
        network: A chain of layers; its weights may change from call to call.
        input_map: Height and width of its images.
        time_steps: T.

    Raises:
        NotAChainError: The kernels do not know the network.
    """

    training = False
    most_bytes = EVALUATION_BYTES
    """How many bytes a thread keeps of the images that it takes at once; at least one image."""

    def __init__(self, network: Network, input_map: tuple[int, int], time_steps: int) -> None:
        layers = chain_of(network, training=self.training)
        self._shapes = shapes_of(layers, input_map, layers[0].synapses.weight.shape[1])
        self._time_steps = time_steps
        self._spaces_by_thread: dict[int, Workspace] = {}

    def warm_up(self) -> None:
        """Compile what a batch needs, or load it from the cache."""
        first = self._shapes[0]
        with one_at_a_time():
            self._warm_up(torch.zeros(1, first.channels, *first.input_map))

    def _warm_up(self, images_BCHW: Tensor) -> None:
        self.drives(images_BCHW)

    @torch.no_grad()
    def drives(self, images_BCHW: Tensor, counter: OperationCounter | None = None) -> Tensor:
        """The output layer's drive ``[T, B, classes]`` for images that are the same input at every step; ``counter`` is told what
        they cost.

        A trainer keeps too few spikes to tell one.
        """
        assert counter is None or not self.training
        weights, num_images = self._weights(), len(images_BCHW)
        drives_TBK = torch.empty(self._time_steps, num_images, self._shapes[-1].outputs)
        costs = BatchCosts(self._shapes, self._time_steps, counter, images_BCHW) if counter else None
        for parts in self._rounds(num_images):
            spaces = self._spaces(parts)
            self._forward(spaces, images_BCHW[parts[0].start : parts[-1].stop], weights)
            for part, space in zip(parts, spaces, strict=True):
                drives_TBK[:, part] = self._drives(space)
                if costs:
                    costs.add(space)
        if costs:
            costs.tell()
        return drives_TBK

    def _weights(self) -> list[LayerWeights]:
        return [weights_of(shape, first=number == 0, training=self.training) for number, shape in enumerate(self._shapes)]

    def _rounds(self, num_images: int) -> Iterator[list[slice]]:
        """Which images the threads take at the same time: a few each, all about as many."""
        num_threads = torch.get_num_threads()
        num_rounds = -(-num_images // (num_threads * self._images_at_once))
        num_parts = min(num_images, num_rounds * num_threads)
        parts = [slice(part * num_images // num_parts, (part + 1) * num_images // num_parts) for part in range(num_parts)]
        for first in range(0, num_parts, num_threads):
            yield parts[first : first + num_threads]

    @cached_property
    def _images_at_once(self) -> int:
        return max(1, self.most_bytes // self._new_space(0, 1).bytes_per_image())

    def _spaces(self, parts: list[slice]) -> Sequence[Workspace]:
        return [self._space(number, part.stop - part.start) for number, part in enumerate(parts)]

    def _space(self, number: int, num_images: int) -> Workspace:
        """The arrays of a thread; fewer images use a part of them."""
        whole = self._spaces_by_thread.get(number)
        if whole is None or whole.num_images < num_images:
            whole = self._spaces_by_thread[number] = self._new_space(number, num_images)
        return whole.part(num_images)

    def _new_space(self, number: int, num_images: int) -> Workspace:
        return Workspace(self._shapes, num_images, self._time_steps)

    def _forward(self, spaces: Sequence[Workspace], images_BCHW: Tensor, weights: list[LayerWeights]) -> None:
        parts = torch.split(images_BCHW, [space.num_images for space in spaces])
        in_threads(self._forward_part, [(space, array(part), weights) for space, part in zip(spaces, parts, strict=True)])

    def _forward_part(self, space: Workspace, images_NCHW: Array, weights: list[LayerWeights]) -> None:
        images, first = space.images, self._shapes[0]
        images.values[:, :, 1:-1, 1:-1] = images_NCHW
        lanes = lanes_of(first.outputs)
        image_drives(lanes, images.values, weights[0].forward, images.patch, images.taps, images.drives)
        first_layer = self._first_layer_state(space, weights[0].forward)
        for number in range(int(space.fires_again), len(self._shapes)):
            self._layer(number, space, weights[number].forward, first_layer)

    def _first_layer_state(self, space: Workspace, weights: forward.Weights) -> forward.FirstLayerState:
        """What the second layer needs to simulate the first one again."""
        first = self._shapes[0]
        drives, mask, potential = space.images.drives, space.layer_outputs[0].masks[0], space.first_potential
        return forward.FirstLayerState(
            kind_of(first), drives, weights, potential, mask, first.border, fires_again=space.fires_again
        )

    def _layer(self, number: int, space: Workspace, weights: forward.Weights, first_layer: forward.FirstLayerState) -> None:
        shape, lists = self._shapes[number], space.forward[number]
        lanes, inputs = lanes_of(shape.outputs), space.layer_outputs[number - 1].pooled
        drives = space.images.drives if number == 0 else lists.drives[: space.num_images]
        if number and not shape.layer.convolution:
            forward.linear_drives(lanes, inputs, shape.channels, weights, lists.buffers.beginning.events[0], drives)
        if shape.layer.neuron is None:
            return
        kind, layer_outputs = kind_of(shape), space.layer_outputs[number]
        if number and shape.layer.convolution:
            before = first_layer._replace(fires_again=first_layer.fires_again and number == 1)
            forward.convolution_layer(kind, inputs, shape.channels, weights, lists.buffers, layer_outputs, before)
        else:
            steps = shape.steps_at_once(self._time_steps)
            forward.driven_layer(kind, drives, weights, lists.buffers.potential, layer_outputs, steps)
        if shape.layer.pool == "largest_count":
            pool_largest_count(layer_outputs.spikes, layer_outputs.pooled, shape.border, lists.counts)

    def _drives(self, space: Workspace) -> Tensor:
        """The last layer's drives, ``[T, B, classes]``, in the memory of the kernels."""
        drives_NTK = torch.from_numpy(space.forward[-1].drives[: space.num_images]).flatten(2)
        return drives_NTK[:, :, : self._shapes[-1].outputs].transpose(0, 1)


def kind_of(shape: Shape) -> Kind:
    """What the neurons of a layer do, in the kernels' words."""
    assert shape.layer.neuron is not None
    model = shape.layer.neuron.model
    passes_above, passes_below = np.float32(-model.gradient_margin), np.float32(1 + model.gradient_margin)
    return Kind(lanes_of(shape.outputs), model.integrate == "clamped", model.reset == "hard", passes_above, passes_below)


def in_threads(function: Callable[..., None], tasks: Sequence[tuple[object, ...]]) -> None:
    """Run the tasks at the same time, one thread each; the kernels release Python's lock."""
    if len(tasks) == 1:
        function(*tasks[0])
        return
    with ThreadPoolExecutor(len(tasks)) as threads:
        for future in [threads.submit(function, *task) for task in tasks]:
            future.result()
