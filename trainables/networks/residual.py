"""Residual networks for small images (He et al. 2016), with the constraints that Sengupta et al. 2019 put on them."""

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

from trainables.networks.layouts import scaled_channels

RESIDUAL_NETWORKS: dict[str, tuple[tuple[int, int], ...]] = {
    "resnet18": ((64, 2), (128, 2), (256, 2), (512, 2)),
    "resnet20": ((16, 3), (32, 3), (64, 3)),
    "resnet34": ((64, 3), (128, 4), (256, 6), (512, 3)),
}
"""Channels and number of units of every stage; from the second stage on, the first unit has stride 2."""


class ResidualUnit(nn.Module):
    """A residual unit: convolution, activation, convolution; a shortcut is added, and the sum is called the junction.

    The shortcut is the identity, or a 1x1 convolution where the shape changes.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        *,
        activation: Callable[[], nn.Module],
        batch_norm: bool,
        dropout: float,
        bias: bool,
        junction_activation: bool,
    ) -> None:
        super().__init__()

        def convolution(inputs: int, size: int, stride: int) -> nn.Module:
            conv = nn.Conv2d(inputs, channels, size, stride=stride, padding=size // 2, bias=bias and not batch_norm)
            return nn.Sequential(conv, nn.BatchNorm2d(channels)) if batch_norm else conv

        self.conv1 = convolution(in_channels, 3, stride)
        self.activation = activation()
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.conv2 = convolution(channels, 3, 1)
        changes = stride > 1 or in_channels != channels
        self.shortcut = convolution(in_channels, 1, stride) if changes else nn.Identity()
        self.junction = activation() if junction_activation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, H, W]``."""
        junction: Tensor = self.junction(self.conv2(self.dropout(self.activation(self.conv1(x)))) + self.shortcut(x))
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
    for stage, (channels, num_units) in enumerate(stages, start=1):
        for unit in range(1, num_units + 1):
            modules[f"stage{stage}_unit{unit}"] = ResidualUnit(
                features,
                channels,
                2 if stage > 1 and unit == 1 else 1,
                activation=activation,
                batch_norm=batch_norm,
                dropout=dropout,
                bias=bias,
                junction_activation=junction_activation,
            )
            features = channels
    modules["pool"] = nn.AdaptiveAvgPool2d(1)
    modules["flatten"] = nn.Flatten()
    modules["output"] = nn.Linear(features, num_classes, bias=bias)
    return nn.Sequential(modules)
