"""The fused kernels against their definition in plain PyTorch: on a GPU, or in Triton's interpreter on a CPU.

Not collected by name, as Triton must know from its import on whether it interprets: ``test_fused`` runs it, and on a machine with
a GPU so does ``pytest -n 0 tests/trainables/kernels/fused_on_device.py``.
"""

from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from tests.trainables.kernels.chains import SHAPE, chain_of, inputs_of, labels_of
from trainables.kernels.gpu import neurons, triton_backend
from trainables.kernels.gpu.chain import forward_fused
from trainables.kernels.gpu.collapsed import forward_fused_collapsed
from trainables.kernels.gpu.memory import fused_memory
from trainables.kernels.gpu.neurons import FusedPool, counts_for, fire, pass_gradient, shares_of, spikes_of
from trainables.kernels.gpu.triton_backend import forward_triton, simulate_triton, why_kernels_fail, why_not
from trainables.networks.collapsed import TimeGroups
from trainables.networks.network import ConstantCurrent, Network
from trainables.networks.precision import DTYPES, Precision, forward_torch
from trainables.networks.readout import Readout
from trainables.networks.shapes import operation_shapes
from trainables.spiking.costs import OperationCounter
from trainables.spiking.neurons import NeuronModel, SpikingNeuron
from trainables.spiking.pools import SplitTiesMaxPool
from trainables.training.losses import mse_of_drives, mse_of_rates

DEVICE = torch.device("cuda" if torch.cuda.is_available() and not neurons.interpreted() else "cpu")
POOLS: dict[FusedPool, nn.Module] = {"none": nn.Identity(), "one": nn.MaxPool2d(2), "split": SplitTiesMaxPool()}
T = 4


def drive_of(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Drives of which some are below 0, some above 1, and some on the bounds."""
    drive = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + 0.3
    drive[drive.abs() < 0.1] = 0
    drive[(drive - 1).abs() < 0.1] = 1
    return drive.to(DEVICE, dtype)


@pytest.mark.parametrize("pool", POOLS)
@settings(max_examples=3, phases=[Phase.generate])  # shrinking would take minutes in the interpreter
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 19), st.integers(2, 5), st.integers(2, 5)),
    st.integers(1, 3),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.booleans(),
    st.sampled_from([0.0, 0.5]),
)
def test_neurons_and_pool_equal_the_definition(
    pool: FusedPool, shape: tuple[int, ...], time_steps: int, dtype: torch.dtype, constant: bool, initial: float
) -> None:
    """Spikes, the same from their bits, and gradients are those of ``SpikingNeuron`` and its pool, for any shape."""
    drive_TBN = drive_of((1 if constant else time_steps, *shape), seed=0, dtype=dtype)
    bias_C = drive_of((shape[1],), seed=1)
    neuron = SpikingNeuron(NeuronModel(initial_membrane_potential=initial)).to(DEVICE)
    spikes_TBN, _, bits = fire(drive_TBN, neuron, time_steps, bias_C=bias_C, pool=pool, keep="bits")
    leaf = (drive_TBN.float() + bias_C[:, None, None]).requires_grad_()
    pooled = POOLS[pool](neuron(leaf, time_steps)[0].flatten(0, 1))
    assert torch.equal(spikes_TBN.float(), pooled.view(spikes_TBN.shape))
    assert bits is not None
    assert torch.equal(spikes_of(bits, dtype), spikes_TBN)
    weights = drive_of(tuple(spikes_TBN.shape), seed=2)
    (expected,) = torch.autograd.grad((pooled.view_as(weights) * weights).sum(), leaf)
    torch.testing.assert_close(pass_gradient(weights, bits, pool, torch.float32), expected)


@pytest.mark.parametrize("pool", POOLS)
def test_pieces_and_counts(pool: FusedPool) -> None:
    """Time steps in two pieces give the spikes of one pass, and their counts are the sums of its bits."""
    drive_TBN, neuron = drive_of((T, 2, 9, 4, 5), seed=0), SpikingNeuron(NeuronModel()).to(DEVICE)
    whole, _, bits = fire(drive_TBN, neuron, T, pool=pool, keep="bits")
    assert bits is not None
    counts = counts_for(drive_TBN, pool, [T], shares_of([T], DEVICE))
    first, v, _ = fire(drive_TBN[:2], neuron, 2, pool=pool, keep=counts)
    second, _, _ = fire(drive_TBN[2:], neuron, T - 2, pool=pool, membrane_potential=v, keep=counts)
    assert torch.equal(torch.cat([first, second]), whole)
    torch.testing.assert_close(spikes_of(counts, torch.float32)[0], whole.mean(dim=0))
    ones = torch.ones_like(whole)
    mean_TBN = pass_gradient(ones, bits, pool, torch.float32).mean(dim=0)
    torch.testing.assert_close(pass_gradient(ones[:1], counts, pool, torch.float32)[0], mean_TBN)


def test_linear_layers() -> None:
    """Kernels run on the device, and neurons without a map are taken too."""
    assert why_kernels_fail(DEVICE) is None
    drive_TBN, neuron = drive_of((T, 3, 10), seed=0), SpikingNeuron(NeuronModel()).to(DEVICE)
    assert torch.equal(fire(drive_TBN, neuron, T)[0], neuron(drive_TBN, T)[0])


OPTIONS: dict[str, dict[str, Any]] = {
    "max pools": {"layout": "8 M 11 M 8"},
    "split ties, two in a row, fully connected": {"layout": "8 8 M F9", "pool_gradient": "split"},
    "average pool, stride": {"layout": "8 A 8 S", "initial_membrane_potential": 0.5},
}


def gradients(network: Network, outputs_TBK: Tensor) -> list[Tensor]:
    loss_of = mse_of_rates if Readout(network).neuron else mse_of_drives
    loss = loss_of(outputs_TBK, labels_of(outputs_TBK.shape[1]).to(DEVICE))
    return list(torch.autograd.grad(loss, list(network.parameters())))


def smallest_cosine(ours: list[Tensor], theirs: list[Tensor]) -> float:
    return min(float(functional.cosine_similarity(a.flatten(), b.flatten(), dim=0)) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize(
    ("groups", "kind", "precision"),
    [
        (None, "constant", "bfloat16"),
        ("dyadic", "constant", "bfloat16"),
        pytest.param(None, "spikes", "float32", marks=pytest.mark.slow),
        pytest.param(None, "spikes", "bfloat16", marks=pytest.mark.slow),
        ("dyadic", "spikes", "float32"),
        pytest.param(1, "spikes", "float32", marks=pytest.mark.slow),
    ],
)
def test_networks_equal_the_definition(
    options: dict[str, Any], groups: TimeGroups | None, kind: str, precision: Precision
) -> None:
    """With dyadic weights all spikes are those of plain PyTorch in float32, and every gradient's cosine to its own is 0.9999."""
    network = chain_of(**options).to(DEVICE)
    assert why_not(network, DEVICE, groups) is None
    inputs_TBN = inputs_of(kind, T).to(DEVICE)
    expected_TBK = forward_torch(network, inputs_TBN, T, groups)
    dtype = DTYPES[precision]
    if groups is None:
        drive_TBK = forward_fused(network, inputs_TBN, T, dtype=dtype, num_folded_images=6)
    else:
        drive_TBK = forward_fused_collapsed(network, inputs_TBN, T, groups, dtype=dtype, num_folded_images=6)
    assert drive_TBK.dtype == torch.float32
    outputs_TBK = Readout(network).outputs(drive_TBK, T, groups)
    assert expected_TBK.sum() > 0
    assert torch.equal(outputs_TBK, expected_TBK)
    expected = gradients(network, expected_TBK)
    assert all(grad.abs().max() > 0 for grad in expected)
    assert smallest_cosine(gradients(network, outputs_TBK), expected) > 0.9999


@pytest.mark.parametrize("groups", [None, "dyadic"])
def test_output_layers_without_neurons(groups: TimeGroups | None) -> None:
    """The same holds of a network whose drive is read out; in float32, as the classes' gradients nearly cancel out."""
    options = {"layout": "8 M 11 M 8", "readout": "potential", "initial_membrane_potential": 0.5}
    test_networks_equal_the_definition(options, groups, "constant", "float32")


@pytest.mark.slow
@pytest.mark.parametrize("groups", [None, "dyadic"])
def test_global_average_pools(groups: TimeGroups | None) -> None:
    """The same holds of a network that takes the mean of a whole map."""
    options = {"layout": "8 M 8 S G", "initial_membrane_potential": 0.5}
    test_networks_equal_the_definition(options, groups, "constant", "bfloat16")


class Rates:
    """An observer that keeps the mean of what every layer gives."""

    def __init__(self) -> None:
        self.means: list[Tensor] = []

    def inputs(self, *_: object) -> None: ...

    def outputs(self, _: str, outputs_TBN: Tensor) -> None:
        self.means.append(outputs_TBN.mean())


def test_observers_see_spikes_with_gradient() -> None:
    """A penalty on all layers' spikes has the same gradient as in plain PyTorch."""
    network, inputs_TBN = chain_of(layout="8 M 8").to(DEVICE), inputs_of("constant", T).to(DEVICE)
    ours, theirs = Rates(), Rates()
    readout, drive_TBK = Readout(network), forward_triton(network, inputs_TBN, T, observers=[ours], precision="float32")
    ours.outputs(readout.layer, readout.outputs(drive_TBK, T))
    forward_torch(network, inputs_TBN, T, observers=[theirs])
    assert torch.allclose(torch.stack(ours.means), torch.stack(theirs.means))
    parameters = list(network.parameters())
    grads, expected = (list(torch.autograd.grad(torch.stack(seen.means).sum(), parameters)) for seen in (ours, theirs))
    assert smallest_cosine(grads, expected) > 0.9999


def test_evaluation_counts_the_same() -> None:
    """Accuracy at every step, sparsity and synaptic operations are those of the network's own simulation, in pieces or not."""
    network, inputs = chain_of(layout="8 M 8 A 8").to(DEVICE), ConstantCurrent(inputs_of("constant", T)[0].to(DEVICE))
    ours, theirs = OperationCounter(), OperationCounter()
    for counter in (ours, theirs):
        counter.next_batch(inputs.num_images)
    readout = Readout(network)
    drive_TBK = torch.cat(list(simulate_triton(network, inputs, T, [ours], num_micro_batches=128)))
    outputs_TBK = readout.outputs(drive_TBK, T)
    ours.outputs(readout.layer, outputs_TBK)
    with torch.no_grad():
        expected_TBK = torch.cat(list(network.simulate(inputs, T, [theirs])))
    assert torch.equal(outputs_TBK, expected_TBK)
    assert torch.equal(triton_backend.TritonEvaluator(network, T).drives(inputs(0, 1)[0]), drive_TBK)
    assert ours.metrics() == pytest.approx(theirs.metrics())


@pytest.mark.parametrize("groups", [None, 1])
def test_engine_adds_up_pieces(groups: TimeGroups | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch in pieces of two images has the outputs, the loss and the gradient of the whole, added to what is there."""
    monkeypatch.setattr(triton_backend, "FOLDED_IMAGES", 2)
    network, images_BCHW = chain_of(layout="8 M 8").to(DEVICE), inputs_of("constant", T)[0].to(DEVICE)
    labels_B = labels_of(len(images_BCHW)).to(DEVICE)
    expected_TBK = forward_torch(network, images_BCHW[None], T, groups)
    expected = gradients(network, expected_TBK)
    parameters = list(network.parameters())
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    seen: list[slice] = []

    def loss_of(outputs_TBK: Tensor, which: slice) -> Tensor:
        seen.append(which)
        return mse_of_rates(outputs_TBK, labels_B[which])

    made = triton_backend.TritonTrainer(network, T, groups, precision="float32")
    readout = Readout(network)
    loss, drive_TBK = made.gradients(images_BCHW, lambda some_TBK: readout.outputs(some_TBK, T, groups), loss_of)
    assert seen == [slice(0, 2), slice(2, 3)]
    assert torch.equal(readout.outputs(drive_TBK, T), expected_TBK)
    torch.testing.assert_close(loss, mse_of_rates(expected_TBK, labels_B).detach())
    grads = [parameter.grad - 1 for parameter in parameters if parameter.grad is not None]
    for grad, want in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, want, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("groups", [None, "dyadic"])
def test_what_is_kept_is_what_the_formula_says(groups: TimeGroups | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that wait for the backward pass are predicted to the last one."""
    network = chain_of(layout="8 M 11 M 8").to(DEVICE)
    allocated: dict[str, int] = {"bits_for": 0, "counts_for": 0}
    for name in allocated:
        _record(monkeypatch, name, allocated)
    inputs_TBN = inputs_of("constant", T).to(DEVICE)
    forward_triton(network, inputs_TBN, T, groups)
    predicted = fused_memory(
        network, operation_shapes(network, SHAPE), batch_size=inputs_TBN.shape[1], time_steps=T, groups=groups
    )
    assert predicted.kept == sum(allocated.values()) > 0


def _record(monkeypatch: pytest.MonkeyPatch, name: str, allocated: dict[str, int]) -> None:
    """Add up the bytes of what a function of ``trainables.kernels.gpu.neurons`` makes, wherever it has been imported to."""
    from trainables.kernels.gpu import collapsed

    real = getattr(neurons, name)

    def recorded(*args: Any) -> Any:
        kept = real(*args)
        tensors = [kept.spikes, kept.passing, getattr(kept, "winners", None)]
        allocated[name] += sum(tensor.nbytes for tensor in tensors if tensor is not None)
        return kept

    for module in (neurons, collapsed):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, recorded)
