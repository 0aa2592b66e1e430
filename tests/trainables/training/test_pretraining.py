"""The output layer of a pre-trained network: brought near to the labels by least squares, without another answer."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from trainables import bitnet
from trainables.networks.layered import initialise_spiking
from trainables.networks.network import ConstantCurrent, Inputs, Network
from trainables.training.pretraining import fit_output_to_labels

T, NUM_CLASSES = 6, 4
IMAGES_BCHW = torch.randn(50, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def network_of(scale: float) -> Network:
    """Whose outputs are far from 0 and 1 where ``scale`` is large."""
    config = bitnet.Config(layout="8 M 8", pretrain_epochs=1, readout="potential")
    network = bitnet.build(config, (8, 8, 1), NUM_CLASSES)
    initialise_spiking(network, torch.Generator().manual_seed(0), hidden_bias=0.1, output_bias=2.0, output_scale=scale)
    return network


@torch.no_grad()
def mean_drives(network: Network) -> Tensor:
    drives_BK: Tensor = network(IMAGES_BCHW[None], T)[0].mean(dim=0)
    return drives_BK


def batches(labels_B: Tensor) -> Iterator[tuple[Inputs, Tensor]]:
    """The images in parts of unequal size."""
    for images_BCHW, some_B in zip(torch.split(IMAGES_BCHW, 20), torch.split(labels_B, 20), strict=True):
        yield ConstantCurrent(images_BCHW), some_B


def test_two_numbers_of_least_squares() -> None:
    """The mean drives become a·o + c, with numpy's a and c for the labels' targets; no image's class changes, also in parts."""
    for num_micro_batches, smoothing in ((1, 0.0), (4, 0.2)):
        network = network_of(20.0)
        before_BK = mean_drives(network)
        labels_B = before_BK.argmax(dim=1)
        labels_B[::3] = (labels_B[::3] + 1) % NUM_CLASSES  # some are wrong
        hidden = [parameter.clone() for parameter in list(network.parameters())[:-2]]
        fit_output_to_labels(network, batches(labels_B), T, label_smoothing=smoothing, num_micro_batches=num_micro_batches)
        targets = (1 - smoothing) * np.eye(NUM_CLASSES)[labels_B] + smoothing / NUM_CLASSES
        outputs = before_BK.double().numpy().ravel()
        (scale, shift), *_ = np.linalg.lstsq(np.stack([outputs, np.ones_like(outputs)], axis=1), targets.ravel(), rcond=None)
        after_BK = mean_drives(network)
        assert 0 < scale < 0.5
        torch.testing.assert_close(after_BK, (scale * before_BK.double() + shift).float(), rtol=1e-5, atol=1e-5)
        assert torch.equal(after_BK.argmax(dim=1), before_BK.argmax(dim=1))
        assert all(map(torch.equal, hidden, network.parameters()))


def test_nothing_is_done_without_a_positive_scale() -> None:
    """Outputs that say the opposite of the labels, or the same of every class and image, stay as they are."""
    for scale in (20.0, 0.0):
        network = network_of(scale)
        weights = [parameter.clone() for parameter in network.parameters()]
        fit_output_to_labels(network, batches(mean_drives(network).argmin(dim=1)), T)
        assert all(map(torch.equal, weights, network.parameters()))
