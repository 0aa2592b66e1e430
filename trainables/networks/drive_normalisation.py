"""What keeps the drives of hidden layers at a size that spikes and gradients can use: gains, standardised weights, batch norms.

A drive is what neurons receive: behind the pool, where one stands between synapses and neurons. With κ its standard deviation::

    initial_gain             W_l ← W_l · κ / std(drive_l) once, before training
    weight_standardisation   Ŵ_i = γ_l (W_i - mean W_i) / √(N var W_i + ε)   of every filter i with N inputs, ε = 1e-4
    batch_norm               y = γ (x - μ) / √(σ² + ε) + β, γ = κ at first   μ, σ² of a channel over (T, B, H, W)

All are part of weights and biases once training is over: see ``rewriting.folded``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from trainables.networks.layouts import FullyConnected, GlobalPool, ImageShape, Pool, final_map, parse_layout, scaled_layout
from trainables.networks.network import NORMS, ONE_AT_A_TIME, SYNAPSES, Inputs, Network, Operation
from trainables.networks.rules import RuleError
from trainables.spiking.neurons import SpikingNeuron

DriveNormalisation = Literal["none", "initial_gain", "weight_standardisation", "batch_norm"]

SMALLEST_SQUARES = 1e-4
"""ε under the root of a standardised filter (IS-SNN)."""
SMALLEST_STD = 1e-6
"""A drive that varies less, as that of a layer that hears nothing, is not scaled."""


class WeightStandardisation(nn.Module):
    """Ŵ_i = γ (W_i - mean W_i) / √(N var W_i + 1e-4) for every filter i with N inputs, γ one learnt gain for all of them
    (Brock et al. 2021; of spiking networks IS-SNN, arXiv 2606.31695). A parametrization of a layer's weight.
    """

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        self.gain = nn.Parameter(like.new_ones(()))

    def forward(self, weight: Tensor) -> Tensor:
        """``[filters, …]``; a filter of equal weights, such as a pruned one, becomes 0."""
        if weight.is_meta:  # only its shape counts, and every operation there takes milliseconds
            return torch.empty_like(weight)
        standardised: Tensor = _Standardised.apply(weight, self.gain, self)
        return standardised

    def standardise(self, weight: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """γ · Z with Z_i = c_i / √(|c_i|² + ε) and c_i = W_i - mean W_i, without autograd; and what ``gradients`` needs of it.

        Every line goes through the weights once, for those of large networks are in no cache.
        """
        filters = weight.flatten(1)
        centred = filters - filters.mean(dim=1, keepdim=True)
        scale = (torch.linalg.vector_norm(centred, dim=1, keepdim=True).square() + SMALLEST_SQUARES).rsqrt()
        return (centred * (scale * self.gain)).view_as(weight), (centred, scale)

    def gradients(self, grad: Tensor, kept: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Of W and γ for the gradient G of γZ: dW_i = γ (G_i - mean G_i - Z_i Σ G_i Z_i) / √(|c_i|² + ε), dγ = Σ G·Z."""
        centred, scale = kept
        filters = grad.flatten(1)
        products = filters * centred
        along = products.sum(dim=1, keepdim=True)
        grad_weight = torch.addcmul(filters, centred, along * scale.square(), value=-1, out=products)
        grad_weight.sub_(filters.mean(dim=1, keepdim=True)).mul_(scale * self.gain)
        return grad_weight.view_as(grad), (along * scale).sum()


class _Standardised(torch.autograd.Function):
    """One operation: small networks would spend more time on autograd's record of a dozen than on the numbers."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, gain: Tensor, standardisation: WeightStandardisation) -> Tensor:  # noqa: ARG004
        standardised, kept = standardisation.standardise(weight)
        ctx.standardisation = standardisation
        ctx.save_for_backward(*kept)
        return standardised

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        return *ctx.standardisation.gradients(grads[0], ctx.saved_tensors), None


def standardisation_of(synapses: nn.Module) -> WeightStandardisation | None:
    """What standardises a layer's weight; None where nothing does."""
    if not parametrize.is_parametrized(synapses, "weight"):
        return None
    (made,) = synapses.parametrizations["weight"]  # type: ignore[index]
    assert isinstance(made, WeightStandardisation)
    return made


def raw_weight(synapses: nn.Conv2d | nn.Linear) -> Tensor:
    """The weight that an optimiser changes: before it is standardised, where it is."""
    if standardisation_of(synapses) is None:
        return synapses.weight
    raw: Tensor = synapses.parametrizations["weight"].original  # type: ignore[index, union-attr]
    return raw


@dataclass(frozen=True)
class EffectiveWeight:
    """The weight that a layer's inputs meet, for code that computes its gradient without autograd.

    Attributes:
        leaf: The weight. Add the gradient to ``leaf.grad``, then call ``pass_gradient_on``; where nothing is computed, it is the
            parameter itself.
        raw: The parameter that it is computed from, or itself.
        standardisation: How it is computed; None where it is not.
        kept: What the gradient needs of that.
    """

    leaf: Tensor
    raw: Tensor
    standardisation: WeightStandardisation | None = None
    kept: tuple[Tensor, ...] = ()

    @torch.no_grad()
    def pass_gradient_on(self) -> None:
        """Add to the gradients of the parameters that the weight is computed from, once its own is there."""
        if self.standardisation is None or self.leaf.grad is None:
            return
        grads = self.standardisation.gradients(self.leaf.grad, self.kept)
        for parameter, grad in zip((self.raw, self.standardisation.gain), grads, strict=True):
            parameter.grad = grad if parameter.grad is None else parameter.grad.add_(grad)


@torch.no_grad()
def effective_weight(synapses: nn.Conv2d | nn.Linear) -> EffectiveWeight:
    """The weight of a convolution or linear layer, computed anew if it is standardised; call it once in every training step."""
    standardisation, raw = standardisation_of(synapses), raw_weight(synapses)
    if standardisation is None:
        return EffectiveWeight(raw, raw)
    standardised, kept = standardisation.standardise(raw)
    return EffectiveWeight(standardised, raw, standardisation, kept)


def normalise_drives(network: Network, normalisation: DriveNormalisation) -> None:
    """Give every hidden layer of a chain what its normalisation learns, before the first weights are drawn.

    A batch norm stands right before the neurons, and takes the place of the layer's bias. A layer whose weights are not learnt
    has no normalisation; its weights are scaled (see ``start_drives``).
    """
    if normalisation not in ("weight_standardisation", "batch_norm"):
        return
    for neurons in hidden_neurons(network):
        (source,) = neurons.inputs
        synapses = _synapses_before(network, source)
        if not synapses.weight.requires_grad:
            continue
        if normalisation == "weight_standardisation":
            with ONE_AT_A_TIME:  # registering calls the module
                parametrize.register_parametrization(synapses, "weight", WeightStandardisation(synapses.weight))
        else:
            synapses.bias = None
            kind = nn.BatchNorm2d if isinstance(synapses, nn.Conv2d) else nn.BatchNorm1d
            network.insert(kind(synapses.weight.shape[0]), source, neurons.name)


def standardisation_problems(layout: str, feature_scale: float, image_shape: ImageShape) -> Iterator[RuleError]:
    """The rule that the layers of a layout break where their weights are standardised.

    Raises:
        RuleError: It is no layout of the grammar, or does not fit the images.
    """
    height, width = final_map(layout, image_shape)
    layers = [layer for layer in parse_layout(scaled_layout(layout, feature_scale)) if not isinstance(layer, Pool | GlobalPool)]
    for number, (before, layer) in enumerate(pairwise(layers), start=2):
        inputs = before.width if isinstance(before, FullyConnected) else before.channels * height * width
        if isinstance(layer, FullyConnected) and inputs < 2:  # a convolution has nine or more
            rule = "a layer must have 2 inputs or more where its weights are standardised: the mean of one is all of it"
            repair = "raise feature_scale, or write normalisation: batch_norm"
            yield RuleError(rule, f"1 input of layer{number}", repair, field="normalisation")


def hidden_neurons(network: Network) -> list[Operation]:
    """The operations that are spiking neurons, except those of an output layer."""
    return [operation for operation in network.operations_of(SpikingNeuron) if operation is not network.operations[-1]]


@torch.no_grad()
def start_drives(
    network: Network,
    batches: Callable[[], Iterable[Inputs]],
    time_steps: int,
    drive_std: float,
    *,
    num_micro_batches: int = 1,
) -> None:
    """Make the standard deviation of every hidden layer's drive ``drive_std``, layer by layer, as it is over time steps, images,
    channels and pixels of ``batches``.

    That scales a standardised layer's gain, any other's weights; a batch norm starts from the mean and variance that it will see.
    The network is simulated up to each layer in turn, so that this takes no more memory than an evaluation.

    Args:
        network: With its first weights.
        batches: The inputs to measure on, the same at every call.
        time_steps: T.
        drive_std: κ, in units of the firing threshold.
        num_micro_batches: See ``Network.simulate``.
    """

    def moments(until: str) -> tuple[Tensor, Tensor]:
        results = (network.simulate(inputs, time_steps, until=until, num_micro_batches=num_micro_batches) for inputs in batches())
        return _moments(results)

    was_training = network.training
    network.eval()
    for neurons in hidden_neurons(network):
        (source,) = neurons.inputs
        norm = next((operation for operation in network.operations_of(*NORMS) if operation.name == source), None)
        if norm is not None:
            _start_norm(network.parts[norm.name], moments(norm.inputs[0]), drive_std)
            continue
        mean_C, variance_C = moments(source)
        std = float((variance_C.mean() + mean_C.var(unbiased=False)).sqrt())
        if std > SMALLEST_STD:
            synapses = _synapses_before(network, source)
            standardisation = standardisation_of(synapses)
            (standardisation.gain if standardisation else synapses.weight).mul_(drive_std / std)
    network.train(was_training)


def _start_norm(norm: nn.Module, moments: Sequence[Tensor], drive_std: float) -> None:
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    norm.weight.fill_(drive_std)
    for statistic, measured in zip((norm.running_mean, norm.running_var), moments, strict=True):
        assert statistic is not None
        statistic.copy_(measured)


def _moments(batches: Iterable[Iterable[Tensor]]) -> tuple[Tensor, Tensor]:
    """The mean and variance of every channel, over time steps, images and pixels; of results in pieces ``[T, B, C, …]``."""
    number = 0
    sums_C: Tensor | float = 0.0
    squares_C: Tensor | float = 0.0
    for values_TBN in chain.from_iterable(batches):
        but_channels = [dim for dim in range(values_TBN.dim()) if dim != 2]
        variance_C, mean_C = (moment.double() for moment in torch.var_mean(values_TBN, but_channels, correction=0))
        some = values_TBN.shape[0] * values_TBN.shape[1]
        number += some
        sums_C, squares_C = sums_C + some * mean_C, squares_C + some * (variance_C + mean_C.square())
    assert isinstance(sums_C, Tensor)
    mean_C = sums_C / number
    return mean_C, (squares_C / number - mean_C.square()).clamp(min=0)


def _synapses_before(network: Network, name: str) -> nn.Conv2d | nn.Linear:
    """The convolution or linear layer behind which only pools stand up to the operation called ``name``."""
    (*_, first) = network.back_through_pools(name)
    synapses = network.parts[first.name]
    assert network.is_a(first, *SYNAPSES)
    assert isinstance(synapses, nn.Conv2d | nn.Linear)
    return synapses
