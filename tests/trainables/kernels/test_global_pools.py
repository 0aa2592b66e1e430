"""Global average pools on the event-driven kernels: a linear layer over the whole map, whose weights its pixels share."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.kernels.test_event_driven import CLASSES, bitnet_of, dyadic, gradients_of, images_of
from trainables.kernels.cpu.evaluation import EventDrivenEvaluator
from trainables.networks.collapsed import TimeGroups, forward_collapsed
from trainables.networks.network import ConstantCurrent, Network
from trainables.networks.readout import Readout
from trainables.spiking.costs import OperationCounter
from trainables.spiking.neurons import SpikingNeuron
from trainables.training.losses import mse_of_rates

SHAPE = (8, 8, 2)


@pytest.mark.parametrize(
    ("layout", "readout", "groups"),
    [
        ("34 G", "spikes", None),
        ("6 M 9 G", "potential", None),
        ("9 A G F7", "spikes", None),
        ("6 33 M 9 A G", "potential", "dyadic"),
        ("9 A G F7", "potential", 2),
    ],
)
def test_spikes_are_equal_and_gradients_agree(layout: str, readout: str, groups: TimeGroups | None) -> None:
    """With dyadic weights and maps all spikes are those of torch, and so is every gradient, exact or rate-collapsed."""
    network, images_BCHW, time_steps = bitnet_of({"layout": layout, "readout": readout}, SHAPE), images_of(5, SHAPE), 7
    if groups is None:
        expected_TBK = network(images_BCHW[None], time_steps)[0]
    else:
        expected_TBK = forward_collapsed(network, images_BCHW[None], time_steps, groups)
    expected = torch.autograd.grad(mse_of_rates(expected_TBK, torch.arange(5) % CLASSES), list(network.parameters()))
    outputs_TBK, trained = gradients_of(network, images_BCHW, time_steps, groups)
    assert torch.equal(outputs_TBK, expected_TBK)
    assert any(bool(gradient.any()) for gradient in expected)
    for gradient, want in zip(trained, expected, strict=True):
        torch.testing.assert_close(gradient, want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("layout", "shape"), [("34 G", (7, 9, 2)), ("6 M 9 G", (8, 8, 2)), ("9 A G", (7, 9, 2)), ("5 A G F7", (7, 9, 2))]
)
def test_it_is_a_linear_layer_over_the_flattened_map(layout: str, shape: tuple[int, int, int]) -> None:
    """The weights of the mean, shared among pixels and divided by their number, give the same drives without any pool; and
    costs are those that torch counts of the network with the pool.
    """
    network, images_BCHW, time_steps = bitnet_of({"layout": layout, "readout": "potential"}, shape).eval(), images_of(4, shape), 6
    seen, told = OperationCounter(), OperationCounter()
    for counter in (seen, told):
        counter.next_batch(len(images_BCHW))
    with torch.no_grad():
        expected_TBK = torch.cat(list(network.simulate(ConstantCurrent(images_BCHW), time_steps, [seen])))
        plain_TBK = torch.cat(list(without_pool(network, images_BCHW).simulate(ConstantCurrent(images_BCHW), time_steps)))
    drive_TBK = EventDrivenEvaluator(network, shape[:2], time_steps).drives(images_BCHW, told)
    assert expected_TBK.abs().sum() > 0
    torch.testing.assert_close(drive_TBK, expected_TBK, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(plain_TBK, expected_TBK, rtol=1e-4, atol=1e-5)
    assert told.metrics() == seen.metrics()
    assert told.curves() == seen.curves()


def without_pool(network: Network, images_BCHW: Tensor) -> Network:
    """The same network with the mean as a part of the linear layer behind it."""
    modules: list[nn.Module] = []
    parts = [network.parts[operation.name] for operation in network.operations]
    pixels = 0
    for part in parts:
        if isinstance(part, nn.AdaptiveAvgPool2d):
            before = nn.Sequential(*(each for each in modules if not isinstance(each, SpikingNeuron)))
            pixels = before(images_BCHW)[0, 0].numel()
        elif isinstance(part, nn.Linear) and pixels:
            whole = nn.Linear(part.in_features * pixels, part.out_features)
            with torch.no_grad():
                whole.weight.copy_(part.weight.repeat_interleave(pixels, dim=1) / pixels)
                whole.bias.copy_(part.bias)
            modules.append(whole)
            pixels = 0
        else:
            modules.append(part)
    return Network(nn.Sequential(*modules)).eval()


def test_learnt_weights_are_read_anew() -> None:
    """A batch after weights have changed sees the new ones, in the rows of every pixel."""
    network, images_BCHW = bitnet_of({"layout": "6 G", "readout": "potential"}, SHAPE).eval(), images_of(3, SHAPE)
    evaluator = EventDrivenEvaluator(network, SHAPE[:2], 4)
    evaluator.drives(images_BCHW)
    output: Any = network.parts["output"]
    with torch.no_grad():
        output.weight.copy_(dyadic(torch.randn(output.weight.shape, generator=torch.Generator().manual_seed(4)), 4))
        expected_TBK = network(images_BCHW[None], 4, until=Readout(network).until)[0]
    assert torch.equal(evaluator.drives(images_BCHW), expected_TBK)
