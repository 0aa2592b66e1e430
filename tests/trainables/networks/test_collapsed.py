"""The rate-collapsed backward pass: exact with one group a step, an approximation with fewer."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from trainables import bitnet
from trainables.networks.collapsed import TimeGroups, forward_collapsed, group_sizes
from trainables.networks.layered import initialise_spiking
from trainables.networks.network import Network
from trainables.training.losses import mse_of_rates

T = 6
OPTIONS: dict[str, dict[str, Any]] = {
    "max pool, one": {"layout": "8 M 8 M 8"},
    "max pool, split": {"layout": "8 M 8 M 8", "pool_gradient": "split"},
    "two pools in a row": {"layout": "8 8 M M F8", "pool_gradient": "split"},
    "average pool": {"layout": "8 A 8 S F8"},
    "pool on the drive": {"layout": "8 M 8 A 8", "pool_on": "drive"},
    "raw": {"layout": "8 M 8 A 8", "integrate": "raw", "initial_membrane_potential": 0.5},
}
IMAGES_BCHW = torch.randn(12, 2, 9, 9, generator=torch.Generator().manual_seed(1))
LABELS_B = torch.arange(12) % 3


def network_of(options: dict[str, Any], *, firing_threshold: float = 1.0) -> Network:
    network = bitnet.build(bitnet.Config(**{**bitnet.PUBLISHED, **options}), (9, 9, 2), 3)
    initialise_spiking(network, torch.Generator().manual_seed(0))
    for _, neuron in network.neurons():
        neuron.firing_threshold.fill_(firing_threshold)
    return network


def gradients(network: Network, outputs_TBK: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(mse_of_rates(outputs_TBK, LABELS_B), list(network.parameters())))


def inputs_of(kind: str) -> Tensor:
    if kind == "constant":
        return IMAGES_BCHW[None]
    return (
        torch.rand(T, *IMAGES_BCHW.shape, generator=torch.Generator().manual_seed(2)) <= IMAGES_BCHW.abs()
    ) * IMAGES_BCHW.sign()


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("kind", ["constant", "spikes"])
def test_one_group_a_step_is_exact(options: dict[str, Any], kind: str) -> None:
    """With as many groups as steps, every parameter's gradient is the straight-through one."""
    network = network_of(options)
    expected = gradients(network, network(inputs_of(kind), T)[0])
    for grad, want in zip(gradients(network, forward_collapsed(network, inputs_of(kind), T, T)), expected, strict=True):
        assert want.abs().max() > 0
        torch.testing.assert_close(grad, want, rtol=1e-4, atol=1e-7)


def test_firing_thresholds_are_in_the_gradient() -> None:
    """Thresholds other than 1 divide the gradient as they do in the straight-through one, behind a max pool, too."""
    network = network_of(OPTIONS["max pool, one"] | {"integrate": "raw"}, firing_threshold=0.5)
    expected = gradients(network, network(inputs_of("constant"), T)[0])
    for grad, want in zip(gradients(network, forward_collapsed(network, inputs_of("constant"), T, T)), expected, strict=True):
        assert want.abs().max() > 0
        torch.testing.assert_close(grad, want, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("groups", [1, 2, "dyadic"])
def test_fewer_groups_approximate(options: dict[str, Any], groups: TimeGroups) -> None:
    """With fewer groups the spikes are the same to the bit, and every gradient points to the exact one's side."""
    network = network_of(options)
    exact_TBK = network(inputs_of("constant"), T)[0]
    collapsed_TBK = forward_collapsed(network, inputs_of("constant"), T, groups)
    assert torch.equal(collapsed_TBK, exact_TBK)
    for grad, want in zip(gradients(network, collapsed_TBK), gradients(network, exact_TBK), strict=True):
        cosine = float(torch.nn.functional.cosine_similarity(grad.flatten(), want.flatten(), dim=0))
        assert 0.3 < cosine < 1 + 1e-5


def test_more_groups_approximate_better() -> None:
    """The cosine between the collapsed and the exact gradient grows to 1 as groups become steps."""
    network = network_of(OPTIONS["max pool, one"])
    inputs_TBN = inputs_of("spikes")
    flat = torch.cat([grad.flatten() for grad in gradients(network, network(inputs_TBN, T)[0])])
    cosines = []
    for groups in (1, 3, 6):
        grads = gradients(network, forward_collapsed(network, inputs_TBN, T, groups))
        collapsed = torch.cat([grad.flatten() for grad in grads])
        cosines.append(float(torch.nn.functional.cosine_similarity(collapsed, flat, dim=0)))
    assert cosines[0] < cosines[1] < cosines[2]
    assert cosines[2] == pytest.approx(1, abs=1e-5)


class Rates:
    """An observer that keeps the mean of what every layer gives."""

    def __init__(self) -> None:
        self.means: list[Tensor] = []

    def inputs(self, *_: object) -> None: ...

    def outputs(self, _: str, outputs_TBN: Tensor) -> None:
        self.means.append(outputs_TBN.mean())


def test_observers_see_spikes_with_gradient() -> None:
    """A penalty on all layers' spikes has the straight-through gradient with one group a step."""
    network = network_of(OPTIONS["max pool, one"])
    exact, collapsed = Rates(), Rates()
    network(inputs_of("constant"), T, observers=[exact])
    forward_collapsed(network, inputs_of("constant"), T, T, [collapsed])
    assert torch.equal(torch.stack(collapsed.means), torch.stack(exact.means))
    parameters = list(network.parameters())
    grads, expected = (torch.autograd.grad(torch.stack(seen.means).sum(), parameters) for seen in (collapsed, exact))
    for grad, want in zip(grads, expected, strict=True):
        assert want.abs().max() > 0
        torch.testing.assert_close(grad, want, rtol=1e-4, atol=1e-7)


@given(st.integers(1, 300), st.integers(1, 300) | st.just("dyadic"))
def test_group_sizes(time_steps: int, groups: TimeGroups) -> None:
    """Groups cover all steps: at most as many as asked for and nearly equal, or each dyadic one as long as all before it."""
    sizes = group_sizes(time_steps, groups)
    assert sum(sizes) == time_steps
    if groups == "dyadic":
        assert all(size == sum(sizes[:number]) for number, size in enumerate(sizes[1:-1], start=1))
        assert sizes[0] == 1
        assert sizes[-1] <= max(1, sum(sizes[:-1]))
    else:
        assert len(sizes) == min(groups, time_steps)
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= 1


def test_group_sizes_by_hand() -> None:
    """Seven steps in three groups, twelve in dyadic ones."""
    assert group_sizes(7, 3) == [2, 2, 3]
    assert group_sizes(12, "dyadic") == [1, 1, 2, 4, 4]
    assert group_sizes(1, "dyadic") == [1]


def test_pools_of_pools_give_means_of_what_they_give() -> None:
    """Behind a second max pool the group's mean is that of the pooled spikes, not the largest of the means."""
    network = bitnet.build(bitnet.Config(layout="8 M M 6", **bitnet.PUBLISHED), (8, 8, 1), 3)
    initialise_spiking(network, torch.Generator().manual_seed(0))
    inputs_TBN = torch.rand(1, 4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    seen: list[Tensor] = []
    last_conv = [operation.name for operation in network.operations_of(nn.Conv2d)][-1]
    network.parts[last_conv].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    forward_collapsed(network, inputs_TBN, 6, 1)
    values, means = seen  # all steps without gradient, then the one group
    assert values.any()
    torch.testing.assert_close(means, values.reshape(6, 4, *values.shape[1:]).mean(dim=0))
