"""The calibration set, the table of how layers agree, and corrections that make them agree."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.conversions import SHAPE, converted, random_analogue, random_calibration, random_splits, run
from trainables.conversion import calibration_set as calibration_module
from trainables.conversion.agreement import agreement
from trainables.conversion.calibration_set import analogue_activations, calibration_set, spike_counts
from trainables.data.encodings import Encoding
from trainables.networks.network import ConstantCurrent, Network
from trainables.training.task import Prepared

LAYERS = ("layer1", "layer2", "layer3")


def biases(network: Network) -> list[Tensor]:
    parts = [network.parts[operation.name] for operation in network.operations_of(nn.Conv2d, nn.Linear)]
    return [part.bias.detach().clone() for part in parts if isinstance(part, nn.Conv2d | nn.Linear) and part.bias is not None]


def thresholds(network: Network) -> dict[str, Tensor]:
    return {layer: neuron.firing_threshold for layer, neuron in network.neurons()}


def test_the_set_is_fixed() -> None:
    """Which images calibrate depends on the split's seed alone: not on the replicate's, not on the encoding."""
    first = random_calibration()
    again = calibration_set(random_splits(), 100, split_seed=0, encoding="poisson", seed=7)
    other = calibration_set(random_splits(), 100, split_seed=1, encoding="constant", seed=0)
    assert first.digest == again.digest != other.digest
    assert torch.equal(first.indices_B, again.indices_B)
    assert len(first.images_BCHW) == 100
    splits = random_splits()
    assert set(first.indices_B.tolist()) <= set(splits.train.indices.tolist())
    assert len(calibration_set(splits, 1000, split_seed=0, encoding="constant", seed=0).images_BCHW) == len(splits.train)


def test_the_digest_is_of_the_images() -> None:
    """One grey level of one pixel more is another digest."""
    calibration = random_calibration()
    before = calibration.digest
    calibration.images_BCHW[0, 0, 0, 0] ^= 1
    assert calibration.digest != before


@pytest.mark.parametrize("encoding", ["constant", "poisson"])
@pytest.mark.parametrize(
    "options",
    [
        {"balance": "max"},
        {"balance": "percentile", "percentile": 90.0, "per": "channel"},
        {"balance": "mse"},
        {"balance": "spike_norm", "spike_norm_time_steps": 20, "bias": False},
    ],
    ids=lambda options: str(options["balance"]),
)
def test_batches_do_not_matter(options: dict[str, Any], encoding: Encoding, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches of any size the same images give the same thresholds: nothing is a running average."""
    trained, calibration = random_analogue(bias=options.get("bias", True)), random_calibration(encoding, 70)
    network, _ = converted(trained, calibration, time_steps=4, **options)
    for batch_size in (1, 33):
        monkeypatch.setattr(calibration_module, "BATCH_SIZE", batch_size)
        again, _ = converted(trained, calibration, time_steps=4, **options)
        for layer, threshold in thresholds(network).items():
            torch.testing.assert_close(thresholds(again)[layer], threshold, rtol=1e-5, atol=0)


@pytest.mark.parametrize("encoding", ["constant", "poisson"])
def test_state_is_reset_between_batches(encoding: Encoding) -> None:
    """Spike counts are the same whichever batches ran before: membrane potentials and pool counts start anew."""
    network, _ = converted(random_analogue(layout="6 M 8 F10"), random_calibration(), layout="6 M 8 F10")
    many, few = random_calibration(encoding, 100), random_calibration(encoding, 100)
    expected = spike_counts(network, many, 8)
    again = spike_counts(network, few, 8)
    last = calibration_module.CalibrationSet(many.images_BCHW[64:], many.indices_B[64:], many.splits, encoding, many.seed)
    alone = spike_counts(network, last, 8)
    for layer in LAYERS:
        assert torch.equal(again[layer], expected[layer])
        assert torch.equal(alone[layer], expected[layer][64:])
        assert expected[layer].any()


def test_agreement_by_hand() -> None:
    """Rates are counts over steps in units of the scale; the table's means, errors and correlations are worked by hand."""
    calibration = random_calibration(num_images=3)
    network, _ = converted(random_analogue(), calibration)
    counts = spike_counts(network, calibration, 4)
    scales = {layer: torch.tensor(2.0) for layer in LAYERS}
    rates = {layer: counts[layer] / 4 * 2 for layer in LAYERS}
    activations = {"layer1": rates["layer1"] * 2 + 1, "layer2": torch.zeros_like(rates["layer2"])}
    first, second = agreement(network, activations, scales, calibration, 4)
    mean = float(rates["layer1"].double().mean())
    assert (first.layer, second.layer) == ("layer1", "layer2")
    assert (first.mean_rate, first.mean_activation) == pytest.approx((mean, 2 * mean + 1))
    assert first.error == pytest.approx((mean + 1) / (2 * mean + 1))
    assert first.correlation == pytest.approx(1)
    assert (second.error, second.correlation) == (1, 0)


@pytest.mark.parametrize("broken", LAYERS)
def test_a_broken_layer_shows(broken: str) -> None:
    """A threshold that is 10 times too high makes its layer the first of the table that is far off, and the worst up to it."""
    trained, calibration = random_analogue(), random_calibration()
    network, prepared = converted(trained, calibration, time_steps=128)
    activations = analogue_activations(trained, calibration)
    scales = {layer: threshold.clone() for layer, threshold in thresholds(network).items()}
    assert all(row["error"] < 0.1 and row["correlation"] > 0.98 for row in prepared.tables["conversion"])
    thresholds(network)[broken].mul_(10)
    errors = {row.layer: row.error for row in agreement(network, activations, scales, calibration, 128)}
    assert next(layer for layer in LAYERS if errors[layer] > 0.5) == broken
    assert all(errors[layer] < 0.1 for layer in LAYERS[: LAYERS.index(broken)])


def test_a_broken_last_layer_is_the_worst() -> None:
    """Where no other layer depends on it, the broken layer alone is off."""
    trained, calibration = random_analogue(), random_calibration()
    network, _ = converted(trained, calibration, time_steps=64, threshold_scale=1)
    scales = {layer: threshold.clone() for layer, threshold in thresholds(network).items()}
    thresholds(network)["layer3"].mul_(10)
    table = agreement(network, analogue_activations(trained, calibration), scales, calibration, 64)
    assert max(table, key=lambda row: row.error).layer == min(table, key=lambda row: row.correlation).layer == "layer3"


def test_spike_norm_agrees() -> None:
    """A spike of a layer is worth the product of the thresholds up to it: in these units rates are the activations."""
    trained, calibration = random_analogue(bias=False), random_calibration()
    options: dict[str, Any] = {"balance": "spike_norm", "bias": False, "spike_norm_time_steps": 50, "time_steps": 256}
    _, prepared = converted(trained, calibration, **options)
    assert all(row["error"] < 0.1 and row["correlation"] > 0.98 for row in prepared.tables["conversion"])


def test_threshold_scale() -> None:
    """Every threshold is multiplied after balancing; what a spike is worth stays, and so rates rise."""
    trained, calibration = random_analogue(), random_calibration()
    plain, before = converted(trained, calibration, time_steps=64)
    lower, after = converted(trained, calibration, time_steps=64, threshold_scale=0.5)
    for layer, threshold in thresholds(plain).items():
        assert torch.equal(thresholds(lower)[layer], threshold * 0.5)
    rates = [prepared.tables["conversion"][0]["mean_rate"] for prepared in (before, after)]
    assert rates[1] > 1.5 * rates[0]


def test_bias_shift() -> None:
    """A bias shift adds θ/(2T) to every hidden bias, of a layer or of every channel, and nothing to the output's."""
    for per in ("layer", "channel"):
        trained, calibration = random_analogue(), random_calibration()
        plain, _ = converted(trained, calibration, time_steps=8, per=per)
        shifted, _ = converted(trained, calibration, time_steps=8, per=per, bias_shift=True)
        for before, after, threshold in zip(biases(plain)[:-1], biases(shifted)[:-1], thresholds(plain).values(), strict=True):
            torch.testing.assert_close(after - before, (threshold / 16).flatten().expand_as(before), rtol=1e-4, atol=1e-6)
        assert torch.equal(biases(plain)[-1], biases(shifted)[-1])


def mean_errors(prepared: Prepared) -> list[float]:
    return [abs(row["mean_rate"] - row["mean_activation"]) for row in prepared.tables["conversion"]]


@pytest.mark.parametrize("encoding", ["constant", "poisson"])
@pytest.mark.parametrize("bias", [True, False])
def test_bias_correction(encoding: Encoding, bias: bool) -> None:
    """Corrected biases, given to layers that had none, bring mean rates nearer to mean activations, the worst most."""
    trained, calibration = random_analogue(bias=bias), random_calibration(encoding)
    options: dict[str, Any] = {"time_steps": 8, "balance": "percentile", "percentile": 99.0, "bias": bias}
    _, plain = converted(trained, calibration, **options)
    _, corrected = converted(trained, calibration, **options, bias_correction=True)
    for before, after in zip(mean_errors(plain), mean_errors(corrected), strict=True):
        assert after < before
    assert max(mean_errors(corrected)) < 0.6 * max(mean_errors(plain))


@torch.no_grad()
def test_initial_potential_and_shift_remove_the_floor() -> None:
    """Starting at θ/2, or adding θ/(2T) to every drive, gives back at least half of what the floor takes off a mean rate."""
    trained, calibration = random_analogue(), random_calibration()
    plain, half, shift = (
        mean_errors(converted(trained, calibration, time_steps=8, **options)[1])[0]
        for options in ({}, {"initial_membrane_potential": 0.5}, {"bias_shift": True})
    )
    assert half < 0.5 * plain
    assert shift < 0.5 * plain


@torch.no_grad()
def test_folding_keeps_what_is_compared() -> None:
    """With batch norms the table compares with the folded network: a conversion of many steps agrees with it everywhere."""
    trained, calibration = random_analogue(batch_norm=True), random_calibration()
    network, prepared = converted(trained, calibration, batch_norm=True, time_steps=256, readout="spikes")
    assert [row["layer"] for row in prepared.tables["conversion"]] == [*LAYERS, "layer4"]
    assert all(row["error"] < 0.05 for row in prepared.tables["conversion"])
    images = calibration.splits.normalise(calibration.images_BCHW[:10])
    outputs_TBK, _ = run(network, ConstantCurrent(images), 256)
    rates = outputs_TBK.mean(dim=0) * thresholds(network)["layer4"]
    torch.testing.assert_close(rates, trained(images[None])[0][0].relu(), rtol=0, atol=0.05)
    assert images.shape[2:] == SHAPE[:2]


def test_bias_shift_leaves_pruned_filters_alone() -> None:
    """A filter whose weights are all 0 stays silent, however long it is shown images."""
    trained = random_analogue()
    conv = next(part for part in trained.parts.values() if isinstance(part, nn.Conv2d))
    with torch.no_grad():
        conv.weight[2], conv.bias[2] = 0, 0  # type: ignore[index]
    network, _ = converted(trained, random_calibration(), bias_shift=True, time_steps=4)
    counts = spike_counts(network, random_calibration(), 64)["layer1"]
    assert not counts[:, 2].any()
    assert counts[:, [0, 1, 3, 4, 5]].flatten(2).any(dim=2).any(dim=0).all()


def test_the_table_has_the_thresholds_that_are_used() -> None:
    """Half the threshold scale is half of every threshold in the table of layers."""
    whole, half = (converted(random_analogue(), random_calibration(), threshold_scale=scale)[1] for scale in (1.0, 0.5))
    for row, halved in zip(whole.tables["conversion"], half.tables["conversion"], strict=True):
        assert halved["firing_threshold"] == pytest.approx(row["firing_threshold"] / 2)
