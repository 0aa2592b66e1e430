"""The event-driven backend means what plain torch does: the same spikes, the same gradients, the same costs."""

import ast
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrize

from trainables import bitnet
from trainables.data.datasets import prepare
from trainables.kernels import choice
from trainables.kernels.choice import evaluator_for, trainer_for
from trainables.kernels.cpu import training, workspace
from trainables.kernels.cpu.compiled import compiling
from trainables.kernels.cpu.compiled.arrays import zeros
from trainables.kernels.cpu.evaluation import EventDrivenEvaluator
from trainables.kernels.cpu.training import EventDrivenTrainer
from trainables.kernels.gpu import triton_backend
from trainables.kernels.interface import BackendRequest
from trainables.networks.collapsed import TimeGroups, forward_collapsed
from trainables.networks.drive_normalisation import WeightStandardisation, raw_weight, standardisation_of
from trainables.networks.layered import initialise_spiking, synaptic_modules
from trainables.networks.network import ConstantCurrent, Network
from trainables.networks.readout import Readout
from trainables.networks.rewriting import folded
from trainables.spiking.costs import OperationCounter
from trainables.spiking.neurons import NeuronModel, SpikingNeuron
from trainables.spiking.pools import LargestCountPool
from trainables.training.losses import mse_of_rates

CLASSES = 3
LAYOUTS = ("5", "17 M", "6 33 M", "6 M 16 M 7", "33 M 6 M 7", "40 M 9 F11 F35", "3 F40", "6 A 16 A 7", "40 A 9 A F11", "6 A 17 M")
CHAINS = st.fixed_dictionaries(
    {
        "layout": st.sampled_from(LAYOUTS),
        "time_steps": st.integers(1, 20),
        "initial_membrane_potential": st.sampled_from([0.0, 0.25, 0.5, "dithered"]),
        "gradient_margin": st.sampled_from([0.0, 0.25, 0.5]),
        "readout": st.sampled_from(["spikes", "potential"]),
    }
)
RECOMMENDED: dict[str, Any] = {
    "normalisation": "weight_standardisation",
    "drive_std": 0.5,
    "initial_membrane_potential": 0.5,
    "gradient_margin": 0.25,
    "readout": "potential",
}


def dyadic(tensor: Tensor, bits: int) -> Tensor:
    """Rounded to so many bits behind the point, so that sums are exact in any order."""
    scale = float(2**bits)
    return torch.round(tensor * scale) / scale


class Differences(WeightStandardisation):
    """Weights less their neighbours in the filter, times a gain: computed from parameters, and of few bits where those are."""

    def __init__(self) -> None:
        super().__init__(torch.empty(()))
        nn.init.constant_(self.gain, 0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return self.standardise(weight)[0]  # with autograd's gradient

    def standardise(self, weight: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        filters = weight.flatten(1)
        differences = filters - filters.roll(1, dims=1)
        return (self.gain * differences).view_as(weight), (differences,)

    def gradients(self, grad: Tensor, kept: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        filters = grad.flatten(1)
        return (self.gain * (filters - filters.roll(-1, dims=1))).view_as(grad), (filters * kept[0]).sum()


def bitnet_of(options: dict[str, Any], image_shape: tuple[int, int, int], *, computed: bool = False) -> Network:
    """Of the published neuron, unless the options say otherwise; with ``computed``, all weights are computed from parameters."""
    network = bitnet.build(bitnet.Config(**{**bitnet.PUBLISHED, **options}), image_shape, CLASSES)
    initialise_spiking(network, torch.Generator().manual_seed(0))
    for synapses in synaptic_modules(network) if computed else []:
        parametrize.register_parametrization(synapses, "weight", Differences())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(dyadic(parameter, 6))
    return network


def images_of(batch_size: int, shape: tuple[int, int, int]) -> Tensor:
    height, width, channels = shape
    return dyadic(torch.randn(batch_size, channels, height, width, generator=torch.Generator().manual_seed(1)), 3)


def gradients_of(
    network: Network, images_BCHW: Tensor, time_steps: int, groups: TimeGroups | None
) -> tuple[Tensor, list[Tensor]]:
    labels_B = torch.arange(len(images_BCHW)) % CLASSES
    network.zero_grad()
    height, width = images_BCHW.shape[2:]
    made = EventDrivenTrainer(network, (height, width), time_steps, groups)
    readout = Readout(network)
    _, drive_TBK = made.gradients(
        images_BCHW,
        lambda some_TBK: readout.outputs(some_TBK, time_steps, groups),
        lambda some_TBK, which: mse_of_rates(some_TBK, labels_B[which]),
    )
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return readout.outputs(drive_TBK, time_steps).detach(), gradients


@settings(max_examples=40)
@example({"layout": "34 M 9 M", "time_steps": 7, "initial_membrane_potential": 0.5}, (8, 8, 2), 3, None, False)
@example({"layout": "9 34 M", "time_steps": 20, "initial_membrane_potential": 0.0}, (8, 9, 2), 3, None, False)  # fired again
@example({"layout": "9 A F7", "time_steps": 4, "gradient_margin": 0.5, "readout": "potential"}, (7, 9, 1), 3, 2, True)
@given(
    CHAINS,
    st.tuples(st.integers(4, 9), st.integers(4, 9), st.integers(1, 3)),
    st.integers(1, 5),
    st.none() | st.integers(1, 4) | st.just("dyadic"),
    st.booleans(),
)
def test_spikes_are_equal_and_gradients_agree(
    options: dict[str, Any], shape: tuple[int, int, int], batch_size: int, groups: TimeGroups | None, computed: bool
) -> None:
    """With dyadic weights all spikes are equal, and every gradient is that of torch, exact or rate-collapsed."""
    network, time_steps = bitnet_of(options, shape, computed=computed), options["time_steps"]
    images_BCHW = images_of(batch_size, shape)
    inputs_TBN = images_BCHW[None]
    if groups is None:
        expected_TBK = network(inputs_TBN, time_steps)[0]
    else:
        expected_TBK = forward_collapsed(network, inputs_TBN, time_steps, groups)
    loss = mse_of_rates(expected_TBK, torch.arange(batch_size) % CLASSES)
    expected = torch.autograd.grad(loss, list(network.parameters()))
    outputs_TBK, trained = gradients_of(network, images_BCHW, time_steps, groups)
    assert torch.equal(outputs_TBK, expected_TBK)
    for gradient, want in zip(trained, expected, strict=True):
        torch.testing.assert_close(gradient, want, rtol=1e-4, atol=1e-6)
        if want.norm() > 1e-6:
            assert nn.functional.cosine_similarity(gradient.flatten(), want.flatten(), dim=0) >= 0.9999


@pytest.mark.parametrize(
    "options",
    [
        {"layout": "6 M 33 M"},
        {"layout": "6 A 33"},
        {"layout": "6 33 M"},
        {"layout": "6 33 M F9", "initial_membrane_potential": "dithered", "gradient_margin": 0.25, "readout": "potential"},
    ],
)
@pytest.mark.parametrize("num_threads", [1, 2])
def test_neither_groups_of_images_nor_threads_matter(
    num_threads: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that goes a few images and samples at a time, in several threads, has the spikes and gradients of the whole."""
    network = bitnet_of({**options, "time_steps": 9}, (8, 8, 2), computed="readout" in options)
    images_BCHW = images_of(7, (8, 8, 2))
    whole_TBK, whole = gradients_of(network, images_BCHW, 9, None)
    whole = [gradient.clone() for gradient in whole]
    monkeypatch.setattr(training, "EXACT_BYTES", 30_000)
    monkeypatch.setattr(workspace, "MOST_SAMPLED_BYTES", 50_000)
    monkeypatch.setattr(torch, "get_num_threads", lambda: num_threads)
    parts_TBK, parts = gradients_of(network, images_BCHW, 9, None)
    assert torch.equal(parts_TBK, whole_TBK)
    for part, want in zip(parts, whole, strict=True):
        assert want.abs().max() > 0
        torch.testing.assert_close(part, want, rtol=1e-4, atol=1e-7)


@given(st.integers(0, 100), st.integers(1, 4), st.integers(1, 40))
def test_no_thread_waits_long_for_another(num_images: int, num_threads: int, images_at_once: int) -> None:
    """Every image is taken once; no part is larger than it may be, or by more than an image larger than another."""
    made = EventDrivenEvaluator(bitnet_of({"layout": "6 M", "time_steps": 2}, (4, 4, 1)), (4, 4), 2)
    made.__dict__["_images_at_once"] = images_at_once
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: num_threads)
        rounds = list(made._rounds(num_images))
    parts = [part for parts in rounds for part in parts]
    sizes = [part.stop - part.start for part in parts]
    assert [image for part in parts for image in range(part.start, part.stop)] == list(range(num_images))
    assert all(len(parts) <= num_threads for parts in rounds)
    assert all(1 <= size <= images_at_once for size in sizes)
    assert max(sizes, default=0) - min(sizes, default=0) <= 1


@pytest.mark.parametrize("layout", ["5 M 34 M", "34 A 5 A"])
def test_every_batch_is_as_good_as_the_first(layout: str) -> None:
    """A trainer whose narrow and wide layers share memory gives a batch the same spikes and gradients again."""
    network, images_BCHW = bitnet_of({"layout": layout, "time_steps": 6}, (8, 8, 1)), images_of(2, (8, 8, 1))
    trainer = EventDrivenTrainer(network, (8, 8), 6)
    batches = []
    for _ in range(2):
        network.zero_grad()
        _, drive_TBK = trainer.gradients(images_BCHW, lambda some_TBK: some_TBK, lambda some_TBK, _: some_TBK.mean())
        batches.append([drive_TBK, *(parameter.grad for parameter in network.parameters() if parameter.grad is not None)])
    assert len(batches[0]) == 1 + len(list(network.parameters()))
    assert batches[0][1].abs().sum() > 0
    assert all(torch.equal(again, first) for first, again in zip(*batches, strict=True))


def test_standardised_weights_pass_their_gradient_on() -> None:
    """The gradient that plain weights get goes on to the parameters that they are computed from, again with every call."""
    network, images_BCHW = bitnet_of({"layout": "6 M 18 F9", **RECOMMENDED}, (8, 8, 2)), images_of(5, (8, 8, 2))
    plain_TBK, plain = gradients_of(folded(network), images_BCHW, 4, None)
    outputs_TBK, _ = gradients_of(network, images_BCHW, 4, None)
    assert torch.equal(outputs_TBK, plain_TBK)
    for synapses, want in zip(synaptic_modules(network), plain[::2], strict=True):
        standardisation = standardisation_of(synapses)
        if standardisation is None:
            assert torch.equal(none_missing(synapses.weight.grad), want)
            continue
        parameters = [raw_weight(synapses), standardisation.gain]
        expected = torch.autograd.grad(synapses.weight, parameters, want)
        assert all(torch.equal(none_missing(each.grad), wanted) for each, wanted in zip(parameters, expected, strict=True))
    parameters = list(network.parameters())
    once = [none_missing(parameter.grad).clone() for parameter in parameters]
    EventDrivenTrainer(network, (8, 8), 4).gradients(images_BCHW, lambda some: some, lambda some, _: 0 * some.sum())
    assert all(torch.equal(none_missing(each.grad), before) for each, before in zip(parameters, once, strict=True))


def none_missing(gradient: Tensor | None) -> Tensor:
    assert gradient is not None
    return gradient


@pytest.mark.parametrize("layout", ["18 M 5", "5 A 34 M F9"])
def test_learnt_initial_potentials_are_evaluated(layout: str) -> None:
    """A network whose channels have learnt where they start gives equal drives on the kernels."""
    network = bitnet_of({"layout": layout, "initial_membrane_potential": "learnt"}, (9, 6, 2)).eval()
    with torch.no_grad():
        for _, neuron in network.neurons():
            assert neuron.learnt_start is not None
            neuron.learnt_start.copy_(dyadic(torch.rand(neuron.learnt_start.shape), 4).clamp(max=0.5))
    images_BCHW, readout = images_of(3, (9, 6, 2)), Readout(network)
    with torch.no_grad():
        expected_TBK = network(images_BCHW[None], 5, until=readout.until)[0]
    drive_TBK = EventDrivenEvaluator(network, (9, 6), 5).drives(images_BCHW)
    assert torch.equal(drive_TBK, expected_TBK)


def converted(reset: str, pool: str, per: str, *, spiking_output: bool) -> Network:
    """A network such as conversions make, with thresholds and weights of few bits, among them pruned ones and negative drives."""
    model = NeuronModel(integrate="raw", reset=reset, initial_membrane_potential=0.5)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(3)

    def neuron(channels: int, *rest: int) -> SpikingNeuron:
        size = (channels, *rest) if per == "channel" else ()
        return SpikingNeuron(model, 0.5 + dyadic(torch.rand(size, generator=generator), 2))

    def pool_of(two: int) -> nn.Module:
        return {"or": nn.MaxPool2d(two), "largest_count": LargestCountPool(nn.MaxPool2d(two)), "mean": nn.AvgPool2d(two)}[pool]

    layers = [nn.Conv2d(2, 20, 3, padding=1, bias=False), neuron(20, 1, 1), pool_of(2), nn.Dropout(0.3)]
    layers += [nn.Conv2d(20, 34, 3, padding=1), neuron(34, 1, 1), pool_of(2), nn.Flatten()]
    layers += [nn.Linear(34 * 4, 18), neuron(18), nn.Linear(18, CLASSES), *([neuron(CLASSES)] if spiking_output else [])]
    with torch.no_grad():
        for layer in layers:
            for parameter in layer.parameters():
                parameter.copy_(dyadic(torch.randn(parameter.shape, generator=generator) / 4, 5))
    convolution = layers[4]
    assert isinstance(convolution, nn.Conv2d)
    convolution.weight.data[:5] = 0
    return Network(nn.Sequential(*layers)).eval()


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize(
    ("pool", "per", "spiking_output"), [("or", "layer", True), ("largest_count", "channel", False), ("mean", "channel", True)]
)
def test_evaluation_and_costs_are_those_of_torch(reset: str, pool: str, per: str, spiking_output: bool) -> None:
    """Converted networks give equal outputs at every step, and a counter that is told by the kernels says what it always says."""
    network, images_BCHW, time_steps = converted(reset, pool, per, spiking_output=spiking_output), images_of(6, (9, 9, 2)), 25
    seen, told = OperationCounter(), OperationCounter()
    seen.next_batch(6)
    told.next_batch(6)
    with torch.no_grad():
        expected_TBK = torch.cat(list(network.simulate(ConstantCurrent(images_BCHW), time_steps, [seen])))
    readout = Readout(network)
    outputs_TBK = readout.outputs(EventDrivenEvaluator(network, (9, 9), time_steps).drives(images_BCHW, told), time_steps)
    if spiking_output:
        told.outputs(readout.layer, outputs_TBK)
    assert expected_TBK.abs().sum() > 0
    assert torch.equal(outputs_TBK, expected_TBK)
    assert told.metrics() == seen.metrics()
    assert list(told.metrics()) == list(seen.metrics())
    assert told.curves() == seen.curves()


@pytest.mark.parametrize(("image", "multiplies"), [(torch.ones(4, 4), False), (torch.eye(4), True)])
@pytest.mark.parametrize(
    ("pools", "pixels"),
    [([nn.AvgPool2d(2)], 4), ([nn.AdaptiveAvgPool2d(1)], 1), ([nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)], 1)],
    ids=["A", "G", "A G"],
)
def test_windows_that_spike_as_one_cost_accumulates(image: Tensor, multiplies: bool, pools: list[nn.Module], pixels: int) -> None:
    """A mean of equal spikes is a spike and costs accumulates, one of spikes that differ multiplications, as for torch."""
    convolution, linear = nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.Linear(3 * pixels, CLASSES)
    convolution.weight.data.zero_()[:, :, 1, 1] = 0.5
    layers = [convolution, SpikingNeuron(NeuronModel()), *pools, nn.Flatten(), linear]
    network = Network(nn.Sequential(*layers)).eval()
    seen, told = OperationCounter(), OperationCounter()
    for counter in (seen, told):
        counter.next_batch(1)
    with torch.no_grad():
        list(network.simulate(ConstantCurrent(image.view(1, 1, 4, 4)), 4, [seen]))
    EventDrivenEvaluator(network, (4, 4), 4).drives(image.view(1, 1, 4, 4), told)
    assert told.metrics() == seen.metrics()
    assert told.metrics()["ops/effective_acs"] + told.metrics()["ops/effective_macs"] > 0
    assert (told.metrics()["effective_macs/output"] > 0) == multiplies


def request_for(**changes: Any) -> BackendRequest:
    options: dict[str, Any] = {"wanted": "auto", "input_map": (9, 9), "time_steps": 4, "constant_input": True}
    return BackendRequest(**options | changes)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"gradient": "surrogate"}, "takes no surrogate gradients"),
        ({"initial_membrane_potential": "learnt"}, "trains no learnt initial membrane potential"),
        ({"normalisation": "batch_norm"}, "knows no BatchNorm2d between synapses and neurons"),
        ({"layout": "4 F9", "normalisation": "batch_norm"}, "knows no BatchNorm2d between synapses and neurons"),
        ({"integrate": "raw"}, "trains neurons with a clamped drive and soft reset alone"),
        ({"layout": "4 A A 4"}, "knows no AvgPool2d behind AvgPool2d"),
        ({"layout": "4 A 4", "pool_on": "drive"}, "knows no AvgPool2d between synapses and neurons"),
        ({"layout": "4 M M 4"}, "knows no MaxPool2d behind MaxPool2d"),
        ({"layout": "4 M 4", "pool_on": "drive"}, "knows no MaxPool2d between synapses and neurons"),
        ({"layout": "4 M 4", "pool_gradient": "split"}, "knows no SplitTiesMaxPool behind SpikingNeuron"),
        ({"layout": "4 4 S"}, "takes 3x3 convolutions with stride 1 and padding 1 alone"),
    ],
)
def test_what_it_does_not_know_is_torch_s(options: dict[str, Any], reason: str) -> None:
    """A network that the kernels do not know is trained by torch, and the record says why."""
    network = bitnet.build(bitnet.Config(**options), (9, 9, 1), CLASSES)
    assert trainer_for(network, request_for(), None, observed_by=None) == (None, f"torch (the event-driven backend {reason})")


def test_a_request_that_it_cannot_meet_is_torch_s() -> None:
    """Random inputs, observers, analogue networks and the wish for torch all have their answers."""
    network = bitnet.build(bitnet.Config(layout="4 M 4"), (9, 9, 1), CLASSES)
    names = [
        trainer_for(network, request_for(), None, observed_by="spike penalties")[1],
        evaluator_for(network, request_for(constant_input=False))[1],
        evaluator_for(network, request_for(wanted="torch"))[1],
        evaluator_for(Network(nn.Sequential(nn.Flatten(), nn.Linear(81, 2))), request_for())[1],
    ]
    assert names == [
        "torch (the event-driven backend shows no layers to spike penalties)",
        "torch (the event-driven backend takes inputs that are the same at every time step)",
        "torch",
        "torch (the event-driven backend is for spiking networks)",
    ]


def test_without_a_compiler_torch_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the kernels cannot be had, one warning says why, and torch runs."""
    monkeypatch.setitem(sys.modules, "trainables.kernels.cpu.evaluation", None)  # so that its import fails, as without Numba
    network = bitnet.build(bitnet.Config(layout="4 M 4"), (9, 9, 1), CLASSES)
    with pytest.warns(UserWarning, match="import of trainables.kernels.cpu.evaluation halted") as warned:
        answers = [evaluator_for(network, request_for()) for _ in range(2)]
    assert len(warned) == 1
    failure = "ModuleNotFoundError: import of trainables.kernels.cpu.evaluation halted; None in sys.modules"
    assert answers == [(None, f"torch (the event-driven backend cannot be compiled here ({failure}))")] * 2


def test_memory_is_as_docs_draw_it() -> None:
    """The example of docs/kernels.md: 40 channels on 3 x 4 pixels in front of a convolution, 5 x 6 pixels of two words."""
    network = bitnet.build(bitnet.Config(layout="40 8", time_steps=2), (3, 4, 1), CLASSES)
    space = EventDrivenEvaluator(network, (3, 4), 2)._new_space(0, 1)
    first, second = space.layer_outputs
    assert (first.spikes.shape, first.border) == ((1, 2, 5, 6, 2), 1)
    assert (second.spikes.shape, second.border) == ((1, 2, 3, 4, 1), 0)
    potentials = [lists.buffers.potential.shape for lists in space.forward]
    assert potentials == [(2, 12, 32), (1, 12, 16), (1, 1, 16)]


def test_auto_is_torch_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Triton kernels, which have not been measured on a GPU, run there only where they are asked for."""
    monkeypatch.setattr(choice, "_kernels_for", lambda _: "triton")  # as on a CUDA device
    monkeypatch.setattr(triton_backend, "why_not", lambda *_: None)
    monkeypatch.setattr(triton_backend, "why_kernels_fail", lambda _: None)
    network = bitnet.build(bitnet.Config(layout="4 M 4"), (9, 9, 1), CLASSES)
    reason = "torch (the triton backend has not been measured on a GPU yet; backend: triton asks for it)"
    assert evaluator_for(network, request_for()) == (None, reason)
    assert trainer_for(network, request_for(), None, observed_by=None) == (None, reason)
    evaluator, backend = evaluator_for(network, request_for(wanted="triton"))
    assert (type(evaluator), backend) == (triton_backend.TritonEvaluator, "triton")
    trainer, backend = trainer_for(network, request_for(wanted="triton"), None, observed_by=None)
    assert (type(trainer), backend) == (triton_backend.TritonTrainer, "triton")


def test_all_compiled_functions_lie_where_the_cache_looks() -> None:
    """Numba compiles functions of ``kernels/cpu/compiled`` alone: the digest of these files is that of the cache."""
    for source in (Path(compiling.__file__).parents[2]).rglob("*.py"):
        if source.parent != compiling.SOURCES:
            decorators = {
                ast.unparse(decorator).partition("(")[0]
                for node in ast.walk(ast.parse(source.read_text()))
                if isinstance(node, ast.FunctionDef)
                for decorator in node.decorator_list
            }
            assert not decorators & {"kernel", "inlined", "njit", "intrinsic"}, source


def test_kernels_are_kept_where_one_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled kernels lie in the user's cache, under the digest of their sources; where that cannot be written, nowhere. Those
    that nobody has used for a month go, and no folder of anybody else."""
    compiling.cache_folder.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = compiling.cache_folder()
    assert folder is not None
    assert folder.parent == tmp_path / "spikesweep"
    unused, used, theirs = (folder.with_name(f"kernels-{name}") / "lock" for name in ("0" * 16, "1" * 16, "of-mine"))
    for lock, days in ((unused, 31), (used, 29), (theirs, 31)):
        lock.parent.mkdir()
        lock.touch()
        os.utime(lock, (time.time() - days * 24 * 3600,) * 2)
    with compiling.one_at_a_time():
        assert set(folder.parent.iterdir()) == {folder, used.parent, theirs.parent}
    compiling.cache_folder.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert compiling.cache_folder() is None
    with compiling.one_at_a_time():
        assert compiling.kernel(_twice)(4) == 8
    compiling.cache_folder.cache_clear()


def _twice(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("gradient", ["straight_through", "rate_collapsed"])
@pytest.mark.parametrize("settings_", [bitnet.PUBLISHED, RECOMMENDED], ids=["published", "recommended"])
def test_training_is_that_of_torch(settings_: dict[str, Any], gradient: str, tiny_npz: Path, data_folder: Path) -> None:
    """Two epochs with either backend end within rounding of each other, and their reports name who did it."""
    dataset = prepare(str(tiny_npz), data_folder)
    losses = {}
    for backend in ("event_driven", "torch"):
        options: dict[str, Any] = {"gradient": gradient, "backend": backend, "data": str(tiny_npz), **settings_}
        config = bitnet.Config(layout="6 M 9", time_steps=6, epochs=2, batch_size=16, **options)
        *_, report = bitnet.train(config, seed=0, dataset=dataset)
        assert report.run_facts["backend"] == report.run_facts["evaluation_backend"] == backend
        losses[backend] = report.metrics["train/loss"]
    assert losses["event_driven"] == pytest.approx(losses["torch"], rel=0.05)


def test_a_forked_process_has_arrays_of_its_own() -> None:
    """What a child writes its parent does not see."""
    array = zeros(1000, 1000)
    child = os.fork()
    if child == 0:
        array[:] = 1
        os._exit(int(array.sum() != 1e6))
    assert os.waitpid(child, 0)[1] == 0
    assert not array.any()
