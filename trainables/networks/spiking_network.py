"""A layout as a network of bddi neurons: BITnet (Reddy, BITnet README)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.networks.layouts import ImageShape, final_map, parse_layout, scaled_channels
from trainables.spiking.neurons import bddi

Observer = Callable[[str, Tensor], None]


class SpikingNetwork(nn.Module):
    """Convolutions (3x3, stride 1, padding 1, with bias) and pools as the layout says, then a linear output layer.

    Every convolution and the output layer drive bddi neurons; pools act on their spikes, so that a max pool is a logical
    OR. One static image is shown at every time step. Time is folded into the batch: one convolution call a layer, and
    the first one, whose input never changes, is computed for one step only. All state lives within ``forward``.

    Raises:
        ValueError: The layout does not fit the images (see ``layouts.final_map``).
    """

    def __init__(
        self,
        layout: str,
        *,
        feature_scale: float,
        time_steps: int,
        image_shape: ImageShape,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.time_steps = time_steps
        self.layers = nn.ModuleList()
        map_height, map_width = final_map(layout, image_shape)
        channels = image_shape[2]
        for layer in parse_layout(layout):
            if isinstance(layer, int):
                self.layers.append(nn.Conv2d(channels, scaled_channels(layer, feature_scale), 3, padding=1))
                channels = scaled_channels(layer, feature_scale)
            else:
                self.layers.append(nn.MaxPool2d(2) if layer == "M" else nn.AvgPool2d(2))
        self.output = nn.Linear(channels * map_height * map_width, num_classes)

    def initialise(self, generator: torch.Generator) -> None:
        """Kaiming-normal convolutions with biases at 0; an output layer that starts small, with bias 1 / classes.

        A unit of the clamped output that starts below zero would get no gradient for ever; the output bias prevents it.
        """
        for module in self.layers:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, generator=generator)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # these convolutions have one
        nn.init.kaiming_uniform_(self.output.weight, a=5**0.5, generator=generator)
        with torch.no_grad():
            self.output.weight.mul_(0.25)
            self.output.bias.fill_(1 / self.output.out_features)

    def forward(self, images_BCHW: Tensor, observe: Observer | None = None) -> Tensor:
        """Spikes of the output layer, ``[T, B, classes]``; ``observe`` is shown every layer's spikes, named layer1, … .

        Args:
            images_BCHW: Normalised images; the drive of the first convolution at every step.
            observe: Called with a layer's name and its spikes ``[T, B, …]``, before any pool.
        """
        signal_TB = images_BCHW.unsqueeze(0)  # [1, B, …] while it is constant in time, [T, B, …] afterwards
        num_spiking = 0
        for module in [*self.layers, self.output]:
            if module is self.output:
                signal_TB = signal_TB.flatten(2)
            folded = module(signal_TB.flatten(0, 1))
            signal_TB = folded.unflatten(0, signal_TB.shape[:2])
            if isinstance(module, nn.Conv2d | nn.Linear):
                signal_TB = bddi(signal_TB, self.time_steps)
                num_spiking += 1
                if observe is not None:
                    observe(f"layer{num_spiking}", signal_TB)
        return signal_TB


def rate_loss(spikes_TBK: Tensor, labels_B: Tensor) -> Tensor:
    """MSE(clamp(Σ_t S_t, max=T) / T, one_hot(labels)), the BITnet README's loss, averaged over batch and classes."""
    time_steps, _, num_classes = spikes_TBK.shape
    rates_BK = spikes_TBK.sum(dim=0).clamp(max=time_steps) / time_steps
    return functional.mse_loss(rates_BK, functional.one_hot(labels_B, num_classes).to(rates_BK.dtype))
