"""Takes batches through a chain of spiking layers, a few images at a time in every thread."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from trainables.event_driven import backward, forward
from trainables.event_driven.chain import chain_of
from trainables.event_driven.means import Groups
from trainables.event_driven.weights import Array, Weights, array, in_blocks, lanes_of, weight_gradient, weights_of
from trainables.event_driven.workspace import Workspace, shapes_of, zeros
from trainables.networks.collapsed import TimeGroups, group_sizes
from trainables.networks.network import Network

LossOf = Callable[[Tensor, slice], Tensor]
MOST_BITS_BYTES = 3 * 2**20
"""Of the images that a thread takes at once; one image at least."""

NO_MEANS = zeros(0, 1, 1, 1, 1)


class Engine:
    """The event-driven forward and exact backward pass of a network.

    Args:
        network: A chain of layers; its weights may change from call to call.
        input_map: Height and width of its images.
        time_steps: T.
        training: Whether gradients are wanted.
        groups: Of time steps, for the rate-collapsed gradient; None for the exact one.

    Raises:
        NotAChainError: The kernels do not know the network.
    """

    def __init__(self, network: Network, input_map: tuple[int, int], time_steps: int, *, training: bool, groups: TimeGroups | None = None) -> None:
        self._layers = chain_of(network)
        channels = self._layers[0].synapses.weight.shape[1]
        self._shapes = shapes_of(self._layers, input_map, channels)
        self._time_steps, self._training = time_steps, training
        self._groups = Groups(group_sizes(time_steps, groups)) if training and groups is not None else None
        bytes_per_image = 4 * time_steps * sum(shape.words_per_step for shape in self._shapes)
        self._images_at_once = max(1, MOST_BITS_BYTES // bytes_per_image)
        self._workspaces: dict[int, Workspace] = {}

    def _weights(self) -> list[Weights]:
        return [
            weights_of(
                shape.layer,
                shape.channels,
                shape.input_map[0] * shape.input_map[1],
                driven=number == 0,
                training=self._training,
            )
            for number, shape in enumerate(self._shapes)
        ]

    def gradients(self, images_BCHW: Tensor, loss_of: LossOf) -> tuple[Tensor, Tensor]:
        """The mean loss over a batch and the outputs ``[T, B, classes]``; gradients are added to the parameters'.

        Args:
            images_BCHW: The same input at every time step.
            loss_of: Of outputs ``[T, B', classes]`` and which images of the batch they are of: their mean loss.
        """
        num_images, weights = len(images_BCHW), self._weights()
        total_loss, outputs = images_BCHW.new_zeros(()), []
        for parts in self._rounds(num_images):
            some, spaces = slice(parts[0].start, parts[-1].stop), self._spaces(parts)
            images = images_BCHW[some]
            self._forward(spaces, images, weights)
            outputs_TBK = torch.cat([self._outputs(space) for space in spaces], dim=1)
            loss, grad_TBK = _loss_and_gradient(outputs_TBK, some, loss_of, len(images) / num_images)
            self._backward(spaces, grad_TBK, weights)
            self._add_first(spaces, images)
            total_loss += loss
            outputs.append(outputs_TBK)
        self._add_summed()
        return total_loss, torch.cat(outputs, dim=1)

    def _rounds(self, num_images: int) -> Iterator[list[slice]]:
        """What the threads do at the same time: a few images each."""
        num_threads = torch.get_num_threads()
        size = min(self._images_at_once, -(-num_images // num_threads))
        starts = range(0, num_images, size)
        parts = [slice(start, min(start + size, num_images)) for start in starts]
        for first in range(0, len(parts), num_threads):
            yield parts[first : first + num_threads]

    def _spaces(self, parts: list[slice]) -> list[Workspace]:
        return [self._space(number, part.stop - part.start) for number, part in enumerate(parts)]

    def _space(self, number: int, num_images: int) -> Workspace:
        """The arrays of a thread, of which a smaller group uses a part."""
        whole = self._workspaces.get(number)
        if whole is None or whole.num_images < num_images:
            whole = self._workspaces[number] = Workspace(self._shapes, num_images, self._time_steps, num_groups=len(self._groups.sizes) if self._groups else None, training=self._training)
        return whole.part(num_images)

    def _drive(self, images_BCHW: Tensor) -> Array:
        """Of the first layer, ``[images, 1, pixels, blocks, lanes]``."""
        first = self._shapes[0]
        with torch.no_grad():
            drive_BCHW = first.layer.synapses(images_BCHW)
            return array(in_blocks(drive_BCHW.flatten(2).transpose(1, 2), first.outputs).unsqueeze(1))

    def _forward(self, spaces: list[Workspace], images_BCHW: Tensor, weights: list[Weights]) -> None:
        drive, start, tasks = self._drive(images_BCHW), 0, []
        for space in spaces:
            tasks.append((space, drive[start : start + space.num_images], weights))
            start += space.num_images
        _in_threads(self._forward_part, tasks)

    def _forward_part(self, space: Workspace, drive: Array, weights: list[Weights]) -> None:
        for number, (shape, w, bits, lists) in enumerate(zip(self._shapes, weights, space.bits, space.forward, strict=True)):
            model, lanes = shape.layer.neuron.model, lanes_of(shape.outputs)
            options = {"clamped": model.integrate == "clamped", "hard": model.reset == "hard"}
            if number == 0:
                forward.driven_layer(lanes, **options)(
                    drive,
                    w.threshold,
                    w.start,
                    lists.potential,
                    bits.unpooled,
                    bits.unpooled_border,
                    bits.masks,
                    bits.keep,
                )
            else:
                forward.spiking_layer(lanes, **options)(
                    space.bits[number - 1].spikes,
                    shape.channels,
                    shape.layer.convolution,
                    w.rows,
                    w.bias,
                    w.threshold,
                    w.start,
                    lists.potential,
                    lists.drive,
                    bits.unpooled,
                    bits.unpooled_border,
                    bits.masks,
                    bits.keep,
                    lists.events,
                    lists.pointers,
                    lists.windows,
                    lists.ends,
                )
            if shape.layer.pooled:
                forward.pool_or(bits.unpooled, bits.spikes, shape.border, bits.masks, bits.keep)

    def _outputs(self, space: Workspace) -> Tensor:
        """The last layer's spikes, ``[T, B, classes]``."""
        words = np.ascontiguousarray(space.bits[-1].spikes[:, :, 0, 0].swapaxes(0, 1))
        bits = np.unpackbits(words.view(np.uint8), axis=-1, count=self._shapes[-1].outputs, bitorder="little")
        return torch.from_numpy(bits.astype(np.float32))

    def _backward(self, spaces: list[Workspace], grad_TBK: Tensor, weights: list[Weights]) -> None:
        start, tasks = 0, []
        if self._groups:
            grad_TBK = torch.stack([group.sum(dim=0) for group in torch.split(grad_TBK, self._groups.sizes)])
        for space in spaces:
            grads = grad_TBK[:, start : start + space.num_images].transpose(0, 1).flatten(0, 1)
            tasks.append((space, array(grads), weights))
            start += space.num_images
        _in_threads(self._backward_part, tasks)

    def _backward_part(self, space: Workspace, grads_SK: Array, weights: list[Weights]) -> None:
        space.first_total[:] = 0
        samples = self._samples(space)
        for start in range(0, len(grads_SK), space.num_samples):
            some = slice(start, min(start + space.num_samples, len(grads_SK)))
            last = space.backward[-1]
            _, masks, means = samples[-1]
            backward.list_outputs(grads_SK[some], masks[some], means[some], *last.by_place, *last.by_channel, last.strides)
            for number in range(len(self._shapes) - 1, 0, -1):
                before = [values[some] for values in samples[number - 1]]
                self._backward_layer(number, space, weights[number], before, start)

    def _samples(self, space: Workspace) -> list[tuple[Array, Array, Array]]:
        """Of every layer by sample: spikes, where masks are not 0, and, of groups of time steps, the means of masks."""
        if self._groups is None:
            return [(_by_sample(bits.spikes), _by_sample(bits.masks), NO_MEANS) for bits in space.bits]
        for bits, means in zip(space.bits, space.means, strict=True):
            self._groups.write_means(bits.spikes, means.spikes)
            self._groups.write_means(bits.masks, means.masks)
            self._groups.write_ever(bits.masks, means.ever)
        return [(_by_sample(means.spikes), _by_sample(means.ever), _by_sample(means.masks)) for means in space.means]

    def _backward_layer(
        self, number: int, space: Workspace, weights: Weights, samples: list[Array], first_sample: int
    ) -> None:
        spikes, masks, means = samples
        shape, before, lists, new = (
            self._shapes[number],
            self._shapes[number - 1],
            space.backward[number],
            space.backward[number - 1],
        )
        lanes, convolution = lanes_of(shape.channels), shape.layer.convolution
        backward.weight_gradient(lanes, scaled=self._groups is not None)(spikes, convolution, *lists.by_channel, lists.total, lists.total_bias)
        backward.input_gradient(lanes, scaled=self._groups is not None)(
            len(spikes),
            shape.outputs,
            convolution,
            weights.turned,
            *lists.by_place,
            lists.windows,
            lists.window_shares,
            lists.ends,
            masks,
            means,
            2 if before.layer.pooled else 1,
            lists.zeros,
            lists.gradient,
            number == 1,
            space.first_total,
            first_sample,
            len(self._groups.sizes) if self._groups else self._time_steps,
            before.outputs,
            *new.by_place,
            *new.by_channel,
            new.strides,
        )

    def _add_first(self, spaces: list[Workspace], images_BCHW: Tensor) -> None:
        """The gradients of the first layer's weights, whose input never changes."""
        shape = self._shapes[0]
        total = torch.cat([torch.from_numpy(space.first_total) for space in spaces])
        grad_BCHW = total.flatten(2)[:, :, : shape.outputs].transpose(1, 2).unflatten(2, shape.map)
        synapses = shape.layer.synapses
        wanted = [False, True, synapses.bias is not None]
        _, weight, bias = torch.ops.aten.convolution_backward(
            grad_BCHW, images_BCHW, synapses.weight, [shape.outputs], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, wanted
        )
        _add_grad(synapses.weight, weight)
        _add_grad(synapses.bias, bias)

    def _add_summed(self) -> None:
        """The gradients of all other layers, which every thread has summed up for itself."""
        for number, shape in enumerate(self._shapes[1:], start=1):
            for space in self._workspaces.values():
                lists = space.backward[number]
                _add_grad(shape.layer.synapses.weight, weight_gradient(lists.total, shape.layer, shape.channels))
                _add_grad(shape.layer.synapses.bias, torch.from_numpy(lists.total_bias))
                lists.total[:], lists.total_bias[:] = 0, 0


def _loss_and_gradient(outputs_TBK: Tensor, some: slice, loss_of: LossOf, share: float) -> tuple[Tensor, Tensor]:
    """The share that some images have in a batch's loss, and the gradient of their outputs."""
    with torch.enable_grad():
        leaf_TBK = outputs_TBK.detach().requires_grad_()
        loss = loss_of(leaf_TBK, some) * share
        (grad_TBK,) = torch.autograd.grad(loss, leaf_TBK)
    return loss.detach(), grad_TBK


def _by_sample(bits: Array) -> Array:
    """``[images, T, …]`` as ``[images · T, …]``."""
    return bits.reshape(-1, *bits.shape[2:])


def _add_grad(parameter: Tensor | None, grad: Tensor) -> None:
    if parameter is not None:
        parameter.grad = grad.clone(memory_format=torch.contiguous_format) if parameter.grad is None else parameter.grad.add_(grad)


def _in_threads(function: Callable[..., None], tasks: list[tuple[object, ...]]) -> None:
    """Run the tasks at the same time; the kernels let go of Python's lock."""
    if len(tasks) == 1:
        function(*tasks[0])
        return
    with ThreadPoolExecutor(len(tasks)) as threads:
        for future in [threads.submit(function, *task) for task in tasks]:
            future.result()
