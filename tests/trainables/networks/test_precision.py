"""bfloat16 in the training, fine-tuning and evaluation of every trainable, by plain PyTorch on a CPU."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from tests.trainables.contract import results
from trainables import ann, bitnet, converted_snn
from trainables.data.datasets import prepare
from trainables.networks.network import ConstantCurrent, Network
from trainables.networks.precision import Precision, forward_torch, precision_fact, simulate_torch
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.epoch_report import EpochReport

COMMON = {"validation_fraction": 0.25, "batch_size": 16, "layout": "8 M 8", "device": "cpu"}
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ann": (ann, {"precision": "bfloat16", "batch_norm": True, "activation": "clamped_relu", "crop_padding": 1}),
    "ann, residual": (ann, {"precision": "bfloat16", "batch_norm": True, "layout": "resnet20", "feature_scale": 0.125}),
    "bitnet": (bitnet, {"precision": "bfloat16", "time_steps": 4}),
    "bitnet, pretrained": (bitnet, {"pretrain_precision": "bfloat16", "pretrain_epochs": 1, "time_steps": 4}),
    "converted": (
        converted_snn,
        {"precision": "bfloat16", "finetune_precision": "bfloat16", "batch_norm": True, "finetune_epochs": 1, "time_steps": 4},
    ),
}


def trained(kind: str, tiny_npz: Path, data_folder: Path, *, folder: Path | None = None, **changes: Any) -> list[EpochReport]:
    """The reports of a kind."""
    trainable, options = KINDS[kind]
    config = trainable.Config(data=str(tiny_npz), epochs=2, **{**COMMON, **options, **changes})
    return list(trainable.train(config, seed=3, dataset=prepare(config.data, data_folder), checkpoint_folder=folder))


@pytest.mark.parametrize("kind", KINDS)
def test_training_in_bfloat16_differs_by_rounding(kind: str, tiny_npz: Path, data_folder: Path) -> None:
    """A field of precision does something, and what is learnt is about as good as in float32."""
    in_float32: dict[str, Any] = {name: "float32" for name in KINDS[kind][1] if name.endswith("precision")}
    rounded, exact = trained(kind, tiny_npz, data_folder)[-1], trained(kind, tiny_npz, data_folder, **in_float32)[-1]
    assert rounded.metrics["train/loss"] == pytest.approx(exact.metrics["train/loss"], rel=0.5)
    assert rounded.metrics["train/loss"] != exact.metrics["train/loss"]


@pytest.mark.parametrize("activation", ["relu", "clamped_relu", "qcfs"])
def test_outputs_and_gradients_are_near_to_float32(activation: Any) -> None:
    """Outputs of a network with batch norms and pools are float32, and they and all gradients point where float32's do."""
    torch.manual_seed(0)
    config = ann.Config(layout="16 16 M 32 M 32", batch_norm=True, activation=activation, qcfs_levels=64)
    network = ann.build(config, (16, 16, 3), 10)
    images_1BCHW, labels_B = torch.randn(1, 32, 3, 16, 16), torch.arange(32) % 10
    found: list[list[Tensor]] = []
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    for precision in precisions:
        outputs_1BK = forward_torch(network, images_1BCHW, 1, precision=precision)
        assert outputs_1BK.dtype == torch.float32
        loss = cross_entropy(outputs_1BK[0], labels_B)
        found.append([outputs_1BK, *torch.autograd.grad(loss, list(network.parameters()))])
    cosines = [cosine_similarity(a.flatten(), b.flatten(), dim=0) for a, b in zip(*found, strict=True) if a.dim()]
    assert cosines[0] > 0.999
    assert min(cosines) > 0.9  # of equally large pixels a max pool chooses another after rounding
    assert not torch.equal(found[0][0], found[1][0])


@pytest.mark.parametrize("kind", KINDS)
def test_resume_is_exact_in_bfloat16(kind: str, tiny_npz: Path, data_folder: Path, tmp_path: Path) -> None:
    """Interrupted after its first epoch, a replicate ends with the reports of one run, to the bit."""
    expected = trained(kind, tiny_npz, data_folder)
    trainable, options = KINDS[kind]
    config = trainable.Config(data=str(tiny_npz), epochs=2, **{**COMMON, **options})
    first = trainable.train(config, seed=3, dataset=prepare(config.data, data_folder), checkpoint_folder=tmp_path / "child")
    list(itertools.islice(first, 1))
    first.close()
    assert results(trained(kind, tiny_npz, data_folder, folder=tmp_path / "child")) == results(expected)


def test_what_learns_stays_in_float32(tiny_npz: Path, data_folder: Path, tmp_path: Path) -> None:
    """Weights, norms' statistics and the optimiser's moments are float32 after training in bfloat16."""
    trained("ann", tiny_npz, data_folder, folder=tmp_path)
    weights = CheckpointFolder(tmp_path).weights()
    assert any("running_var" in name for name in weights)
    assert {weight.dtype for weight in weights.values()} == {torch.float32, torch.int64}


def layouts_seen(network: Network, images_1BCHW: Tensor, time_steps: int, precision: Precision) -> set[tuple[torch.dtype, bool]]:
    """The types and whether channels are last, of what convolutions and pools of a network give, in training and evaluation."""
    seen: set[tuple[torch.dtype, bool]] = set()

    def look(part: nn.Module, _: object, result: Tensor) -> None:
        del part
        seen.add((result.dtype, result.is_contiguous(memory_format=torch.channels_last)))

    hooks = [part.register_forward_hook(look) for part in network.modules() if isinstance(part, nn.Conv2d | nn.MaxPool2d)]
    forward_torch(network, images_1BCHW, time_steps, precision=precision)
    pieces = simulate_torch(network.eval(), ConstantCurrent(images_1BCHW[0]), time_steps, precision=precision)
    assert {piece.dtype for piece in pieces} == {torch.float32}
    for hook in hooks:
        hook.remove()
    return seen


def network_for(shape: tuple[int, int, int], *, spiking: bool) -> Network:
    options: dict[str, Any] = {"layout": "8 8 M 8"}
    return bitnet.build(bitnet.Config(**options), shape, 3) if spiking else ann.build(ann.Config(**options), shape, 3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("spiking", [False, True])
def test_bfloat16_has_channels_last_throughout(channels: int, spiking: bool) -> None:
    """Every convolution and pool gives bfloat16 with channels last, of grey images and behind neurons too."""
    network = network_for((8, 8, channels), spiking=spiking)
    assert layouts_seen(network, torch.randn(1, 4, channels, 8, 8), 4 if spiking else 1, "bfloat16") == {(torch.bfloat16, True)}


@pytest.mark.parametrize(("side", "spiking", "last"), [(8, False, False), (16, False, True), (16, True, False)])
def test_channels_are_last_in_float32_where_that_is_faster(side: int, spiking: bool, last: bool) -> None:
    """In analogue networks of images of 16x16 pixels and more; others compute as they always did, to the bit."""
    network = network_for((side, side, 3), spiking=spiking)
    assert layouts_seen(network, torch.randn(1, 4, 3, side, side), 4 if spiking else 1, "float32") == {(torch.float32, last)}


@pytest.mark.parametrize(
    ("known", "named"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, "by amx_bf16"),
        ({"amx_bf16": False, "avx512_bf16": True}, "by avx512_bf16"),
        ({"neon": True, "bf16": True}, "by bf16"),
        ({"avx2": True}, "(emulated: the CPU has no instructions for it)"),
    ],
)
def test_the_record_says_how_bfloat16_was_computed(known: dict[str, bool], named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By which instructions of the CPU, or that they were emulated."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    expected = f"bfloat16 convolutions {named}, float32 membrane potentials"
    assert precision_fact("bfloat16", torch.device("cpu")) == expected


@pytest.mark.parametrize(("kind", "own"), [("bitnet, pretrained", "float32"), ("converted", "bfloat16")])
def test_reports_say_the_precision_of_the_source_network(kind: str, own: str, tiny_npz: Path, data_folder: Path) -> None:
    """Beside the network's own, if it was not float32."""
    facts = trained(kind, tiny_npz, data_folder)[-1].run_facts
    assert facts["precision"].startswith(own)
    assert facts["parent_precision"] == precision_fact("bfloat16", torch.device("cpu"))


def test_a_resumption_on_another_cpu_is_said(
    tiny_npz: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What begins on a CPU with instructions for bfloat16 and goes on where they are emulated names both."""
    trainable, options = KINDS["ann"]
    config = trainable.Config(data=str(tiny_npz), epochs=2, **{**COMMON, **options})
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    first = trainable.train(config, seed=3, dataset=prepare(config.data, data_folder), checkpoint_folder=tmp_path)
    begun = next(first).run_facts["precision"]
    first.close()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"sse": True})
    last = trained("ann", tiny_npz, data_folder, folder=tmp_path)[-1]
    assert last.run_facts["precision"] == f"{begun} then {precision_fact('bfloat16', torch.device('cpu'))}"
