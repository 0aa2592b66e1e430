"""A layout as a network: convolutions, activations and pools in a row, then an output layer."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from trainables.networks.drive_normalisation import raw_weight
from trainables.networks.layouts import (
    Convolution,
    FullyConnected,
    GlobalPool,
    ImageShape,
    Pool,
    PoolKind,
    final_map,
    has_global_pool,
    parse_layout,
    scaled_channels,
)
from trainables.spiking.pools import SplitTiesMaxPool


def layered(
    layout: str,
    *,
    image_shape: ImageShape,
    num_classes: int,
    activation: Callable[[], nn.Module],
    feature_scale: float = 1.0,
    batch_norm: bool = False,
    dropout: float = 0.0,
    linear_dropout: float | None = None,
    bias: bool = True,
    pool_before_activation: bool = False,
    split_ties: bool = False,
    average_pools: bool = False,
    activate_output: bool = False,
) -> nn.Sequential:
    """The network of a layout (see ``layouts``); 3x3 convolutions with padding 1.

    Args:
        layout: Words or a name.
        image_shape: Height, width, channels.
        num_classes: Units of the output layer.
        activation: Makes the activation of a layer; also of the output layer with ``activate_output``.
        feature_scale: Multiplies every channel count and width.
        batch_norm: After every convolution, before its activation.
        dropout: Probability; after every activation that no pool follows (Sengupta et al. 2019, section 4.1).
        linear_dropout: The probability behind linear layers; None for ``dropout``.
        bias: Of convolutions and linear layers.
        pool_before_activation: Pools see the drive of a layer rather than its output, and batch norms stand behind them.
        split_ties: A max pool's gradient is shared among equal largest inputs.
        average_pools: Average pools in the place of max pools.
        activate_output: The output layer has an activation, too.

    Raises:
        ValueError: The layout does not fit the images.
    """
    map_height, map_width = final_map(layout, image_shape)
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    features, flat, averaged = image_shape[2], False, has_global_pool(layout)
    for number, (layer, pool_kinds) in enumerate(_blocks(layout), start=1):
        width = scaled_channels(layer.channels if isinstance(layer, Convolution) else layer.width, feature_scale)
        pools = {f"pool{number}{'abcdefgh'[i]}": _pool(kind, split_ties, average_pools) for i, kind in enumerate(pool_kinds)}
        norms: dict[str, nn.Module] = {}
        if isinstance(layer, Convolution):
            conv_bias = bias and not batch_norm
            modules[f"conv{number}"] = nn.Conv2d(features, width, 3, stride=layer.stride, padding=1, bias=conv_bias)
            norms = {f"norm{number}": nn.BatchNorm2d(width)} if batch_norm else {}
        else:
            if not flat:
                modules, flat = modules | _flatten(averaged=averaged), True
                features *= map_height * map_width
            modules[f"linear{number}"] = nn.Linear(features, width, bias=bias)
        modules |= pools | norms if pool_before_activation else norms
        modules[f"activation{number}"] = activation()
        if not pool_before_activation:
            modules |= pools
        probability = dropout if linear_dropout is None or isinstance(layer, Convolution) else linear_dropout
        if probability and not pools:
            modules[f"dropout{number}"] = nn.Dropout(probability)
        features = width
    if not flat:
        modules |= _flatten(averaged=averaged)
        features *= map_height * map_width
    modules["output"] = nn.Linear(features, num_classes, bias=bias)
    if activate_output:
        modules["output_activation"] = activation()
    return nn.Sequential(modules)


def _flatten(*, averaged: bool) -> OrderedDict[str, nn.Module]:
    """From a map to the inputs of a linear layer: all its pixels, or the mean of every channel."""
    pool: list[tuple[str, nn.Module]] = [("global_pool", nn.AdaptiveAvgPool2d(1))] if averaged else []
    return OrderedDict([*pool, ("flatten", nn.Flatten())])


def _blocks(layout: str) -> list[tuple[Convolution | FullyConnected, list[PoolKind]]]:
    """Every layer with weights, and the pools behind it."""
    blocks: list[tuple[Convolution | FullyConnected, list[PoolKind]]] = []
    for layer in parse_layout(layout):
        if isinstance(layer, Pool):
            blocks[-1][1].append(layer.kind)
        elif not isinstance(layer, GlobalPool):
            blocks.append((layer, []))
    return blocks


def _pool(kind: PoolKind, split_ties: bool, average: bool) -> nn.Module:
    if kind == "A" or average:
        return nn.AvgPool2d(2)
    return SplitTiesMaxPool() if split_ties else nn.MaxPool2d(2)


def initialise_spiking(
    network: nn.Module,
    generator: torch.Generator,
    *,
    hidden_bias: float = 0.0,
    output_bias: float | None = None,
    output_scale: float = 0.25,
) -> None:
    """Kaiming-normal weights of hidden layers; an output layer of PyTorch's own uniform rule, times ``output_scale``.

    A unit of the clamped output that starts below zero would get no gradient for ever; the output bias prevents it.

    Args:
        network: Any; its weights may be standardised.
        generator: Of the CPU.
        hidden_bias: The bias of hidden layers, or of their batch norms.
        output_bias: The bias of the output layer; None for 1 / classes.
        output_scale: Of the output layer's weights.
    """
    *hidden, output = synaptic_modules(network)
    for module in hidden:
        _draw(module, partial(nn.init.kaiming_normal_, generator=generator), bias=hidden_bias)
    bias = 1 / output.weight.shape[0] if output_bias is None else output_bias
    _draw(output, partial(nn.init.kaiming_uniform_, a=5**0.5, generator=generator), bias=bias)
    with torch.no_grad():
        output.weight.mul_(output_scale)
        for norm in network.modules():
            if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                norm.bias.fill_(hidden_bias)


def initialise_analogue(network: nn.Module, generator: torch.Generator) -> None:
    """Normal weights of standard deviation √(2 / (k²·n)), n the output channels of a k×k convolution (He et al. 2015;
    Sengupta et al. 2019, section 4.1), √(2 / inputs) for a hidden linear layer; PyTorch's own uniform rule for the output
    layer; biases 0; batch norms as PyTorch makes them.
    """
    *hidden, output = synaptic_modules(network)
    for module in hidden:
        mode: Literal["fan_in", "fan_out"] = "fan_out" if isinstance(module, nn.Conv2d) else "fan_in"
        _draw(module, partial(nn.init.kaiming_normal_, mode=mode, nonlinearity="relu", generator=generator))
    _draw(output, partial(nn.init.kaiming_uniform_, a=5**0.5, generator=generator))


def start_from_identity(network: nn.Module) -> None:
    """Let the first min(inputs, outputs) filters of every 3x3 convolution but the first pass on the channel of their number
    (``torch.nn.init.dirac_``); the others stay as they are.
    """
    _, *hidden = synaptic_modules(network)
    for module in hidden:
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            with torch.no_grad():
                nn.init.dirac_(raw_weight(module)[: module.in_channels])


def set_batch_norms(network: nn.Module, *, momentum: float, scale: float | None = None) -> None:
    """Give all batch norms a momentum, and a scale γ that is not learnt; None leaves γ as it is."""
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.momentum = momentum
            if scale is not None:
                nn.init.constant_(norm.weight, scale)
                norm.weight.requires_grad_(False)


def _draw(module: nn.Conv2d | nn.Linear, draw: Callable[[Tensor], object], bias: float = 0.0) -> None:
    """Draw a module's weights on the CPU, where its generator is, whatever its device."""
    weight = torch.empty_like(raw_weight(module), device="cpu")
    draw(weight)
    with torch.no_grad():
        raw_weight(module).copy_(weight)
        if module.bias is not None:
            module.bias.fill_(bias)


def synaptic_modules(network: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    """The convolutions and linear layers of a network, in order."""
    return [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
