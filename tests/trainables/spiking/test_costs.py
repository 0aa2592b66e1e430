"""What a network costs: counts by hand, curves, and agreement with NeuroBench."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables import bitnet
from trainables.data.encodings import SignedPoisson
from trainables.networks import network as network_module
from trainables.networks.layered import initialise_spiking
from trainables.networks.network import ConstantCurrent, Inputs, Network, replace_activations
from trainables.spiking.costs import OperationCounter, footprint_bytes
from trainables.spiking.neurons import NeuronModel, SpikingNeuron

DENSE_CONV = 2 * (4 * 4 + 4 * 6 + 1 * 9)  # two channels: kernel positions within a 3x3 map from corners, edges, centre
DENSE_LINEAR = 18 * 3


def two_layers() -> Network:
    """A 3x3 convolution with padding 1 on 3x3 images, one channel to two; a linear layer of three units. All weights are 1."""
    network = Network(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3)))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(parameter.dim() > 1)
    replace_activations(network, lambda *_: SpikingNeuron(NeuronModel()))
    return network


def counted(network: Network, inputs_TBN: Tensor, time_steps: int) -> OperationCounter:
    counter = OperationCounter()
    counter.next_batch(inputs_TBN.shape[1])
    with torch.no_grad():
        network(inputs_TBN, time_steps, observers=[counter])
    return counter


def corner_and_centre() -> Tensor:
    """Two images, ``[2, 1, 3, 3]``."""
    images_BCHW = torch.zeros(2, 1, 3, 3)
    images_BCHW[0, 0, 0, 0] = images_BCHW[1, 0, 1, 1] = 1
    return images_BCHW


def test_counts_by_hand() -> None:
    """Every operation and spike of two images in three steps is the one counted by hand; padding is no operation."""
    first_BCHW = corner_and_centre()
    later_BCHW = -first_BCHW
    later_BCHW[0] = 0
    counter = counted(two_layers(), torch.stack([first_BCHW, later_BCHW, later_BCHW]), 3)
    metrics, curves = counter.metrics(), counter.curves()
    # two channels, two images: the corner's pixel meets 4 kernel positions in the map, at the first step; the centre's 9, always
    conv_at_t = [2 * (4 + 9) / 2, 2 * (4 + 9 + 9) / 2, 2 * (4 + 9 + 9 + 9) / 2]
    # a window with the pixel drives its neuron by 1, and it spikes, at the first step alone; each spike goes to 3 units
    spikes = 2 * (4 + 9) / 2
    assert metrics["effective_acs/layer1"] == conv_at_t[-1]
    assert metrics["effective_acs/output"] == 3 * spikes
    assert metrics["ops/effective_acs"] == conv_at_t[-1] + 3 * spikes
    assert metrics["ops/effective_macs"] == 0
    assert metrics["ops/dense_operations"] == 3 * (DENSE_CONV + DENSE_LINEAR)
    assert metrics["ops/ac_mac_ratio"] == metrics["ops/effective_acs"] / (DENSE_CONV + DENSE_LINEAR)
    assert metrics["ops/operations_per_dense_mac"] == metrics["ops/ac_mac_ratio"]
    for name in ("effective_acs", "effective_macs", "dense_operations", "energy_pj"):  # the input changes from step to step
        assert metrics[f"ops_input_each_step/{name}"] == pytest.approx(metrics[f"ops/{name}"])
    assert metrics["ops/energy_pj"] == pytest.approx(0.9 * metrics["ops/effective_acs"])
    assert metrics["spikes_per_neuron/overall"] == spikes / 18
    assert metrics["spike_rate/overall"] == pytest.approx(spikes / 18 / 3)
    assert metrics["sparsity/layer1"] == pytest.approx(1 - spikes / 18 / 3)
    assert metrics["dead_neurons/layer1"] == 0
    assert curves["effective_acs_at_t"] == [acs + 3 * spikes for acs in conv_at_t]
    assert curves["spikes_per_neuron_at_t"] == [spikes / 18] * 3
    assert curves["sparsity_at_t"] == pytest.approx([1 - spikes / 18 / t for t in (1, 2, 3)])


def test_dead_neurons_by_hand() -> None:
    """A neuron is dead if no image of any batch ever makes it spike: the five positions that no corner pixel reaches."""
    counter = OperationCounter()
    network, corner_1BCHW = two_layers(), corner_and_centre()[None, :1]
    for images in (corner_1BCHW, torch.zeros_like(corner_1BCHW)):
        counter.next_batch(1)
        network(images, 2, observers=[counter])
    assert counter.metrics()["dead_neurons/layer1"] == pytest.approx(5 / 9)


def test_a_constant_image_is_multiplied_once() -> None:
    """The operations of an image that is not binary are MACs, done at the first step; those of its spikes are ACs. Beside them is
    what they would be if the image were multiplied at each of four steps.
    """
    counter = counted(two_layers(), corner_and_centre()[None] / 2, 4)
    metrics, curves = counter.metrics(), counter.curves()
    assert metrics["effective_macs/layer1"] == metrics["ops/effective_macs"] == 4 + 9
    assert metrics["ops/dense_operations"] == DENSE_CONV + 4 * DENSE_LINEAR
    # a drive of 1/2 spikes at the second and the fourth step
    assert curves["effective_macs_at_t"] == [13] * 4
    assert curves["effective_acs_at_t"] == [0, 39, 39, 78]
    assert metrics["ops/energy_pj"] == pytest.approx(13 * 4.6 + 78 * 0.9)
    assert metrics["ops/operations_per_dense_mac"] == (13 + 78) / (DENSE_CONV + DENSE_LINEAR)
    assert metrics["ops_input_each_step/effective_macs"] == 4 * 13
    assert metrics["ops_input_each_step/effective_acs"] == 78
    assert metrics["ops_input_each_step/dense_operations"] == 4 * (DENSE_CONV + DENSE_LINEAR)
    assert metrics["ops_input_each_step/energy_pj"] == pytest.approx(4 * 13 * 4.6 + 78 * 0.9)


def test_averaged_spikes_are_multiplied() -> None:
    """Behind an average pool spikes are no longer binary, so the next layer's operations are MACs; behind a max pool, ACs. The
    number of operations over a dense pass counts both.
    """
    images_TBCHW = (torch.rand(3, 4, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    for pool, kind, other in ((nn.AvgPool2d(2), "macs", "acs"), (nn.MaxPool2d(2), "acs", "macs")):
        network = Network(nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), pool, nn.Flatten(), nn.Linear(8, 3)))
        conv = network.parts["_0"]
        assert isinstance(conv, nn.Conv2d)
        nn.init.ones_(conv.weight)
        replace_activations(network, lambda *_: SpikingNeuron(NeuronModel()))
        metrics = counted(network, images_TBCHW, 3).metrics()
        assert metrics[f"effective_{kind}/output"] > 0 == metrics[f"effective_{other}/output"]
        whole = metrics["ops/effective_acs"] + metrics["ops/effective_macs"]
        dense = metrics["ops/dense_operations"] / 3
        assert metrics["ops/operations_per_dense_mac"] == pytest.approx(whole / dense)
        assert (metrics["ops/ac_mac_ratio"] < metrics["ops/operations_per_dense_mac"]) == (kind == "macs")


def test_a_zero_weight_is_no_operation() -> None:
    """Weights that are 0 cost nothing, though a dense pass has them."""
    network = two_layers()
    conv, linear = network.parts["_0"], network.parts["_3"]
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        conv.weight[1, :, 1, 1] = 0
        linear.weight[:2] = 0
    metrics = counted(network, corner_and_centre()[None], 1).metrics()
    assert metrics["effective_acs/layer1"] == (4 + 3 + 9 + 8) / 2
    assert metrics["effective_acs/output"] == metrics["spikes_per_neuron/overall"] * 18
    assert metrics["ops/dense_operations"] == DENSE_CONV + DENSE_LINEAR


def small_bitnet(layout: str = "6 M 8 A F12") -> Network:
    network = bitnet.build(bitnet.Config(layout=layout, **bitnet.PUBLISHED), (6, 6, 2), 3)
    initialise_spiking(network, torch.Generator().manual_seed(0))
    return network.eval()


def encoded(encoding: str) -> Inputs:
    images_BCHW = torch.rand(5, 2, 6, 6, generator=torch.Generator().manual_seed(1)) * 2 - 1
    images_BCHW[images_BCHW.abs() < 0.2] = 0
    return SignedPoisson(images_BCHW, torch.arange(5)) if encoding == "poisson" else ConstantCurrent(images_BCHW)


def simulated(network: Network, encoding: str, time_steps: int) -> OperationCounter:
    counter = OperationCounter()
    counter.next_batch(5)
    with torch.no_grad():
        for _ in network.simulate(encoded(encoding), time_steps, [counter]):
            pass
    return counter


@pytest.mark.parametrize("encoding", ["constant", "poisson"])
def test_pieces_of_a_simulation_cost_the_same(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulation in pieces of two steps has the counts and curves of one in a single piece."""
    whole = simulated(small_bitnet(), encoding, 7)
    monkeypatch.setattr(network_module, "NUM_FOLDED_IMAGES", 1)
    pieces = simulated(small_bitnet(), encoding, 7)
    assert pieces.metrics() == whole.metrics()
    assert pieces.curves() == whole.curves()


@pytest.mark.parametrize("encoding", ["constant", "poisson"])
def test_curves_are_cumulative(encoding: str) -> None:
    """Every curve ends at its total, what is counted never falls, and the curve up to t is that of a simulation of t steps."""
    counter = simulated(small_bitnet(), encoding, 6)
    metrics, curves = counter.metrics(), counter.curves()
    of_ops = ("effective_acs", "effective_macs", "ac_mac_ratio", "operations_per_dense_mac", "energy_pj")
    totals = {f"{name}_at_t": f"ops/{name}" for name in of_ops}
    totals |= {f"{name}_at_t": f"{name}/overall" for name in ("spikes_per_neuron", "sparsity")}
    assert curves.keys() == totals.keys()
    shorter = simulated(small_bitnet(), encoding, 4).curves()
    for name, values in curves.items():
        assert len(values) == 6
        assert values[-1] == pytest.approx(metrics[totals[name]])
        assert values[:4] == pytest.approx(shorter[name])
        if name != "sparsity_at_t":
            assert all(before <= after for before, after in itertools.pairwise(values))


class TimeFolded(nn.Module):
    """A network as NeuroBench calls one, on ``[B, T, …]``; inside, every layer sees its time-folded tensors in one call."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs_BTN: Tensor) -> Tensor:
        inputs_TBN = inputs_BTN.transpose(0, 1)
        outputs_TBN: Tensor = self.network(inputs_TBN, 6)[0]
        return outputs_TBN.transpose(0, 1)


def neurobench(network: Network, inputs_TBN: Tensor) -> dict[str, Any]:
    """NeuroBench's metrics for one batch; of a spiking layer's result it sees the spikes, not the membrane potentials."""
    from neurobench.metrics.static import Footprint
    from neurobench.metrics.workload import ActivationSparsity, SynapticOperations
    from neurobench.models import TorchModel

    model = TorchModel(TimeFolded(network))
    model.add_activation_module(SpikingNeuron)
    model.register_hooks()
    inputs_BTN = inputs_TBN.transpose(0, 1)
    with torch.no_grad():
        outputs = model(inputs_BTN)
    for hook in model.activation_hooks:
        hook.activation_outputs = [spikes_TBN for spikes_TBN, _ in hook.activation_outputs]
    data = (inputs_BTN, torch.zeros(len(inputs_BTN)))
    operations = SynapticOperations()(model, outputs, data)
    return {**operations, "sparsity": ActivationSparsity()(model, outputs, data), "footprint": Footprint()(model)}


@pytest.mark.parametrize("encoding", ["constant", "poisson"])
def test_neurobench_agrees(encoding: str) -> None:
    """Operations (effective ACs and MACs, dense), activation sparsity and footprint are NeuroBench's on the same tensors:
    convolutions with padding, both kinds of pools, a fully connected layer, a few weights of 0, images and signed spikes.

    NeuroBench tells ACs from MACs call by call; given all steps of a layer in one call it does as we do.
    """
    network = small_bitnet()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter[parameter.abs() < 0.02] = 0
    inputs_TBN = encoded(encoding)(0, 6)
    ours, theirs = counted(network, inputs_TBN, 6).metrics(), neurobench(network, inputs_TBN)
    assert min(theirs["Effective_ACs"], theirs["Effective_MACs"]) > 0
    assert ours["ops/effective_acs"] == pytest.approx(theirs["Effective_ACs"])
    assert ours["ops/effective_macs"] == pytest.approx(theirs["Effective_MACs"])
    assert ours["ops/dense_operations"] == theirs["Dense"]
    assert ours["sparsity/overall"] == pytest.approx(theirs["sparsity"])
    assert footprint_bytes(network) == theirs["footprint"]


def test_neurobench_agrees_step_by_step() -> None:
    """An image shown at each of six steps costs NeuroBench six times what we count once; under its own name is its
    number.
    """
    network, images_1BCHW = small_bitnet(), encoded("constant")(0, 6)
    ours, theirs = counted(network, images_1BCHW, 6).metrics(), neurobench(network, images_1BCHW.expand(6, -1, -1, -1, -1))
    assert ours["ops_input_each_step/effective_acs"] == pytest.approx(theirs["Effective_ACs"])
    assert ours["ops_input_each_step/effective_macs"] == pytest.approx(theirs["Effective_MACs"])
    assert ours["ops_input_each_step/dense_operations"] == theirs["Dense"]
    assert ours["ops/effective_macs"] < theirs["Effective_MACs"]
