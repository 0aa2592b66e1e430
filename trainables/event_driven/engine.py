"""Takes batches forward through a chain of spiking layers, a few images at a time in every thread."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from trainables.event_driven import forward
from trainables.event_driven.arrays import lanes_of
from trainables.event_driven.chain import chain_of
from trainables.event_driven.compiling import one_at_a_time
from trainables.event_driven.counts import BatchCosts
from trainables.event_driven.weights import Weights, weights_of, write_drive
from trainables.event_driven.workspace import Workspace, shapes_of
from trainables.networks.network import Network
from trainables.spiking.costs import CostMeter

MOST_BITS_BYTES = 2**21
"""Of the images that a thread takes at once; one image at least."""


class Engine:
    """The event-driven forward pass of a network.

    Args:
        network: A chain of layers; its weights may change from call to call.
        input_map: Height and width of its images.
        time_steps: T.

    Raises:
        NotAChainError: The kernels do not know the network.
    """

    training = False

    def __init__(self, network: Network, input_map: tuple[int, int], time_steps: int) -> None:
        layers = chain_of(network, training=self.training)
        self._shapes = shapes_of(layers, input_map, layers[0].synapses.weight.shape[1])
        self._time_steps = time_steps
        bytes_per_image = 4 * time_steps * sum(shape.words_per_step for shape in self._shapes)
        self._images_at_once = max(1, MOST_BITS_BYTES // bytes_per_image)
        self._spaces_by_thread: dict[int, Workspace] = {}

    def warm_up(self) -> None:
        """Compile what a batch needs, or read it from where another process has put it."""
        first = self._shapes[0]
        with one_at_a_time():
            self._warm_up(torch.zeros(1, first.channels, *first.input_map))

    def _warm_up(self, images_BCHW: Tensor) -> None:
        self.outputs(images_BCHW)

    @torch.no_grad()
    def outputs(self, images_BCHW: Tensor, meter: CostMeter | None = None) -> Tensor:
        """The outputs ``[T, B, classes]`` of images that are the same input at every step; ``meter`` is told what they cost."""
        weights, num_images = self._weights(), len(images_BCHW)
        outputs_TBK = torch.empty(self._time_steps, num_images, self._shapes[-1].outputs)
        costs = BatchCosts(self._shapes, self._time_steps, meter, images_BCHW) if meter else None
        for parts in self._rounds(num_images):
            spaces = self._spaces(parts)
            self._forward(spaces, images_BCHW[parts[0].start : parts[-1].stop], weights)
            for part, space in zip(parts, spaces, strict=True):
                outputs_TBK[:, part] = self._outputs(space)
                if costs:
                    costs.add(space)
        if costs:
            costs.tell()
        return outputs_TBK

    def _weights(self) -> list[Weights]:
        return [
            weights_of(
                shape.layer,
                shape.channels,
                shape.input_map[0] * shape.input_map[1],
                driven=number == 0,
                training=self.training,
            )
            for number, shape in enumerate(self._shapes)
        ]

    def _rounds(self, num_images: int) -> Iterator[list[slice]]:
        """What the threads do at the same time: a few images each."""
        num_threads = torch.get_num_threads()
        size = min(self._images_at_once, -(-num_images // num_threads))
        parts = [slice(start, min(start + size, num_images)) for start in range(0, num_images, size)]
        for first in range(0, len(parts), num_threads):
            yield parts[first : first + num_threads]

    def _spaces(self, parts: list[slice]) -> Sequence[Workspace]:
        return [self._space(number, part.stop - part.start) for number, part in enumerate(parts)]

    def _space(self, number: int, num_images: int) -> Workspace:
        """The arrays of a thread, of which a smaller group uses a part."""
        whole = self._spaces_by_thread.get(number)
        if whole is None or whole.num_images < num_images:
            whole = self._spaces_by_thread[number] = self._new_space(number, num_images)
        return whole.part(num_images)

    def _new_space(self, number: int, num_images: int) -> Workspace:
        return Workspace(self._shapes, num_images, self._time_steps)

    def _forward(self, spaces: Sequence[Workspace], images_BCHW: Tensor, weights: list[Weights]) -> None:
        first, start = self._shapes[0], 0
        with torch.no_grad():
            drive_BCHW = first.layer.synapses(images_BCHW)
        for space in spaces:
            write_drive(drive_BCHW[start : start + space.num_images], first.outputs, space.drive)
            start += space.num_images
        in_threads(self._forward_part, [(space, weights) for space in spaces])

    def _forward_part(self, space: Workspace, weights: list[Weights]) -> None:
        for number in range(len(self._shapes)):
            shape, bits = self._shapes[number], space.bits[number]
            if shape.layer.neuron is None:
                self._read_out(space, weights[number])
                return
            self._fire(number, space, weights[number])
            if shape.layer.pool == "or":
                forward.pool_or(bits.unpooled, bits.spikes, shape.border, bits.masks, bits.keep)
            elif shape.layer.pool == "largest_count":
                scratch = space.forward[number].counts
                forward.pool_largest_count(bits.unpooled, bits.spikes, shape.border, scratch)

    def _fire(self, number: int, space: Workspace, weights: Weights) -> None:
        shape, bits, lists = self._shapes[number], space.bits[number], space.forward[number]
        assert shape.layer.neuron is not None
        model, lanes = shape.layer.neuron.model, lanes_of(shape.outputs)
        kind = lanes, model.integrate == "clamped", model.reset == "hard"
        results = bits.unpooled, bits.unpooled_border, bits.masks, bits.keep
        if number == 0:
            forward.driven_layer(*kind, space.drive, weights.threshold, weights.start, lists.potential, *results)
            return
        forward.spiking_layer(
            *kind,
            space.bits[number - 1].spikes,
            shape.channels,
            shape.layer.convolution,
            weights.rows,
            weights.bias,
            weights.threshold,
            weights.start,
            lists.potential,
            lists.drive,
            *results,
            lists.events,
            lists.pointers,
            lists.windows,
            lists.ends,
            lists.ending,
            lists.ending_ends,
        )

    def _read_out(self, space: Workspace, weights: Weights) -> None:
        shape, lists = self._shapes[-1], space.forward[-1]
        forward.readout_layer(
            lanes_of(shape.outputs),
            space.bits[-2].spikes,
            shape.channels,
            weights.rows,
            weights.bias,
            lists.windows,
            lists.ends,
            space.results,
        )

    def _outputs(self, space: Workspace) -> Tensor:
        """The last layer's spikes or drives, ``[T, B, classes]``."""
        last = self._shapes[-1]
        if last.layer.neuron is None:
            return torch.from_numpy(space.results).flatten(2)[:, :, : last.outputs].transpose(0, 1).contiguous()
        by_step = np.ascontiguousarray(space.bits[-1].spikes[:, :, 0, 0].swapaxes(0, 1))
        bits = np.unpackbits(by_step.view(np.uint8), axis=-1, count=last.outputs, bitorder="little")
        return torch.from_numpy(bits.astype(np.float32))


def in_threads(function: Callable[..., None], tasks: Sequence[tuple[object, ...]]) -> None:
    """Run the tasks at the same time; the kernels let go of Python's lock."""
    if len(tasks) == 1:
        function(*tasks[0])
        return
    with ThreadPoolExecutor(len(tasks)) as threads:
        for future in [threads.submit(function, *task) for task in tasks]:
            future.result()
