"""The first layer that whitens patches, against plain loops and float64; and first weights that pass channels on."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables import ann, bitnet
from trainables.networks.layered import initialise_analogue, initialise_spiking, start_from_identity
from trainables.networks.network import NORMS, ConstantCurrent, Network
from trainables.networks.whitening import SMALLEST_VARIANCE, patch_covariance, whiten_first_layer, whitening_filters

CHANNELS = 3


def images_of(num: int, side: int = 8) -> Tensor:
    """Correlated noise, as images are: every pixel is a mean of neighbours and of channels."""
    noise = torch.randn(num, CHANNELS, side + 2, side + 2, generator=torch.Generator().manual_seed(0))
    return nn.functional.avg_pool2d(noise, 3, stride=1) + 0.3 * noise.mean(dim=1, keepdim=True)[..., 1:-1, 1:-1] + 0.2


def patches_of(images_BCHW: Tensor) -> np.ndarray:
    """All 3x3 patches within the images, by loops, ``[patches, C · 9]``."""
    images = images_BCHW.double().numpy()
    side = images.shape[-1]
    places = [(row, column) for row in range(side - 2) for column in range(side - 2)]
    return np.array([image[:, row : row + 3, column : column + 3].ravel() for image in images for row, column in places])


def whitening_network(channels: int, **options: object) -> Network:
    config = ann.Config(layout=f"{channels} M 8", first_layer="whitening", **options)  # type: ignore[arg-type]
    network = ann.build(config, (8, 8, CHANNELS), 4)
    initialise_analogue(network, torch.Generator().manual_seed(0))
    return network


def test_the_covariance_is_that_of_all_patches() -> None:
    """It is numpy's, of patches that loops have cut out, however the images come in batches."""
    images = images_of(7)
    expected = np.cov(patches_of(images).T, bias=True)
    for size in (7, 3):
        torch.testing.assert_close(patch_covariance(images.split(size)), torch.from_numpy(expected), rtol=1e-6, atol=1e-9)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("channels", [8, 7, 54, 60])
def test_whitened_patches_have_unit_covariance(channels: int) -> None:
    """What the filters make of the patches has the variance e/(e + ε) of its eigenvalue e, uncorrelated in every two filters but
    those of a pair; an odd last filter has no partner, and after all 27 pairs the first ones come again.
    """
    images = images_of(200)
    network = whitening_network(channels)
    whiten_first_layer(network, (ConstantCurrent(some) for some in images.split(64)))  # type: ignore[no-untyped-call]
    filters = network.parts["conv1"].weight.detach().double().flatten(1).numpy()  # type: ignore[operator]
    covariance = np.cov((patches_of(images) @ filters.T).T, bias=True)
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(patches_of(images).T, bias=True)))[::-1]
    for one in range(channels):
        for other in range(channels):
            which, what = (number % 54 // 2 for number in (one, other))
            sign = -1 if (one - other) % 2 else 1
            variance = eigenvalues[which] / (eigenvalues[which] + SMALLEST_VARIANCE)
            assert covariance[one, other] == pytest.approx(sign * variance if which == what else 0, abs=1e-4)


def test_directions_without_variance_are_left_out() -> None:
    """Grey images in three equal channels have 9 eigenvectors, whose 18 filters come again; flat images have one pair."""
    grey = images_of(50)[:, :1].expand(-1, CHANNELS, -1, -1)
    filters = whitening_filters(patch_covariance([grey]), 20)
    assert torch.equal(filters[18:], filters[:2])
    assert len({tuple(row) for row in filters[:18].tolist()}) == 18
    assert bool(filters.isfinite().all())
    flat = whitening_filters(patch_covariance([torch.ones(5, 1, 8, 8)]), 4)
    assert torch.equal(flat[2:], flat[:2])
    assert torch.equal(flat[0], -flat[1])
    assert bool(flat.isfinite().all())


@pytest.mark.parametrize("batch_norm", [False, True])
def test_what_is_not_learnt_has_a_bias_and_no_norm(batch_norm: bool) -> None:
    """The first convolution has weights without gradient, a bias with one, and no batch norm behind it; all others have one."""
    network = whitening_network(6, batch_norm=batch_norm, pool_before_activation=True)
    first = network.parts["conv1"]
    assert isinstance(first, nn.Conv2d)
    assert first.bias is not None
    assert [name for name, parameter in network.named_parameters() if not parameter.requires_grad] == ["parts.conv1.weight"]
    assert len(network.operations_of(*NORMS)) == batch_norm
    network(images_of(5)[None])[0].square().sum().backward()
    assert first.weight.grad is None
    assert first.bias.grad is not None
    assert bool(first.bias.grad.any())


def test_first_weights_that_pass_channels_on() -> None:
    """They are those of torch.nn.init.dirac_ in the first min(inputs, outputs) filters of all convolutions but the first; the
    other filters, linear layers and biases are as they were drawn; so with standardised weights, where it is the raw ones.
    """

    def networks() -> Iterator[tuple[Network, str]]:
        analogue = ann.build(ann.Config(layout="4 8 M 6 S F5"), (8, 8, CHANNELS), 4)
        initialise_analogue(analogue, torch.Generator().manual_seed(1))
        yield analogue, "weight"
        spiking = bitnet.build(bitnet.Config(layout="4 8 M 6 F5"), (8, 8, CHANNELS), 4)
        initialise_spiking(spiking, torch.Generator().manual_seed(1))
        yield spiking, "parametrizations.weight.original"

    for network, weight in networks():
        before = {name: value.clone() for name, value in network.state_dict().items()}
        start_from_identity(network)
        after = network.state_dict()
        for number, inputs, outputs in ((2, 4, 8), (3, 8, 6)):
            key = f"parts.conv{number}.{weight}"
            same = min(inputs, outputs)
            assert torch.equal(after[key][:same], nn.init.dirac_(torch.empty(same, inputs, 3, 3)))
            assert torch.equal(after[key][same:], before[key][same:])
            image = torch.randn(1, inputs, 5, 5)
            torch.testing.assert_close(nn.functional.conv2d(image, after[key], padding=1)[:, :same], image[:, :same])
            del before[key]
        assert all(torch.equal(after[name], value) for name, value in before.items())
