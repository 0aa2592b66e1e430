"""What the tests of conversions share: a random analogue network, random images, and the converted network's spikes."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables import ann, converted_snn
from trainables.conversion.calibration_set import CalibrationSet, calibration_set
from trainables.data.datasets import Dataset, Splits, split
from trainables.data.encodings import Encoding
from trainables.networks.layered import initialise_analogue
from trainables.networks.network import Inputs, Network
from trainables.training.task import Prepared

SHAPE = (8, 8, 2)
NUM_CLASSES = 3


def random_dataset(num_images: int = 150) -> Dataset:
    """Images of noise at all scales."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (num_images, 2, 2, 2)).repeat(4, axis=1).repeat(4, axis=2)
    images = ((coarse + generator.integers(0, 256, (num_images, *SHAPE))) // 2).astype(np.uint8)
    labels = np.arange(num_images) % NUM_CLASSES
    return Dataset("random", "random", NUM_CLASSES, images, labels, images[:10], labels[:10])


def random_splits(split_seed: int = 0, **options: Any) -> Splits:
    """A fifth for validation."""
    parts = {"validation_fraction": 0.2, "num_train_images": None, "image_downscale": 1, "device": torch.device("cpu")}
    return split(random_dataset(), split_seed=split_seed, **{**parts, **options})


def random_calibration(encoding: Encoding = "constant", num_images: int = 100, **options: Any) -> CalibrationSet:
    """Of ``random_splits``."""
    return calibration_set(random_splits(**options), num_images, split_seed=0, encoding=encoding, seed=0)


def random_analogue(**options: Any) -> Network:
    """A network of ``ann`` with random weights and small random biases."""
    network = ann.build(ann.Config(**{"layout": "6 A 8 F10", **options}), SHAPE, NUM_CLASSES).eval()
    generator = torch.Generator().manual_seed(0)
    initialise_analogue(network, generator)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.2, generator=generator)
    return network


def converted(trained: Network, calibration: CalibrationSet, **options: Any) -> tuple[Network, Prepared]:
    """The network that a config makes of ``trained``, and what it says about the conversion."""
    config = converted_snn.Config(**{"layout": "6 A 8 F10", "encoding": calibration.encoding, **options})
    network = converted_snn._build(config, SHAPE, NUM_CLASSES)
    return network, converted_snn.convert(trained, network, config, calibration, SHAPE)


class Listed:
    """Inputs that are written down, ``[T, B, …]``; an ``Inputs``."""

    def __init__(self, inputs_TBN: Tensor) -> None:
        self.num_images = inputs_TBN.shape[1]
        self._inputs_TBN = inputs_TBN

    def __call__(self, start: int, length: int) -> Tensor:
        """These steps."""
        return self._inputs_TBN[start : start + length]


class Spikes:
    """An observer that keeps every layer's outputs."""

    def __init__(self) -> None:
        self.of: dict[str, list[Tensor]] = {}

    def inputs(self, *_: object) -> None: ...

    def outputs(self, layer: str, outputs_TBN: Tensor) -> None:
        """One more piece of a layer."""
        self.of.setdefault(layer, []).append(outputs_TBN)


@torch.no_grad()
def run(network: Network, inputs: Inputs, time_steps: int) -> tuple[Tensor, dict[str, Tensor]]:
    """The results of all steps, and every layer's spikes."""
    spikes = Spikes()
    results_TBN = torch.cat(list(network.eval().simulate(inputs, time_steps, [spikes])))
    return results_TBN, {layer: torch.cat(pieces) for layer, pieces in spikes.of.items()}
