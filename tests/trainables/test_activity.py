"""Sparsity, spike rate and dead neurons against hand counts."""

import pytest
import torch

from trainables.spiking.activity import ActivityMeter


def test_hand_count() -> None:
    """Two layers, two batches of unequal size: counts are over all layers, steps and images, not means of means."""
    meter = ActivityMeter()
    meter("layer1", torch.tensor([[[1.0, 0.0, 0.0]], [[1.0, 0.0, 1.0]]]))  # T=2, B=1, 3 neurons: 3 of 6 spike
    meter("layer2", torch.tensor([[[0.0]], [[0.0]]]))
    meter("layer1", torch.zeros(2, 2, 3))  # 0 of 12
    meter("layer2", torch.tensor([[[0.0], [1.0]], [[0.0], [0.0]]]))  # 1 of 4
    metrics = meter.metrics()
    assert metrics["spike_rate/layer1"] == pytest.approx(3 / 18)
    assert metrics["sparsity/layer1"] == pytest.approx(15 / 18)
    assert metrics["dead_neurons/layer1"] == pytest.approx(1 / 3)
    assert metrics["dead_neurons/layer2"] == 0
    assert metrics["sparsity/overall"] == pytest.approx(1 - 4 / 24)
    assert metrics["dead_neurons/overall"] == pytest.approx(1 / 4)
