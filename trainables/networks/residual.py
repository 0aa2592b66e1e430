"""Residual networks for small images (He et al. 2016), with the constraints that Sengupta et al. 2019 put on them."""

import re
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from trainables.networks.layouts import scaled_channels
from trainables.networks.network import Network

RESIDUAL_NETWORKS: dict[str, tuple[tuple[int, int], ...]] = {
    "resnet18": ((64, 2), (128, 2), (256, 2), (512, 2)),
    "resnet20": ((16, 3), (32, 3), (64, 3)),
    "resnet34": ((64, 3), (128, 4), (256, 6), (512, 3)),
    "resnet50": ((64, 3), (128, 4), (256, 6), (512, 3)),
    "resnet101": ((64, 3), (128, 4), (256, 23), (512, 3)),
}
"""Channels and number of units of every stage; from the second stage on, the first unit has stride 2."""

BOTTLENECKS = ("resnet50", "resnet101")
"""Of ``RESIDUAL_NETWORKS``, those whose units are bottlenecks; the channels of a stage are those of its 3x3 convolutions."""

EXPANSION = 4
"""How many times the channels of its 3x3 convolution a bottleneck puts out."""


class ResidualUnit(nn.Module):
    """A residual unit: convolutions with activations between them; a shortcut is added, and the sum is called the junction.

    A unit has two 3x3 convolutions, a bottleneck a 1x1, a 3x3 and a 1x1 convolution, of which the last has four times as many
    channels. The shortcut is the identity, or a 1x1 convolution where the shape changes.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        *,
        bottleneck: bool = False,
        activation: Callable[[], nn.Module],
        batch_norm: bool,
        dropout: float,
        bias: bool,
        junction_activation: bool,
    ) -> None:
        super().__init__()

        def convolution(inputs: int, outputs: int, size: int, stride: int) -> nn.Module:
            conv = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=bias and not batch_norm)
            return nn.Sequential(conv, nn.BatchNorm2d(outputs)) if batch_norm else conv

        def drop() -> nn.Module:
            return nn.Dropout(dropout) if dropout else nn.Identity()

        out_channels = channels * EXPANSION if bottleneck else channels
        self.conv1 = convolution(in_channels, channels, 1, 1) if bottleneck else convolution(in_channels, channels, 3, stride)
        self.activation = activation()
        self.dropout = drop()
        self.conv2 = convolution(channels, channels, 3, stride if bottleneck else 1)
        if bottleneck:
            self.activation2 = activation()
            self.dropout2 = drop()
            self.conv3 = convolution(channels, out_channels, 1, 1)
        changes = stride > 1 or in_channels != out_channels
        self.shortcut = convolution(in_channels, out_channels, 1, stride) if changes else nn.Identity()
        self.junction = activation() if junction_activation else nn.Identity()
        self.bottleneck = bottleneck

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, H, W]``."""
        y = self.conv2(self.dropout(self.activation(self.conv1(x))))
        if self.bottleneck:
            y = self.conv3(self.dropout2(self.activation2(y)))
        junction: Tensor = self.junction(y + self.shortcut(x))
        return junction


def residual(
    name: str,
    *,
    image_channels: int,
    num_classes: int,
    activation: Callable[[], nn.Module],
    feature_scale: float = 1.0,
    batch_norm: bool = True,
    dropout: float = 0.0,
    bias: bool = True,
    junction_activation: bool = True,
    num_plain_convolutions: int = 1,
    first_pool: bool = False,
) -> nn.Sequential:
    """One of ``RESIDUAL_NETWORKS``, with global average pooling before the output layer.

    Args:
        name: A key of ``RESIDUAL_NETWORKS``.
        image_channels: Channels of an image.
        num_classes: Units of the output layer.
        activation: Makes an activation.
        feature_scale: Multiplies every channel count.
        batch_norm: After every convolution.
        dropout: Probability; between the two convolutions of a unit (Sengupta et al. 2019, section 5.3).
        bias: Whether the output layer, and convolutions that no batch norm follows, have biases.
        junction_activation: An activation after every junction (their constraint 1).
        num_plain_convolutions: 3x3 convolutions before the first unit; 3 is their constraint 3.
        first_pool: A 3x3 max pool of stride 2 before the first unit, as He et al. have it for large images.
    """
    stages = [(scaled_channels(channels, feature_scale), units) for channels, units in RESIDUAL_NETWORKS[name]]
    features, channels = image_channels, stages[0][0]
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(1, num_plain_convolutions + 1):
        modules[f"conv{number}"] = nn.Conv2d(features, channels, 3, padding=1, bias=bias and not batch_norm)
        if batch_norm:
            modules[f"norm{number}"] = nn.BatchNorm2d(channels)
        modules[f"activation{number}"] = activation()
        features = channels
    if first_pool:
        modules["first_pool"] = nn.MaxPool2d(3, stride=2, padding=1)
    bottleneck = name in BOTTLENECKS
    for stage, (channels, num_units) in enumerate(stages, start=1):
        for unit in range(1, num_units + 1):
            modules[f"stage{stage}_unit{unit}"] = ResidualUnit(
                features,
                channels,
                2 if stage > 1 and unit == 1 else 1,
                bottleneck=bottleneck,
                activation=activation,
                batch_norm=batch_norm,
                dropout=dropout,
                bias=bias,
                junction_activation=junction_activation,
            )
            features = channels * EXPANSION if bottleneck else channels
    modules["pool"] = nn.AdaptiveAvgPool2d(1)
    modules["flatten"] = nn.Flatten()
    modules["output"] = nn.Linear(features, num_classes, bias=bias)
    return nn.Sequential(modules)


def residual_channels(name: str, feature_scale: float) -> list[int]:
    """The different channel counts of the convolutions of one of ``RESIDUAL_NETWORKS``, by stage."""
    widths = [scaled_channels(channels, feature_scale) for channels, _ in RESIDUAL_NETWORKS[name]]
    return [*widths, *(EXPANSION * width for width in widths)] if name in BOTTLENECKS else widths


def shrink_residual_weights(network: Network) -> None:
    """Divide the weights of the convolutions within residual units by √(k²·n), n the output channels of a k×k convolution.

    From ``initialise_analogue``'s standard deviation √(2 / (k²·n)) they come to √2 / (k²·n) (Sengupta et al. 2019, section 4.1).
    Those of shortcuts stay as they are.
    """
    for name, part in network.parts.items():
        if isinstance(part, nn.Conv2d) and re.match(r"stage\d+_unit\d+_conv", name):
            with torch.no_grad():
                part.weight.div_((part.weight[0, 0].numel() * part.out_channels) ** 0.5)
