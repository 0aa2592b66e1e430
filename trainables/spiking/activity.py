"""How active the neurons are: sparsity, spike rate, dead neurons (names as NeuroBench defines them)."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class _LayerActivity:
    spikes: float
    elements: int
    ever_spiked_N: Tensor


class ActivityMeter:
    """Gathers, layer by layer, what every neuron did over all the batches that it is shown."""

    def __init__(self) -> None:
        self._layers: dict[str, _LayerActivity] = {}

    def __call__(self, layer: str, spikes_TBN: Tensor) -> None:
        """Add the outputs of one layer for one batch, ``[T, B, …]`` in {0, 1}."""
        spikes_N = spikes_TBN.sum(dim=(0, 1))  # whole numbers far below 2**24: exact in float32
        spikes = float(spikes_N.sum(dtype=torch.float64))
        ever_spiked_N = spikes_N > 0
        seen = self._layers.get(layer)
        if seen is None:
            self._layers[layer] = _LayerActivity(spikes, spikes_TBN.numel(), ever_spiked_N)
        else:
            seen.spikes += spikes
            seen.elements += spikes_TBN.numel()
            seen.ever_spiked_N |= ever_spiked_N

    def metrics(self) -> dict[str, float]:
        """Per layer and overall: ``sparsity/…`` (zeros / elements), ``spike_rate/…`` (spikes per neuron per time step),
        ``dead_neurons/…`` (fraction that never spiked).
        """
        layers = list(self._layers.items())
        overall = _LayerActivity(
            sum(layer.spikes for _, layer in layers),
            sum(layer.elements for _, layer in layers),
            torch.cat([layer.ever_spiked_N.flatten() for _, layer in layers]),
        )
        metrics: dict[str, float] = {}
        for name, layer in [*layers, ("overall", overall)]:
            spike_rate = layer.spikes / layer.elements
            metrics[f"sparsity/{name}"] = 1.0 - spike_rate
            metrics[f"spike_rate/{name}"] = spike_rate
            metrics[f"dead_neurons/{name}"] = 1.0 - float(layer.ever_spiked_N.double().mean())
        return metrics
