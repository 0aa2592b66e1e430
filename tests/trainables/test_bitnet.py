"""The published BITnet as a whole, and the default neuron, against a plain loop over time written here from the equations."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.trainables.spiking.test_neurons import StraightThroughSpike
from trainables import bitnet
from trainables.networks.layered import initialise_spiking
from trainables.networks.network import Network, Operation
from trainables.spiking.neurons import SpikingNeuron
from trainables.training.losses import cross_entropy_of_logits, cross_entropy_of_rates, mse_of_rates

LAYOUT = "16 32 M 16 A 32"


T = 6
NEURONS: dict[str, dict[str, Any]] = {
    "as published": {},
    "from one half, no output neurons": {"initial_membrane_potential": 0.5, "readout": "potential", "ties": "potential"},
}


def network_of(layout: str = LAYOUT, **options: Any) -> Network:
    config = bitnet.Config(**{"layout": layout, "feature_scale": 0.5, **bitnet.PUBLISHED, **options})
    network = bitnet.build(config, (8, 8, 2), 3)
    initialise_spiking(network, torch.Generator().manual_seed(0))
    return network


def spikes_of(network: Network, images: Tensor) -> Tensor:
    spikes: Tensor = network(images[None], T)[0]
    return spikes


def sequential_loop(network: Network, images: Tensor) -> Tensor:
    """What the output layer gives, one time step after another, one state per layer; for autograd."""
    states: dict[Operation, Tensor] = {}
    outputs = []
    for _ in range(T):
        x = images
        for operation in network.operations:
            part = network.parts[operation.name]
            if isinstance(part, SpikingNeuron):
                start = torch.full_like(x, float(part.model.initial_membrane_potential))
                u = states.get(operation, start) + x.clamp(0, 1)
                x = StraightThroughSpike.apply(u)
                states[operation] = u - x
            else:
                x = part(x)
        outputs.append(x)
    return torch.stack(outputs)


def make_dyadic(network: Network) -> None:
    """Weights in 64ths: every sum is exact, in whatever order it is taken."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_((parameter * 64).round() / 64)


def dyadic_images(num: int) -> Tensor:
    return torch.randint(-8, 9, (num, 2, 8, 8), generator=torch.Generator().manual_seed(1)) / 8


@pytest.mark.parametrize("neurons", NEURONS)
def test_spikes_equal_the_loop(neurons: str) -> None:
    """With dyadic weights every spike of the time-folded network, or drive of the output, equals the sequential loop's."""
    network = network_of(**NEURONS[neurons])
    make_dyadic(network)
    images = dyadic_images(5)
    spikes = spikes_of(network, images)
    assert torch.equal(spikes, sequential_loop(network, images))
    assert 0 < spikes.mean() < 1


@pytest.mark.parametrize("neurons", NEURONS)
def test_gradient_equals_the_loop(neurons: str) -> None:
    """The gradient of every weight is autograd's through the loop, with slope 1 and the reset attached."""
    network = network_of(**NEURONS[neurons])
    make_dyadic(network)
    images, labels = dyadic_images(5), torch.tensor([0, 1, 2, 0, 1])
    parameters = list(network.parameters())
    grads = torch.autograd.grad(mse_of_rates(spikes_of(network, images), labels), parameters)
    expected = torch.autograd.grad(mse_of_rates(sequential_loop(network, images), labels), parameters)
    for grad, want in zip(grads, expected, strict=True):
        assert want.abs().max() > 0
        torch.testing.assert_close(grad, want, rtol=1e-4, atol=1e-7)


def test_state_is_reset_between_batches() -> None:
    """A second pass over the same images gives the same spikes: nothing is carried over."""
    network = network_of()
    images = torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(2))
    first = spikes_of(network, images)
    spikes_of(network, images.flip(0) * 3)
    assert torch.equal(spikes_of(network, images), first)


def test_batch_size_does_not_matter() -> None:
    """An image's spikes do not depend on the images beside it."""
    network = network_of()
    make_dyadic(network)
    images = dyadic_images(7)
    one_by_one = torch.cat([spikes_of(network, image[None]) for image in images], dim=1)
    assert torch.equal(spikes_of(network, images), one_by_one)


def test_max_pool_of_spikes_is_or() -> None:
    """A pooled neuron spikes exactly when one of its four does."""
    spikes = (torch.rand(3, 8, 8, 8, generator=torch.Generator().manual_seed(3)) < 0.2).float()
    network = network_of("16 M 16")
    (pool,) = [operation for operation in network.operations if operation.name.startswith("pool")]
    quads = functional.unfold(spikes, 2, stride=2).reshape(3, 8, 4, -1)
    assert torch.equal(network.parts[pool.name](spikes).flatten(2).bool(), quads.bool().any(dim=2))


@pytest.mark.parametrize(
    ("feature_scale", "num_classes", "expected"),
    [(4, 10, 25_701_130), (4, 100, 28_650_340), (5, 10, 40_052_170), (5, 100, 43_738_660)],
)
def test_published_parameter_counts(feature_scale: float, num_classes: int, expected: int) -> None:
    """BITnet6 and BITnet6 Max have exactly the published number of parameters on 32x32 images."""
    config = bitnet.Config(feature_scale=feature_scale, **bitnet.PUBLISHED)
    assert bitnet.footprint(config, (32, 32, 3), num_classes).num_parameters == expected


def test_mse_of_rates_by_hand() -> None:
    """The loss is the mean squared error of rates against one-hot labels, worked by hand."""
    spikes_TBK = torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]], [[0.0, 0.0]], [[1.0, 0.0]]])
    assert mse_of_rates(spikes_TBK, torch.tensor([0])).item() == pytest.approx((0.25**2 + 0.25**2) / 2)


def test_cross_entropies_by_hand() -> None:
    """Of rates: of the softmax of 10 times the rates; of logits: of the softmax of the mean output; worked by hand."""
    outputs_TBK = torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]], [[0.0, 0.0]], [[1.0, 0.0]]])  # means 3/4 and 1/4
    assert cross_entropy_of_rates(outputs_TBK, torch.tensor([1])).item() == pytest.approx(math.log(1 + math.exp(5)))
    assert cross_entropy_of_logits(outputs_TBK, torch.tensor([1])).item() == pytest.approx(math.log(1 + math.exp(0.5)))
