"""The gradients of a batch on the event-driven kernels, a few images at a time in every thread.

A loss is a mean over images, so that a few of them can go forward and backward before the next ones do.
"""

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor

from trainables.kernels.cpu.compiled import backward, forward
from trainables.kernels.cpu.compiled.arrays import Array, lanes_of, zeros
from trainables.kernels.cpu.compiled.first_layer import image_gradient
from trainables.kernels.cpu.compiled.group_means import Groups, sum_words
from trainables.kernels.cpu.evaluation import EventDrivenEvaluator, in_threads, kind_of
from trainables.kernels.cpu.memory_limits import EXACT_BYTES, GROUPED_BYTES
from trainables.kernels.cpu.weights import LayerWeights, add_bias_gradient, add_image_gradient, add_weight_gradient, array
from trainables.kernels.cpu.workspace import TrainingWorkspace
from trainables.kernels.interface import LossOf, OutputsOf
from trainables.networks.collapsed import TimeGroups, group_sizes
from trainables.networks.network import Network

NO_MEANS = zeros(0, 1, 1, 1, 1)


class EventDrivenTrainer(EventDrivenEvaluator):
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
        self.most_bytes = EXACT_BYTES if groups is None else GROUPED_BYTES

    def _warm_up(self, images_BCHW: Tensor) -> None:
        parameters = [(parameter, parameter.grad) for shape in self._shapes for parameter in shape.layer.synapses.parameters()]
        self.gradients(images_BCHW, lambda drive_TBK: drive_TBK, lambda outputs_TBK, _: outputs_TBK.mean())
        for parameter, grad in parameters:
            parameter.grad = grad

    def _spaces(self, parts: list[slice]) -> list[TrainingWorkspace]:
        return [cast("TrainingWorkspace", space) for space in super()._spaces(parts)]

    def _whole_spaces(self) -> Iterator[TrainingWorkspace]:
        return (cast("TrainingWorkspace", space) for space in self._spaces_by_thread.values())

    def _new_space(self, number: int, num_images: int) -> TrainingWorkspace:
        num_groups = len(self._groups.sizes) if self._groups else None
        return TrainingWorkspace(self._shapes, num_images, self._time_steps, num_groups, thread=number)

    def gradients(self, images_BCHW: Tensor, outputs_of: OutputsOf, loss_of: LossOf) -> tuple[Tensor, Tensor]:
        """The mean loss over a batch and the drive ``[T, B, classes]``; gradients are added to the parameters'.

        Args:
            images_BCHW: The same input at every time step.
            outputs_of: Of the output layer's drive ``[T, B', classes]`` for some images: what the loss sees.
            loss_of: Of outputs ``[T, B', classes]`` and which images of the batch they are of: their mean loss.
        """
        num_images, weights = len(images_BCHW), self._weights()
        total_loss = images_BCHW.new_zeros(())
        all_TBK = torch.empty(self._time_steps, num_images, self._shapes[-1].outputs)
        for parts in self._rounds(num_images):
            some, spaces = slice(parts[0].start, parts[-1].stop), self._spaces(parts)
            images = images_BCHW[some]
            self._forward(spaces, images, weights)
            all_TBK[:, some] = torch.cat([self._drives(space) for space in spaces], dim=1)
            loss, grad_TBK = _loss_and_gradient(all_TBK[:, some], some, outputs_of, loss_of, len(images) / num_images)
            self._backward(spaces, grad_TBK, weights)
            total_loss += loss
        self._add_summed(weights)
        return total_loss, all_TBK

    def _backward(self, spaces: list[TrainingWorkspace], grad_TBK: Tensor, weights: list[LayerWeights]) -> None:
        start, tasks = 0, []
        if self._groups:
            grad_TBK = torch.stack([group.sum(dim=0) for group in torch.split(grad_TBK, self._groups.sizes)])
        for space in spaces:
            grads = grad_TBK[:, start : start + space.num_images].transpose(0, 1).flatten(0, 1)
            tasks.append((space, array(grads), weights))
            start += space.num_images
        in_threads(self._backward_part, tasks)

    def _backward_part(self, space: TrainingWorkspace, grads_SK: Array, weights: list[LayerWeights]) -> None:
        space.first_sums[:] = 0
        samples, first_layer = self._samples(space), self._first_layer_state(space, weights[0].forward)
        last, num_same = space.backward[-1], _num_same(grads_SK, space.samples_per_image)
        for start in range(0, len(grads_SK), space.num_samples):
            some = slice(start, min(start + space.num_samples, len(grads_SK)))
            backward.list_drives(grads_SK[some], last.by_place, last.by_channel, last.strides)
            for number in range(len(self._shapes) - 1, 0, -1):
                spikes, gradient_masks = samples[number - 1]
                if number == 1 and space.fires_again:
                    spikes = space.layer_outputs[0].pooled[0, : some.stop - some.start]
                    forward.fire_again(first_layer, start, self._time_steps, spikes)
                else:
                    spikes = spikes[some]
                same = num_same if number == len(self._shapes) - 1 else 1
                self._backward_layer(number, space, weights[number].turned, spikes, _some(gradient_masks, some), start, same)
        kind, images, totals = kind_of(self._shapes[0]), space.images, (space.first_total, space.first_total_bias)
        image_gradient(kind, images.values, images.drives, space.first_sums, space.columns, space.ones, *totals)

    def _samples(self, space: TrainingWorkspace) -> list[tuple[Array, backward.GradientMasks]]:
        """For every layer but the last, by sample: the spikes behind its pool, and where its gradient passes."""
        spans = [2 if shape.layer.pool else 1 for shape in self._shapes[:-1]]
        if self._groups is None:
            return [
                (_by_sample(layer_outputs.pooled), backward.GradientMasks(_by_sample(layer_outputs.masks), NO_MEANS, span))
                for layer_outputs, span in zip(space.layer_outputs, spans, strict=True)
            ]
        for layer_outputs, means in zip(space.layer_outputs, space.means, strict=True):
            self._groups.write_means(layer_outputs.pooled, means.spikes)
            if layer_outputs.masks_kept:
                self._groups.write_means(layer_outputs.masks, means.masks)
                self._groups.write_ever(layer_outputs.masks, means.ever)
        return [
            (_by_sample(means.spikes), backward.GradientMasks(_by_sample(means.ever), _by_sample(means.masks), span))
            for means, span in zip(space.means, spans, strict=True)
        ]

    def _backward_layer(
        self,
        number: int,
        space: TrainingWorkspace,
        turned: Array,
        spikes: Array,
        gradient_masks: backward.GradientMasks,
        first_sample: int,
        same: int,
    ) -> None:
        shape, lists, new = self._shapes[number], space.backward[number], space.backward[number - 1]
        lanes, convolution = lanes_of(shape.channels), shape.layer.convolution
        bits, inputs = self._groups is None and not lists.sums_inputs, spikes
        if lists.sums_inputs:
            inputs = lists.sums[: len(spikes)]
            sum_words(lanes, spikes, lists.offsets, lists.ones, inputs)
        backward.weight_gradient(lanes, bits, inputs, convolution, lists.by_channel, lists.total, lists.total_bias)
        direct = not space.layer_outputs[0].masks_kept
        backward.input_gradient(
            lanes,
            len(spikes),
            shape.outputs,
            convolution,
            shape.input_map[0],
            turned,
            lists.by_place,
            same,
            gradient_masks,
            lists.gradient,
            number == 1,
            first_sample,
            backward.InputGradientSums(space.first_sums, space.samples_per_image, direct),
            self._shapes[number - 1].outputs,
            new.by_place,
            new.by_channel,
            new.strides,
        )

    def _add_summed(self, weights: list[LayerWeights]) -> None:
        """Add the gradients that every thread has summed up to those of the parameters."""
        for number, (shape, of_layer) in enumerate(zip(self._shapes, weights, strict=True)):
            for space in self._whole_spaces():
                lists, add = space.backward[number], add_weight_gradient if number else add_image_gradient
                totals = (lists.total, lists.total_bias) if number else (space.first_total, space.first_total_bias)
                if of_layer.weight.raw.requires_grad:
                    add(of_layer.weight.leaf, totals[0], shape)
                add_bias_gradient(shape, totals[1])
                for total in totals:
                    total[:] = 0
            of_layer.weight.pass_gradient_on()


def _loss_and_gradient(
    drive_TBK: Tensor, some: slice, outputs_of: OutputsOf, loss_of: LossOf, share: float
) -> tuple[Tensor, Tensor]:
    """The part of a batch's loss that some images contribute, and its gradient at the drive of their outputs."""
    with torch.enable_grad():
        leaf_TBK = drive_TBK.detach().requires_grad_()
        loss = loss_of(outputs_of(leaf_TBK), some) * share
        (grad_TBK,) = torch.autograd.grad(loss, leaf_TBK)
    return loss.detach(), grad_TBK


def _num_same(grads_SK: Array, per_image: int) -> int:
    """How many samples in a row have the same gradient at the drives: all of an image, if the loss sees their mean alone."""
    grads_NSK = grads_SK.reshape(-1, per_image, grads_SK.shape[1])
    return per_image if bool((grads_NSK == grads_NSK[:, :1]).all()) else 1


def _by_sample(bits: Array) -> Array:
    """``[images, T, …]`` as ``[images · T, …]``."""
    return bits.reshape(-1, *bits.shape[2:])


def _some(gradient_masks: backward.GradientMasks, samples: slice) -> backward.GradientMasks:
    return gradient_masks._replace(masks=gradient_masks.masks[samples], means=gradient_masks.means[samples])
