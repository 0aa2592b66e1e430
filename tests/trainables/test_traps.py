"""Traps that others fell into, and the tests that keep us out of them.

Accuracy picked on the test images as the best epoch's:
    test_loop.test_test_images_are_looked_at_once, test_resume.test_the_last_epoch_is_reported_not_the_best
Activations that are left unconverted in silence:
    test_networks.test_what_is_not_known_is_refused_by_name, test_calibration_set.test_a_broken_layer_shows
Batch size or shuffling that changes the calibration:
    test_calibration_set.test_the_set_is_fixed, test_calibration_set.test_batches_do_not_matter,
    test_converted_snn.test_calibration_depends_on_the_split_alone
State that is not reset between batches:
    test_calibration_set.test_state_is_reset_between_batches, test_bitnet.test_state_is_reset_between_batches
A spike that is computed from the previous membrane potential, one step late per layer:
    test_traps.test_a_spike_passes_all_layers_in_its_step, test_thresholds.test_spike_norm_by_hand
A running average where a maximum is meant:
    test_thresholds.test_spike_norm_by_hand, test_calibration_set.test_batches_do_not_matter
Padding that counts as operations:
    test_costs.test_counts_by_hand, test_costs.test_neurobench_agrees
Averaged spikes whose operations count as accumulates:
    test_costs.test_averaged_spikes_are_multiplied
Soft and hard resets that are swapped without notice:
    test_traps.test_resets_are_what_they_are_called, test_neurons.test_clamp_and_reset,
    test_neurons.test_raw_neurons_equal_spikingjelly
One seed that is reported as a result (in tests/analysis):
    test_summary.test_poor_studies_get_a_report
"""

import dataclasses
import re
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from tests.trainables.conversions import Listed, run
from trainables import converted_snn
from trainables.conversion.structure import spiking_structure
from trainables.networks.network import Network
from trainables.spiking.neurons import NeuronModel, Reset
from trainables.training.configs import identity_of


def test_every_trap_has_its_tests() -> None:
    """Every test that is named above exists."""
    named = re.findall(r"(test_\w+)\.(test_\w+)", __doc__ or "")
    assert len(named) == len(re.findall(r"\.test_", __doc__ or "")) > 15
    for module, test in named:
        (file,) = Path(__file__).parent.parent.rglob(f"{module}.py")
        assert f"def {test}(" in file.read_text(), (module, test)


@pytest.mark.parametrize("max_pool", ["largest_count", "or"])
@torch.no_grad()
def test_a_spike_passes_all_layers_in_its_step(max_pool: Literal["largest_count", "or"]) -> None:
    """An input that makes every layer spike at once is seen at the output of the same time step, and at no other."""
    conv, flat = [nn.Conv2d(1, 1, 1), nn.ReLU()], [nn.Linear(1, 1), nn.ReLU()]
    network = Network(nn.Sequential(*conv, nn.MaxPool2d(2), *conv[1:], nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Flatten(), *flat))
    for parameter in network.parameters():
        parameter.fill_(parameter.dim() > 1)
    options = {"input_shape": (2, 2, 1), "per": "layer", "with_biases": False, "leak": 1.0, "trainable": False}
    spiking = spiking_structure(network, NeuronModel(integrate="raw"), max_pool=max_pool, **options)  # type: ignore[arg-type]
    inputs_TBN = torch.zeros(4, 1, 1, 2, 2)
    inputs_TBN[1] = 1
    outputs_TBN, spikes = run(spiking, Listed(inputs_TBN), 4)
    assert len(spikes) == 4
    assert outputs_TBN.flatten().tolist() == [0, 1, 0, 0]
    assert all(of_layer.flatten(1).any(dim=1).tolist() == [False, True, False, False] for of_layer in spikes.values())


@pytest.mark.parametrize(("reset", "kept"), [("soft", 0.5), ("hard", 0.0)])
@torch.no_grad()
def test_resets_are_what_they_are_called(reset: Reset, kept: float) -> None:
    """A config's reset is that of every neuron, soft keeps what exceeds the threshold, and each has an identity of its own."""
    config = converted_snn.Config(layout="2 M 2", reset=reset)
    neurons = list(converted_snn._build(config, (4, 4, 1), 2).neurons())
    assert len(neurons) == 2
    for _, neuron in neurons:
        spikes_TN, last_N = neuron(torch.tensor([[1.5]]), 1)
        assert (float(spikes_TN), float(last_N)) == (1, kept)
    other = dataclasses.replace(config, reset="hard" if reset == "soft" else "soft")
    identities = {identity_of("converted_snn", c, data_digest="", seed=0) for c in (config, other)}
    assert len(identities) == 2
    assert converted_snn.PRESETS["RMP"]["reset"] == "soft"
    assert converted_snn.PRESETS["Spike-Norm"]["reset"] == "hard"
