"""The gradients of a batch on the event-driven kernels, a few images at a time in every thread.

A loss is a mean over images, so that a group of them goes forward and backward before the next one does.
"""

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor

from trainables.event_driven import backward
from trainables.event_driven.arrays import Array, lanes_of, zeros
from trainables.event_driven.engine import Engine, in_threads
from trainables.event_driven.means import Groups
from trainables.event_driven.weights import Weights, add_weight_gradient, array
from trainables.event_driven.workspace import TrainingWorkspace
from trainables.networks.backends import LossOf
from trainables.networks.collapsed import TimeGroups, group_sizes
from trainables.networks.network import Network

NO_MEANS = zeros(0, 1, 1, 1, 1)


class TrainingEngine(Engine):
    """The event-driven forward and backward pass of a network.

    Args:
        network: A chain of layers; its weights may change from call to call.
        input_map: Height and width of its images.
        time_steps: T.
        groups: Of time steps, for the rate-collapsed gradient; None for the exact one.

    Raises:
        NotAChainError: The kernels do not know the network.
    """

    training = True

    def __init__(self, network: Network, input_map: tuple[int, int], time_steps: int, groups: TimeGroups | None = None) -> None:
        super().__init__(network, input_map, time_steps)
        self._groups = Groups(group_sizes(time_steps, groups)) if groups is not None else None

    def _warm_up(self, images_BCHW: Tensor) -> None:
        parameters = [(parameter, parameter.grad) for shape in self._shapes for parameter in shape.layer.synapses.parameters()]
        self.gradients(images_BCHW, lambda outputs_TBK, _: outputs_TBK.mean())
        for parameter, grad in parameters:
            parameter.grad = grad

    def _spaces(self, parts: list[slice]) -> list[TrainingWorkspace]:
        return [cast("TrainingWorkspace", space) for space in super()._spaces(parts)]

    def _whole_spaces(self) -> Iterator[TrainingWorkspace]:
        return (cast("TrainingWorkspace", space) for space in self._spaces_by_thread.values())

    def _new_space(self, number: int, num_images: int) -> TrainingWorkspace:
        num_groups = len(self._groups.sizes) if self._groups else None
        return TrainingWorkspace(self._shapes, num_images, self._time_steps, num_groups, thread=number)

    def gradients(self, images_BCHW: Tensor, loss_of: LossOf) -> tuple[Tensor, Tensor]:
        """The mean loss over a batch and the outputs ``[T, B, classes]``; gradients are added to the parameters'.

        Args:
            images_BCHW: The same input at every time step.
            loss_of: Of outputs ``[T, B', classes]`` and which images of the batch they are of: their mean loss.
        """
        num_images, weights = len(images_BCHW), self._weights()
        total_loss = images_BCHW.new_zeros(())
        all_TBK = torch.empty(self._time_steps, num_images, self._shapes[-1].outputs)
        for parts in self._rounds(num_images):
            some, spaces = slice(parts[0].start, parts[-1].stop), self._spaces(parts)
            images = images_BCHW[some]
            self._forward(spaces, images, weights)
            outputs_TBK = torch.cat([self._outputs(space) for space in spaces], dim=1)
            loss, grad_TBK = _loss_and_gradient(outputs_TBK, some, loss_of, len(images) / num_images)
            self._backward(spaces, grad_TBK, weights)
            self._add_first(spaces, images)
            total_loss += loss
            all_TBK[:, some] = outputs_TBK
        self._add_summed()
        return total_loss, all_TBK

    def _backward(self, spaces: list[TrainingWorkspace], grad_TBK: Tensor, weights: list[Weights]) -> None:
        start, tasks = 0, []
        if self._groups:
            grad_TBK = torch.stack([group.sum(dim=0) for group in torch.split(grad_TBK, self._groups.sizes)])
        for space in spaces:
            grads = grad_TBK[:, start : start + space.num_images].transpose(0, 1).flatten(0, 1)
            tasks.append((space, array(grads), weights))
            start += space.num_images
        in_threads(self._backward_part, tasks)

    def _backward_part(self, space: TrainingWorkspace, grads_SK: Array, weights: list[Weights]) -> None:
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

    def _samples(self, space: TrainingWorkspace) -> list[tuple[Array, Array, Array]]:
        """Of every layer by sample: spikes, where masks are not 0, and, of groups of time steps, the means of masks."""
        if self._groups is None:
            return [(_by_sample(bits.spikes), _by_sample(bits.masks), NO_MEANS) for bits in space.bits]
        for bits, means in zip(space.bits, space.means, strict=True):
            self._groups.write_means(bits.spikes, means.spikes)
            self._groups.write_means(bits.masks, means.masks)
            self._groups.write_ever(bits.masks, means.ever)
        return [(_by_sample(means.spikes), _by_sample(means.ever), _by_sample(means.masks)) for means in space.means]

    def _backward_layer(
        self, number: int, space: TrainingWorkspace, weights: Weights, samples: list[Array], first_sample: int
    ) -> None:
        spikes, masks, means = samples
        shape, before, lists, new = (
            self._shapes[number],
            self._shapes[number - 1],
            space.backward[number],
            space.backward[number - 1],
        )
        lanes, convolution = lanes_of(shape.channels), shape.layer.convolution
        backward.weight_gradient(
            lanes, self._groups is None, spikes, convolution, *lists.by_channel, lists.total, lists.total_bias
        )
        backward.input_gradient(
            lanes,
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
            2 if before.layer.pool else 1,
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

    def _add_first(self, spaces: list[TrainingWorkspace], images_BCHW: Tensor) -> None:
        """The gradients of the first layer's weights, whose input never changes."""
        shape = self._shapes[0]
        total = torch.cat([torch.from_numpy(space.first_total) for space in spaces])
        grad_BCHW = total.flatten(2)[:, :, : shape.outputs].transpose(1, 2).reshape(len(images_BCHW), shape.outputs, *shape.map)
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
            for space in self._whole_spaces():
                lists = space.backward[number]
                add_weight_gradient(lists.total, shape.layer, shape.channels)
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
        parameter.grad = (
            grad.clone(memory_format=torch.contiguous_format) if parameter.grad is None else parameter.grad.add_(grad)
        )
