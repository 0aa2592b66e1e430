"""bfloat16 in the training, fine-tuning and evaluation of every trainable, by plain PyTorch on a CPU."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from tests.trainables.contract import results
from trainables import ann, bitnet, converted_snn
from trainables.data.datasets import prepare
from trainables.networks.precision import Precision, forward_torch
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
