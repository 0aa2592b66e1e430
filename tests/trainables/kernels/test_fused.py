"""The GPU's backend on machines without a GPU: its kernels interpreted and compiled, when it applies, what it takes."""

import functools
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from tests.trainables.kernels.chains import SHAPE, chain_of, inputs_of, labels_of
from trainables import bitnet
from trainables.kernels.gpu import neurons
from trainables.kernels.gpu.chain import UnfusableError, forward_fused, fused_layers, piece_of
from trainables.kernels.gpu.collapsed import forward_fused_collapsed
from trainables.kernels.gpu.memory import FusedMemory, fused_memory
from trainables.kernels.gpu.triton_backend import why_kernels_fail, why_not
from trainables.networks.activations import ClampedReLU
from trainables.networks.collapsed import TimeGroups
from trainables.networks.network import Network, replace_activations
from trainables.networks.precision import Precision, forward_torch, precision_fact
from trainables.networks.shapes import operation_shapes
from trainables.spiking.neurons import NeuronModel, SpikingNeuron
from trainables.training.losses import mse_of_rates

GPU = torch.device("cuda")
HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton, which is not installed")


def run_on_device(marks: str) -> None:
    """Run the tests of ``fused_on_device`` in a process that interprets Triton's kernels, or compiles them if there is a GPU."""
    interpreting = {} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "-m",
        marks,
        str(HERE / "fused_on_device.py"),
    ]
    done = subprocess.run(command, env=os.environ | interpreting, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


@needs_triton
def test_kernels_equal_their_definition() -> None:
    """Spikes, gradients, costs and bytes of the fused path are those of plain PyTorch and of the formula."""
    run_on_device("not slow")


@needs_triton
@pytest.mark.slow
def test_kernels_equal_their_definition_in_more_cases() -> None:
    """So they are for inputs of signed spikes, in both precisions."""
    run_on_device("slow")


class Compiling:
    """Stands in for a kernel: compiles what it would launch, for a GPU that need not be there."""

    def __init__(self, kernel: Any, compiled: list[Any]) -> None:
        self._kernel, self._compiled = kernel, compiled

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def compile_only(*args: Any, **options: Any) -> None:
            self._compiled.append(self._kernel.warmup(*args, grid=grid, **options))

        return compile_only


class Target:
    """A driver that knows what to compile for, and nothing else."""

    def __init__(self, capability: int) -> None:
        self._capability = capability

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self._capability, 32)

    def get_current_device(self) -> int:
        return self._capability  # Triton remembers what it has compiled by device

    def get_current_stream(self, _: int) -> int:
        return 0


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[int], list[Any]]]:
    """Lets every launch compile for a compute capability; gives what has been compiled."""
    from triton import knobs
    from triton.runtime.driver import driver

    from trainables.kernels.gpu import triton_kernels

    compiled: list[Any] = []
    names = ("fire", "fire_and_pool", "pass_gradient", "unpack")
    kernels = SimpleNamespace(**{name: Compiling(getattr(triton_kernels, name), compiled) for name in names})
    monkeypatch.setattr(neurons, "_kernels", lambda: kernels)
    monkeypatch.setattr(knobs.cache, "dir", str(tmp_path))
    before = driver._active

    def compile_for(capability: int) -> list[Any]:
        driver.set_active(Target(capability))
        return compiled

    yield compile_for
    driver._active = before


def spilled_bytes(kernel: Any) -> int:
    """What a compiled kernel keeps in local memory as its registers do not suffice, by NVIDIA's own tool."""
    from triton import knobs

    file = Path(os.environ["SPIKESWEEP_DATA"]) / "kernel.cubin"
    file.write_bytes(kernel.asm["cubin"])
    said = subprocess.run(
        [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file], capture_output=True, text=True, check=True
    )
    usage = dict(pair.split(":", 1) for pair in said.stdout.split() if ":" in pair)
    return int(usage["STACK"]) + int(usage["LOCAL"])


@needs_triton
def test_launches_compile_for_a_gpu(compiler: Callable[[int], list[Any]]) -> None:
    """What a pooled layer launches in an exact step compiles for compute capability 9.0, and no register is spilled."""
    compiled = compiler(90)
    drive_TBN = torch.zeros(4, 2, 32, 4, 4, dtype=torch.bfloat16)
    neuron = SpikingNeuron(NeuronModel())
    spikes_TBN, _, bits = neurons.fire(drive_TBN, neuron, 4, bias_C=torch.zeros(32), pool="one", keep="bits")
    assert bits is not None
    neurons.pass_gradient(spikes_TBN, bits, "one", torch.bfloat16)
    neurons.spikes_of(bits, torch.bfloat16)
    assert [kernel.metadata.name for kernel in compiled] == ["fire_and_pool", "pass_gradient", "unpack"]
    assert [spilled_bytes(kernel) for kernel in compiled] == [0, 0, 0]


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 100])
def test_all_launches_compile_for_gpus(compiler: Callable[[int], list[Any]], capability: int) -> None:
    """So does all that training steps launch, exact and collapsed, on Ampere, Hopper and Blackwell; four words may spill."""
    compiled = compiler(capability)
    for options in ({"layout": "8 M 16"}, {"layout": "32 M 16", "pool_gradient": "split"}):
        network = chain_of(**options)
        inputs_TBN = inputs_of("constant", 5)
        forward_fused(network, inputs_TBN, 5, num_folded_images=6).sum().backward()  # type: ignore[no-untyped-call]
        forward_fused_collapsed(network, inputs_TBN, 5, "dyadic").sum().backward()  # type: ignore[no-untyped-call]
    kernels = {kernel.hash: kernel for kernel in compiled}.values()
    assert len(kernels) > 20
    assert max(spilled_bytes(kernel) for kernel in kernels) <= 16


@needs_triton
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"integrate": "raw"}, "takes clamped neurons"),
        ({"gradient": "surrogate"}, "no surrogate gradient"),
        ({"pool_on": "drive"}, "neurons right behind synapses, but conv1 has none there"),
        ({"normalisation": "batch_norm"}, "neurons right behind synapses, but conv1 has none there"),
        ({"normalisation": "weight_standardisation"}, "no standardised weights"),
        ({"gradient_margin": 0.25}, "no gradient margin"),
        ({"initial_membrane_potential": "dithered"}, "one initial membrane potential for all neurons"),
        ({"initial_membrane_potential": "learnt"}, "one initial membrane potential for all neurons"),
    ],
)
def test_what_the_kernels_do_not_take(options: dict[str, Any], reason: str) -> None:
    """A network that the kernels do not take is refused with the reason, and one that they take is not."""
    assert why_not(chain_of(layout="8 M 8"), GPU) is None
    assert reason in (why_not(chain_of(layout="8 M 8", **options), GPU) or "")


@needs_triton
def test_what_the_collapsed_gradient_does_not_take() -> None:
    """Pools of pools and observers are for the exact gradient alone; a layer's leak or its own kind of module is for neither."""
    pools = chain_of(layout="8 M M 8")
    assert why_not(pools, GPU) is None
    assert "right behind neurons" in (why_not(pools, GPU, "dyadic") or "")
    plain = chain_of(layout="8 M 8")
    assert why_not(plain, GPU, observed=True) is None
    assert "shows observers nothing" in (why_not(plain, GPU, 1, observed=True) or "")
    replace_activations(chain_with_dropout := analogue(), lambda *_: SpikingNeuron(NeuronModel(), leak=0.5))
    assert "no leak" in (why_not(chain_with_dropout, GPU) or "")
    replace_activations(chain_with_dropout := analogue(), lambda *_: SpikingNeuron(NeuronModel()))
    assert "no Dropout where" in (why_not(chain_with_dropout, GPU) or "")


def analogue() -> Network:
    return Network(nn.Sequential(nn.Conv2d(2, 4, 3), ClampedReLU(), nn.Dropout(), nn.Conv2d(4, 3, 3), ClampedReLU()))


def test_no_triton_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU, and without Triton, there is one reason, and it says so."""
    network = chain_of(layout="8")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    assert why_not(network, torch.device("cpu")) == "is for CUDA devices, and the network is on cpu"
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert why_not(network, GPU) == "needs Triton, which is not installed"


def test_kernels_that_do_not_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with a compiler is a reason, found once and before any training."""

    def fail() -> None:
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(neurons, "_kernels", fail)
    device = torch.device("cpu")
    why_kernels_fail.cache_clear()
    assert why_kernels_fail(device) == "cannot compile its kernels: RuntimeError: Failed to find C compiler"
    monkeypatch.undo()
    assert why_kernels_fail(device) is not None
    why_kernels_fail.cache_clear()


def test_the_chain_of_a_bitnet() -> None:
    """Layers keep their names, pools right behind neurons are fused unless observers must see what they pool."""
    network = chain_of(layout="8 M A 9 F5")
    fused, apart = fused_layers(network), fused_layers(network, fuse_pools=False)
    assert [(layer.name, layer.pool, len(layer.before)) for layer in fused] == [
        ("layer1", "one", 0),
        ("layer2", "none", 1),
        ("layer3", "none", 1),
        ("layer4", "none", 0),
    ]
    assert [len(layer.before) for layer in apart] == [0, 2, 1, 0]
    assert [layer.pool for layer in apart] == ["none"] * 4
    residual = Network(Residual())
    replace_activations(residual, lambda *_: SpikingNeuron(NeuronModel()))
    with pytest.raises(UnfusableError, match="takes a chain of layers, but add joins relu and input"):
        fused_layers(residual)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(2, 2, 3, padding=1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """A shortcut."""
        result: Tensor = self.relu(self.conv(x)) + x
        return result


def test_pieces() -> None:
    """A piece has 32 images of 8 steps, more images where steps are few, and never more than there are."""
    assert piece_of(128, 50, 256) == (32, 8)
    assert piece_of(128, 1, 256) == (128, 1)
    assert piece_of(8, 50, 256) == (8, 32)
    assert piece_of(3, 2, 256) == (3, 2)


@functools.cache
def bitnet6_and_shapes() -> tuple[Network, dict[str, torch.Size]]:
    with torch.device("meta"):
        network = bitnet.build(bitnet.Config(**bitnet.PRESETS["BITnet6"]), (32, 32, 3), 10)
    return network, operation_shapes(network, (32, 32, 3))


def bitnet6(batch_size: int, time_steps: int, groups: TimeGroups | None) -> FusedMemory:
    network, shapes = bitnet6_and_shapes()
    return fused_memory(network, shapes, batch_size=batch_size, time_steps=time_steps, groups=groups)


def test_bitnet6_fits() -> None:
    """By the formula BITnet6 trains exactly at T=200 in a tenth of 24 GB, whatever its batch; collapsed it takes at T=50 little
    more than at T=1, or less, as then more images run at once.
    """
    assert bitnet6(32, 200, None) == bitnet6(128, 200, None)
    assert bitnet6(128, 200, None).total < 2.4e9
    assert bitnet6(32, 50, 1).total < 1.3 * bitnet6(32, 1, 1).total
    assert bitnet6(128, 50, "dyadic").total < 1.3 * bitnet6(128, 1, "dyadic").total
    assert bitnet6(32, 200, "dyadic").total < 1.25 * bitnet6(32, 16, "dyadic").total


def test_bits_and_counts_by_hand() -> None:
    """Of a layer without a pool, two bits a neuron and step are kept in whole bytes; collapsed, two bytes a group."""
    network = chain_of(layout="9")
    neurons, bytes_of_map = 9 * 7 * 6, 2 * 7 * 6  # 9 channels take two bytes; the output layer's spikes are the read-out's
    shapes = operation_shapes(network, SHAPE)
    assert fused_memory(network, shapes, batch_size=8, time_steps=5).kept == 8 * 5 * 2 * bytes_of_map
    assert fused_memory(network, shapes, batch_size=8, time_steps=5, groups=2).kept == 8 * 2 * 2 * neurons
    assert fused_memory(network, shapes, batch_size=8, time_steps=600, groups=1).kept == 8 * 2 * 2 * neurons  # 16 bits
    assert fused_memory(network, shapes, batch_size=80, time_steps=600, groups=1).kept == 32 * 2 * 2 * neurons  # of a piece
    assert fused_memory(network, shapes, batch_size=80, time_steps=600, groups=1, one_loss=True).kept == 80 * 2 * 2 * neurons


@pytest.mark.parametrize("groups", [None, "dyadic"])
def test_bfloat16_is_autocast_off_by_default(groups: TimeGroups | None) -> None:
    """In plain PyTorch bfloat16 gives float32's spikes for dyadic weights, over more steps than it could count to."""
    network, inputs_TBN = chain_of(layout="8 M 8 A 8"), inputs_of("constant", 300)
    found: dict[str, list[Tensor]] = {}
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    for precision in precisions:
        outputs_TBK = forward_torch(network, inputs_TBN, 300, groups, precision=precision)
        assert outputs_TBK.dtype == torch.float32
        loss = mse_of_rates(outputs_TBK, labels_of(outputs_TBK.shape[1]))
        found[precision] = [outputs_TBK, *torch.autograd.grad(loss, list(network.parameters()))]
    exact, rounded = found.values()
    assert torch.equal(exact[0], rounded[0])
    assert exact[0].sum() > 0
    cosines = [cosine_similarity(a.flatten(), b.flatten(), dim=0) for a, b in zip(exact[1:], rounded[1:], strict=True)]
    assert min(cosines) > 0.999
    assert max((a - b).abs().max() for a, b in zip(exact[1:], rounded[1:], strict=True)) > 0  # it did compute in bfloat16


def test_drives_in_bfloat16_are_added_up_in_float32() -> None:
    """A membrane potential that grows by less than bfloat16 can tell from it still reaches the threshold."""
    drive_TN = torch.full((1, 1), 1 / 512, dtype=torch.bfloat16)
    spikes_TN, _ = SpikingNeuron(NeuronModel())(drive_TN, 1024)
    assert int(spikes_TN.float().sum()) == 2


@pytest.mark.parametrize("groups", [None, "dyadic"])
def test_nothing_of_a_step_is_on_another_device(groups: TimeGroups | None) -> None:
    """Plain PyTorch's training step holds all its tensors on the network's device, whatever that is."""
    with torch.device("meta"):
        network = chain_of_meta()
        inputs_TBN = torch.zeros(1, 3, 2, 7, 6)
        labels_B = torch.zeros(3, dtype=torch.int64)
    outputs_TBK = forward_torch(network, inputs_TBN, 4, groups)
    mse_of_rates(outputs_TBK, labels_B).backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None and parameter.grad.is_meta for parameter in network.parameters())


def chain_of_meta() -> Network:
    return bitnet.build(bitnet.Config(layout="8 M 8 A 8", **bitnet.PUBLISHED), SHAPE, 3)


def test_records_say_the_precision() -> None:
    """A report says bfloat16, or float32 and, of a GPU that rounds factors, TF32."""
    assert precision_fact("bfloat16", GPU).startswith("bfloat16 convolutions")
    assert precision_fact("float32", torch.device("cpu")) == "float32"
    assert ("TF32" in precision_fact("float32", GPU)) == torch.backends.cudnn.allow_tf32
