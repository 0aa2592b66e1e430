"""The read-out: classes, ties and scores against a plain loop, and the output layer's gradient against the network's own."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables import bitnet
from trainables.networks.collapsed import TimeGroups, forward_collapsed
from trainables.networks.layered import initialise_spiking
from trainables.networks.network import Network
from trainables.networks.readout import Readout, Tally, Ties
from trainables.spiking.neurons import NeuronModel, SpikingNeuron
from trainables.training.losses import DRIVE_LOSSES, mse_of_rates

T, B, K = 9, 40, 5
MODELS = {
    "bddi": (NeuronModel(), 1.0),
    "bddi from one half": (NeuronModel(initial_membrane_potential=0.5), 1.0),
    "raw, soft": (NeuronModel(integrate="raw", initial_membrane_potential=0.25), 0.75),
    "raw, hard": (NeuronModel(integrate="raw", reset="hard"), 0.75),
    "raw, a threshold a class": (NeuronModel(integrate="raw"), torch.tensor([0.5, 0.75, 1.0, 1.0, 1.5])),
}


def drives(num_classes: int = K) -> Tensor:
    """In eighths, so that many classes have equally many spikes, and some equal potentials."""
    values = torch.randint(-3, 9, (T, B, num_classes), generator=torch.Generator().manual_seed(0))
    return values.double() / 8


def readout_of(model: NeuronModel, firing_threshold: Any, ties: Ties) -> Readout:
    return Readout(Network(nn.Sequential(nn.Linear(2, K), SpikingNeuron(model, firing_threshold))).double(), ties)


def winner(counts: list[int], fractions: list[float], ties: Ties) -> int:
    """The class with the most spikes, in Python's numbers; of several the one with the most left, or the first."""
    best = [k for k, count in enumerate(counts) if count == max(counts)]
    if ties == "lowest_class":
        return best[0]
    return next(k for k in best if fractions[k] == max(fractions[other] for other in best))


@pytest.mark.parametrize("ties", ["potential", "lowest_class"])
@pytest.mark.parametrize("name", MODELS)
def test_ties_equal_the_loop_at_every_step(name: str, ties: Ties) -> None:
    """At every t the class and whether it was a tie are those of a loop, in one piece or several; scores have the same class."""
    model, threshold = MODELS[name]
    readout, drive_TBK = readout_of(model, threshold, ties), drives()
    thetas = torch.as_tensor(threshold).expand(K).tolist()
    expected, tied = torch.zeros(T, B, dtype=torch.int64), torch.zeros(T, B, dtype=torch.bool)
    for b in range(B):
        left = [float(model.initial_membrane_potential) * theta for theta in thetas]
        counts = [0] * K
        for t in range(T):
            for k, theta in enumerate(thetas):
                d = float(drive_TBK[t, b, k])
                left[k] += min(max(d, 0.0), 1.0) if model.integrate == "clamped" else d
                if left[k] >= theta:
                    counts[k] += 1
                    left[k] = left[k] - theta if model.reset == "soft" else 0.0
            fractions = [v / theta for v, theta in zip(left, thetas, strict=True)]
            expected[t, b], tied[t, b] = winner(counts, fractions, ties), counts.count(max(counts)) > 1
    whole = Tally(readout).add(drive_TBK)
    assert torch.equal(whole.classes_TB, expected)
    assert whole.tied_TB is not None
    assert torch.equal(whole.tied_TB, tied)
    assert 0 < int(tied.sum()) < T * B
    tally = Tally(readout)
    for t, piece in enumerate(drive_TBK):
        assert torch.equal(tally.add(piece[None]).classes_TB[0], expected[t])
        assert torch.equal(tally.scores().argmax(dim=1), expected[t])
        assert torch.equal(readout.classes(drive_TBK[: t + 1], t + 1), expected[t])
    counts_BK = whole.outputs_TBK.sum(dim=0)
    assert torch.equal(tally.scores().floor(), counts_BK)


def test_both_rules_differ() -> None:
    """The potential gives other answers than the first class, but only where there is a tie."""
    model, threshold = MODELS["bddi"]
    by_potential, by_class = (Tally(readout_of(model, threshold, ties)).add(drives()) for ties in ("potential", "lowest_class"))
    assert by_potential.tied_TB is not None
    differs = by_potential.classes_TB != by_class.classes_TB
    assert differs.any()
    assert by_potential.tied_TB[differs].all()


def test_potential_ties_go_to_the_largest_summed_drive() -> None:
    """Of bddi output neurons the class is always one with the largest floor of v_0 + P_t and, among those, the largest P_t."""
    drive_TBK = drives()
    classes_TB = Tally(readout_of(*MODELS["bddi from one half"], "potential")).add(drive_TBK).classes_TB
    sums = drive_TBK.clamp(0, 1).cumsum(dim=0)
    assert torch.equal(classes_TB, sums.argmax(dim=2))


def test_scores_of_many_classes_are_exact() -> None:
    """With more classes than fractions, and counts of 100,000 steps in float32, the largest score is the class that wins."""
    readout = readout_of(NeuronModel(), 1.0, "potential")
    generator = torch.Generator().manual_seed(3)
    sums_BK = 99_990 + torch.randint(0, 3, (50, 300), generator=generator).float()
    potential_BK = torch.rand(50, 300, generator=generator)
    scores_BK = readout.scores(sums_BK, potential_BK)
    assert scores_BK.dtype == torch.float32
    assert torch.equal(scores_BK.argmax(dim=1), readout.winners(sums_BK, potential_BK))
    assert torch.equal(scores_BK.floor(), sums_BK)


def network_of(**options: Any) -> Network:
    network = bitnet.build(bitnet.Config(**{**bitnet.PUBLISHED, "layout": "6 M 8", **options}), (8, 8, 2), 3)
    initialise_spiking(network, torch.Generator().manual_seed(0))
    return network.double()


def images(num: int = 6) -> Tensor:
    return torch.randint(-8, 9, (num, 2, 8, 8), generator=torch.Generator().manual_seed(1)).double() / 8


@pytest.mark.parametrize("groups", [None, 1, 3, "dyadic"])
@pytest.mark.parametrize("integrate", ["clamped", "raw"])
def test_drive_and_read_out_are_the_network(groups: TimeGroups | None, integrate: str) -> None:
    """The network up to the drive, and the read-out of that, have the outputs and the gradients of the whole network; also of
    one whose drive is constant.
    """
    network = network_of(integrate=integrate, gradient_margin=0.25).float()
    compare_with_read_out(network, groups)
    model = NeuronModel(integrate="raw" if integrate == "raw" else "clamped")
    compare_with_read_out(Network(nn.Sequential(nn.Flatten(), nn.Linear(128, 3), SpikingNeuron(model))), groups)


def compare_with_read_out(network: Network, groups: TimeGroups | None) -> None:
    readout, parameters, labels_B = Readout(network), list(network.parameters()), torch.arange(6) % 3
    inputs_TBN = images()[None].float()
    if groups is None:
        whole_TBK, drive_TBK = network(inputs_TBN, 7)[0], network(inputs_TBN, 7, until=readout.until)[0]
    else:
        whole_TBK = forward_collapsed(network, inputs_TBN, 7, groups)
        drive_TBK = forward_collapsed(network, inputs_TBN, 7, groups, until=readout.until)
    outputs_TBK = readout.outputs(drive_TBK, 7, groups)
    assert torch.equal(outputs_TBK, whole_TBK)
    expected = torch.autograd.grad(mse_of_rates(whole_TBK, labels_B), parameters)
    found = torch.autograd.grad(mse_of_rates(outputs_TBK, labels_B), parameters)
    for grad, want in zip(found, expected, strict=True):
        assert want.abs().max() > 0
        torch.testing.assert_close(grad, want, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_a_read_out_without_neurons_is_the_mean_drive(loss: str) -> None:
    """It has no output neurons; classes are those of the summed drive, and the losses those of its mean, by hand."""
    network, labels_B = network_of(readout="potential"), torch.arange(6) % 3
    readout = Readout(network, "potential")
    assert (readout.neuron, readout.until, len(list(network.neurons()))) == (None, None, 2)
    drive_TBK = network(images()[None], 5)[0]
    assert torch.equal(readout.outputs(drive_TBK, 5), drive_TBK)
    mean_BK = sum(drive_TBK) / 5
    assert isinstance(mean_BK, Tensor)
    if loss == "mse":
        expected = (mean_BK - torch.eye(3, dtype=torch.float64)[labels_B]).square().sum() / 18
    else:
        expected = -mean_BK.softmax(dim=1)[torch.arange(6), labels_B].log().mean()
    torch.testing.assert_close(DRIVE_LOSSES[loss](drive_TBK, labels_B), expected)
    steps = Tally(readout).add(drive_TBK)
    assert steps.tied_TB is None
    assert torch.equal(steps.classes_TB, drive_TBK.cumsum(dim=0).argmax(dim=2))


def test_one_step_from_one_half_is_a_binary_network() -> None:
    """At T = 1 with v_0 = 1/2 the network is that of the activation 1[d ≥ 1/2] with the straight-through gradient in (0, 1)."""

    class Binary(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, d: Tensor) -> Tensor:
            ctx.save_for_backward(d)
            return (d >= 0.5).to(d.dtype)

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Tensor:
            (d,) = ctx.saved_tensors
            passed: Tensor = grads[0] * (d > 0) * (d < 1)
            return passed

    network, labels_B = network_of(initial_membrane_potential=0.5), torch.arange(6) % 3
    conv, pool, second, output = (network.parts[name] for name in ("conv1", "pool1a", "conv2", "output"))
    hidden = Binary.apply(second(pool(Binary.apply(conv(images())))))
    expected_BK = Binary.apply(output(hidden.flatten(1)))
    outputs_TBK = network(images()[None], 1)[0]
    assert torch.equal(outputs_TBK[0], expected_BK)
    parameters = list(network.parameters())
    wanted = torch.autograd.grad(mse_of_rates(expected_BK[None], labels_B), parameters)
    for grad, want in zip(torch.autograd.grad(mse_of_rates(outputs_TBK, labels_B), parameters), wanted, strict=True):
        torch.testing.assert_close(grad, want)
    assert all(want.abs().max() > 0 for want in wanted)


def test_dithered_neurons_are_those_in_front_of_a_pool_of_spikes() -> None:
    """The maps that a 2x2 pool reads are dithered, others start at one half; a learnt potential has one number a channel."""

    def starts(**options: Any) -> list[Tensor]:
        return [neuron.start((1, 2, 2)) for _, neuron in network_of(**options).neurons()]

    assert [start.numel() for start in starts(initial_membrane_potential="dithered")] == [4, 1, 1]
    assert [start.numel() for start in starts(initial_membrane_potential="dithered", pool_on="drive")] == [1, 1, 1]
    shapes = [tuple(start.shape) for start in starts(initial_membrane_potential="learnt")]
    assert shapes == [(6, 1, 1), (8, 1, 1), (3,)]
